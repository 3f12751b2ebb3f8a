#include "server/resources.hpp"

#include "server/grammar.hpp"
#include "server/quantity.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace server {
namespace {

using Kind = Resource::Kind;

constexpr std::string_view kReadOnly = "GET, HEAD, OPTIONS";

// The answer to a method that the resource does not answer in a way of its own.
Answer other_method(Method method, std::string_view allow) noexcept {
  return {.status = method == Method::options ? Status::ok : Status::method_not_allowed,
          .allow = allow};
}

Resource find_on_admin(std::string_view path) noexcept {
  constexpr std::array<std::pair<std::string_view, Kind>, 6> kPaths{{{"", Kind::admin_root},
                                                                     {"/", Kind::admin_root},
                                                                     {"/healthz", Kind::health},
                                                                     {"/readyz", Kind::readiness},
                                                                     {"/stats", Kind::stats},
                                                                     {"/metrics", Kind::metrics}}};
  const auto* const found =
      std::ranges::find(kPaths, path, &std::pair<std::string_view, Kind>::first);
  return {found == kPaths.end() ? Kind::unknown : found->second};
}

Resource find_on_main(std::string_view path) noexcept {
  constexpr std::string_view kBytes = "/bytes/";
  if (path.empty() || path == "/") {
    return {Kind::root};
  }
  if (path == "/echo") {
    return {Kind::echo};
  }
  if (path.starts_with(kBytes)) {
    constexpr auto kMost = std::numeric_limits<std::uint64_t>::max();
    if (const auto size = parse_integer(path.substr(kBytes.size()), kMost)) {
      return {Kind::bytes, *size};
    }
  }
  return {Kind::unknown};
}

template <Resource (*find)(std::string_view)>
[[gnu::noinline]] Resource find_encoded(std::string_view path) {
  return find(decode_unreserved(path.substr(0, path.find('?'))));
}

template <Resource (*find)(std::string_view)> Resource find_by_path(std::string_view path) {
  const char* const end = std::ranges::find_if(path, [](char c) { return c == '?' || c == '%'; });
  return end == path.end() || *end == '?' ? find({path.begin(), end}) : find_encoded<find>(path);
}

} // namespace

// The site is chosen first, and everything inlined into either branch.
[[gnu::flatten]] Resource find_any_resource(std::string_view path, Site site) {
  return site == Site::main ? find_by_path<find_on_main>(path) : find_by_path<find_on_admin>(path);
}

Resource whole_server(Site site) noexcept {
  return {site == Site::main ? Kind::asterisk : Kind::admin_root};
}

bool keeps_body(const Resource& resource, Method method) noexcept {
  return resource.kind == Kind::echo && method == Method::post;
}

Answer answer_to(const Resource& resource, Method method, std::string_view body) noexcept {
  switch (resource.kind) {
  case Kind::root:
    return is_answered_empty(resource, method) ? kEmptyAnswer : other_method(method, kReadOnly);
  case Kind::bytes:
    return is_read(method) ? Answer{.filler_bytes = method == Method::head ? 0 : resource.size,
                                    .content_length = resource.size}
                           : other_method(method, kReadOnly);
  case Kind::echo:
    return method == Method::post ? Answer{.body = body, .content_length = body.size()}
                                  : other_method(method, "POST, OPTIONS");
  case Kind::asterisk:
    return other_method(method, "GET, HEAD, POST, OPTIONS");
  case Kind::admin_root:
    return method == Method::options ? other_method(method, kReadOnly)
                                     : Answer{.status = Status::not_found};
  case Kind::health:
  case Kind::readiness:
  case Kind::stats:
  case Kind::metrics:
    return other_method(method, kReadOnly);
  case Kind::unknown:
    break;
  }
  return {.status = Status::not_found};
}

} // namespace server
