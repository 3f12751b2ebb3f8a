#include "server/resources.hpp"

#include <gtest/gtest.h>

#include <array>

namespace server {
namespace {

using Kind = Resource::Kind;

TEST(Resources, AreFoundByPath) {
  EXPECT_EQ(find_resource("/").kind, Kind::root);
  EXPECT_EQ(find_resource("").kind, Kind::root);
  EXPECT_EQ(find_resource("/?x=/echo").kind, Kind::root);
  EXPECT_EQ(find_resource("?x").kind, Kind::root);
  EXPECT_EQ(find_resource("/echo").kind, Kind::echo);
  EXPECT_EQ(find_resource("/echo?a").kind, Kind::echo);
  EXPECT_EQ(find_resource("/bytes/0"), (Resource{Kind::bytes, 0}));
  EXPECT_EQ(find_resource("/bytes/007?x"), (Resource{Kind::bytes, 7}));
  EXPECT_EQ(find_resource("/bytes/18446744073709551615"),
            (Resource{Kind::bytes, 18446744073709551615U}));
}

// RFC 3986, 6.2.2.2.
TEST(Resources, AreFoundByEquivalentPaths) {
  EXPECT_EQ(find_resource("/%65cho").kind, Kind::echo);
  EXPECT_EQ(find_resource("/%65%63%68%6F?%zz").kind, Kind::echo);
  EXPECT_EQ(find_resource("/bytes/1%30"), (Resource{Kind::bytes, 10}));
  EXPECT_EQ(find_resource("/%62ytes/%37"), (Resource{Kind::bytes, 7}));
  EXPECT_EQ(find_resource("/?%2F").kind, Kind::root);
  for (const auto* const path : {"/bytes%2F10", "%2F", "/%2Fecho", "/echo%3Fa", "/%2565cho",
                                 "/bytes/%2B1", "/echo%00", "/%45cho"}) {
    EXPECT_EQ(find_resource(path), Resource{}) << path;
  }
}

TEST(Resources, AreUnknownUnderAnyOtherPath) {
  for (const auto* const path :
       {"/x", "//", "/echo/", "/Echo", "/bytes", "/bytes/", "/bytes/-1", "/bytes/1x", "/bytes/ 1",
        "/bytes/0x1", "/bytes/1/", "/bytes/18446744073709551616", "*", "/*"}) {
    EXPECT_EQ(find_resource(path), Resource{}) << path;
  }
}

TEST(Resources, KeepOnlyTheBodyThatTheyEcho) {
  constexpr std::array kKinds{Kind::root, Kind::bytes, Kind::echo, Kind::asterisk, Kind::unknown};
  for (const Kind kind : kKinds) {
    for (const Method method : {Method::get, Method::post, Method::put}) {
      EXPECT_EQ(keeps_body({kind}, method), kind == Kind::echo && method == Method::post);
    }
  }
}

TEST(Resources, Answer) {
  EXPECT_EQ(answer_to({Kind::root}, Method::get, "").status, Status::ok);
  EXPECT_EQ(answer_to({Kind::root}, Method::head, "").content_length, 0U);
  EXPECT_EQ(answer_to({Kind::bytes, 7}, Method::get, "").filler_bytes, 7U);
  EXPECT_EQ(answer_to({Kind::bytes, 7}, Method::head, "").filler_bytes, 0U);
  EXPECT_EQ(answer_to({Kind::bytes, 7}, Method::head, "").content_length, 7U);
  EXPECT_EQ(answer_to({Kind::echo}, Method::post, "abc").body, "abc");
  EXPECT_EQ(answer_to({Kind::echo}, Method::post, "abc").content_length, 3U);
  EXPECT_EQ(answer_to({Kind::unknown}, Method::get, "").status, Status::not_found);
}

TEST(Resources, NameTheirMethodsToOptions) {
  const auto allow = [](Resource resource) {
    const Answer answer = answer_to(resource, Method::options, "");
    EXPECT_EQ(answer.status, Status::ok);
    EXPECT_EQ(answer.content_length + answer.filler_bytes, 0U);
    return answer.allow;
  };
  EXPECT_EQ(allow({Kind::asterisk}), "GET, HEAD, POST, OPTIONS");
  EXPECT_EQ(allow({Kind::root}), "GET, HEAD, OPTIONS");
  EXPECT_EQ(allow({Kind::bytes, 7}), "GET, HEAD, OPTIONS");
  EXPECT_EQ(allow({Kind::echo}), "POST, OPTIONS");
  EXPECT_EQ(answer_to({Kind::unknown}, Method::options, "").status, Status::not_found);
}

TEST(Resources, OfTheAdminListenerAreItsOwn) {
  EXPECT_EQ(find_resource("/healthz", Site::admin).kind, Kind::health);
  EXPECT_EQ(find_resource("/readyz?x", Site::admin).kind, Kind::readiness);
  EXPECT_EQ(find_resource("/%73tats", Site::admin).kind, Kind::stats);
  EXPECT_EQ(find_resource("/metrics", Site::admin).kind, Kind::metrics);
  for (const char* path : {"//", "/echo", "/bytes/7", "/healthz/", "/Healthz", "*"}) {
    EXPECT_EQ(find_resource(path, Site::admin), Resource{}) << path;
  }
  for (const char* path : {"/healthz", "/readyz", "/stats", "/metrics"}) {
    EXPECT_EQ(find_resource(path), Resource{}) << path;
    EXPECT_TRUE(is_document(find_resource(path, Site::admin).kind));
  }
  EXPECT_EQ(whole_server(Site::main).kind, Kind::asterisk);
  for (const Kind kind : {Kind::health, Kind::metrics}) {
    EXPECT_EQ(answer_to({kind}, Method::options, "").allow, "GET, HEAD, OPTIONS");
    EXPECT_EQ(answer_to({kind}, Method::post, "").status, Status::method_not_allowed);
  }
  for (const Kind kind : {Kind::root, Kind::bytes, Kind::echo, Kind::asterisk, Kind::unknown}) {
    EXPECT_FALSE(is_document(kind));
  }
}

TEST(Resources, OfTheAdminListenerAsAWholeHaveTheirMethodsAndNothingElse) {
  EXPECT_EQ(whole_server(Site::admin).kind, Kind::admin_root);
  for (const char* path : {"", "/", "/?x", "?x"}) {
    const Resource root = find_resource(path, Site::admin);
    EXPECT_EQ(root.kind, Kind::admin_root) << path;
    EXPECT_FALSE(is_document(root.kind));
    EXPECT_EQ(answer_to(root, Method::options, "").status, Status::ok);
    EXPECT_EQ(answer_to(root, Method::options, "").allow, "GET, HEAD, OPTIONS");
    for (const Method method : {Method::get, Method::head, Method::post}) {
      EXPECT_EQ(answer_to(root, method, "").status, Status::not_found);
    }
  }
}

TEST(Resources, NameTheirMethodsWhereTheyRefuseOne) {
  for (const Kind kind : {Kind::root, Kind::bytes}) {
    for (const Method method : {Method::post, Method::put, Method::delete_}) {
      const Answer refused = answer_to({kind, 7}, method, "");
      EXPECT_EQ(refused.status, Status::method_not_allowed);
      EXPECT_EQ(refused.allow, "GET, HEAD, OPTIONS");
      EXPECT_EQ(refused.content_length + refused.filler_bytes, 0U);
    }
  }
  for (const Method method : {Method::get, Method::head, Method::put}) {
    EXPECT_EQ(answer_to({Kind::echo}, method, "").status, Status::method_not_allowed);
    EXPECT_EQ(answer_to({Kind::echo}, method, "").allow, "POST, OPTIONS");
  }
}

} // namespace
} // namespace server
