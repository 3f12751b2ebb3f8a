// An exchange whose answers have to be waited for.
#include "server/exchange.hpp"

#include <gmock/gmock.h>

#include <optional>
#include <string>
#include <string_view>

namespace server {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::string_view kStats = "GET /stats HTTP/1.1\r\nHost: h\r\n\r\n";
constexpr std::string_view kHealth = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";

// The figures are there once the test says so; everything else always is.
class LateDocuments final : public Documents {
public:
  std::uint64_t request(Resource::Kind kind) override {
    return kind == Resource::Kind::stats ? ++requested : 0;
  }
  std::optional<Document> take(Resource::Kind /*kind*/, std::uint64_t number) override {
    if (number > there) {
      return std::nullopt;
    }
    return Document{.status = status, .body = "document " + std::to_string(number)};
  }

  std::uint64_t requested = 0;
  std::uint64_t there = 0;
  Status status = Status::ok;
};

class Awaited : public testing::Test {
protected:
  Outcome answer(std::string_view bytes, bool draining = false) {
    exchange_.receive(bytes);
    const Outcome outcome = exchange_.answer(draining);
    exchange_.keep_input();
    return outcome;
  }

  // All that is queued.
  std::string read() {
    std::string all(exchange_.output().front()[0]);
    exchange_.output().consume(all.size());
    return all;
  }

  LateDocuments documents_;
  Counters counters_;
  ExchangeContext context_{.limits = {.max_header_bytes = 200,
                                      .max_headers = 5,
                                      .max_body_bytes = 0,
                                      .site = Site::admin},
                           .window = {},
                           .scenario = {Scenario::respond, 1},
                           .counters = counters_,
                           .documents = &documents_};
  Exchange exchange_{context_};
};

TEST_F(Awaited, IsAnsweredOnceTheDocumentIsThere) {
  EXPECT_EQ(answer(kStats), Outcome::awaiting);
  EXPECT_TRUE(exchange_.awaits());
  EXPECT_TRUE(exchange_.in_progress());
  EXPECT_EQ(exchange_.answer(false), Outcome::awaiting); // asked too early
  EXPECT_EQ(read(), "");
  documents_.there = 1;
  EXPECT_EQ(exchange_.answer(false), Outcome::need_more);
  EXPECT_THAT(read(), HasSubstr("\r\nContent-Length: 10\r\n\r\ndocument 1"));
  EXPECT_FALSE(exchange_.awaits());
  EXPECT_TRUE(exchange_.empty());
  EXPECT_EQ(counters_.requests, 1U);
  EXPECT_EQ(documents_.requested, 1U);
}

TEST_F(Awaited, HoldsUpTheRequestsBehindIt) {
  EXPECT_EQ(answer(std::string(kHealth) + std::string(kStats) + std::string(kHealth)),
            Outcome::awaiting);
  EXPECT_THAT(read(), HasSubstr("document 0"));
  documents_.there = 1;
  EXPECT_EQ(exchange_.answer(false), Outcome::need_more);
  const std::string rest = read();
  EXPECT_LT(rest.find("document 1"), rest.find("document 0"));
  EXPECT_EQ(counters_.responses, 3U);
}

TEST_F(Awaited, HasTheStatusOfTheDocument) {
  documents_.status = Status::service_unavailable;
  EXPECT_EQ(answer(kHealth), Outcome::need_more);
  EXPECT_THAT(read(), HasSubstr("HTTP/1.1 503 "));
}

TEST_F(Awaited, HasNoBodyForHead) {
  EXPECT_EQ(answer("HEAD /healthz HTTP/1.1\r\nHost: h\r\n\r\n"), Outcome::need_more);
  const std::string header = read();
  EXPECT_THAT(header, HasSubstr("Content-Length: 10\r\n"));
  EXPECT_THAT(header, Not(HasSubstr("document")));
}

TEST_F(Awaited, IsNotAskedForByOtherMethods) {
  EXPECT_EQ(answer("OPTIONS /stats HTTP/1.1\r\nHost: h\r\n\r\n"), Outcome::need_more);
  EXPECT_THAT(read(), HasSubstr("Allow: GET, HEAD, OPTIONS"));
  EXPECT_EQ(documents_.requested, 0U);
}

TEST_F(Awaited, IsTheLastAnswerWhereTheClientOrTheEndOfTheServerSaysSo) {
  EXPECT_EQ(answer("GET /stats HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
            Outcome::awaiting);
  documents_.there = 1;
  EXPECT_EQ(exchange_.answer(false), Outcome::last_response);
  EXPECT_EQ(exchange_.close_reason(), CloseReason::client);
  exchange_.reset(0);
  EXPECT_EQ(answer(kStats), Outcome::awaiting);
  documents_.there = 2;
  EXPECT_EQ(exchange_.answer(true), Outcome::last_response);
  EXPECT_EQ(exchange_.close_reason(), CloseReason::drain);
}

TEST_F(Awaited, IsForgottenWhenTheRequestIsRefusedOrTheExchangeReset) {
  EXPECT_EQ(answer(kStats), Outcome::awaiting);
  EXPECT_TRUE(exchange_.may_refuse());
  exchange_.refuse(Status::request_timeout);
  EXPECT_FALSE(exchange_.awaits());
  exchange_.reset(0);
  EXPECT_EQ(answer(kStats), Outcome::awaiting);
  exchange_.reset(0);
  EXPECT_FALSE(exchange_.awaits());
  EXPECT_EQ(answer(kHealth), Outcome::need_more);
}

} // namespace
} // namespace server
