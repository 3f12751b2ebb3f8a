#include "server/resources.hpp"

#include "server/quantity.hpp"

#include <limits>

namespace server {
namespace {

using Kind = Resource::Kind;

bool is_read(Method method) noexcept { return method == Method::get || method == Method::head; }

Answer not_allowed(std::string_view allow) noexcept {
  return {.status = Status::method_not_allowed, .allow = allow};
}

} // namespace

Resource find_resource(std::string_view path) noexcept {
  constexpr std::string_view kBytes = "/bytes/";
  path = path.substr(0, path.find('?'));
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

bool keeps_body(const Resource& resource, Method method) noexcept {
  return resource.kind == Kind::echo && method == Method::post;
}

Answer answer_to(const Resource& resource, Method method, std::string_view body) noexcept {
  switch (resource.kind) {
  case Kind::root:
    return is_read(method) ? Answer{} : not_allowed("GET, HEAD");
  case Kind::bytes:
    return is_read(method) ? Answer{.filler_bytes = method == Method::head ? 0 : resource.size,
                                    .content_length = resource.size}
                           : not_allowed("GET, HEAD");
  case Kind::echo:
    return method == Method::post ? Answer{.body = body, .content_length = body.size()}
                                  : not_allowed("POST");
  case Kind::asterisk:
    return {.allow = "GET, HEAD, POST, OPTIONS"};
  case Kind::unknown:
    break;
  }
  return {.status = Status::not_found};
}

} // namespace server
