#include "server/resources.hpp"

#include <charconv>
#include <system_error>

namespace server {
namespace {

using Kind = Resource::Kind;

// False when it is not a plain decimal number that fits 64 bits.
bool parse_size(std::string_view digits, std::uint64_t& size) noexcept {
  const char* const end = digits.data() + digits.size();
  const auto [rest, error] = std::from_chars(digits.data(), end, size);
  return error == std::errc{} && rest == end;
}

bool is_read(Method method) noexcept { return method == Method::get || method == Method::head; }

Answer not_allowed(std::string_view allow) noexcept {
  return {.status = Status::method_not_allowed, .allow = allow};
}

} // namespace

Resource find_resource(std::string_view path) noexcept {
  constexpr std::string_view kBytes = "/bytes/";
  path = path.substr(0, path.find('?'));
  Resource resource;
  if (path.empty() || path == "/") {
    resource.kind = Kind::root;
  } else if (path == "/echo") {
    resource.kind = Kind::echo;
  } else if (path.starts_with(kBytes) && parse_size(path.substr(kBytes.size()), resource.size)) {
    resource.kind = Kind::bytes;
  } else {
    return {};
  }
  return resource;
}

bool keeps_body(const Resource& resource, Method method) noexcept {
  return resource.kind == Kind::echo && method == Method::post;
}

Answer answer(const Resource& resource, Method method, std::string_view body) noexcept {
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
