// The resources that the server offers. For each of them, the target, the methods, the answer, and
// whether a request's body is kept stand here and nowhere else.
//
//   /          GET, HEAD   200, no body: the resource that scenarios are about
//   /bytes/N   GET, HEAD   200, a body of N bytes
//   /echo      POST        200, the body of the request
//   *                      the server as a whole
//
// The admin listener has others:
//
//   /healthz, /readyz, /stats, /metrics   GET, HEAD   a document (documents.hpp)
//   / and *                                           the listener as a whole: OPTIONS only
//
// OPTIONS of any of these is answered 200 with the methods in Allow.
#pragma once

#include <ostream> // before status.hpp, which uses it and in Boost 1.81 does not include it

#include <boost/beast/http/status.hpp>
#include <boost/beast/http/verb.hpp>

#include <cstdint>
#include <string_view>

namespace server {

using Status = boost::beast::http::status;
using Method = boost::beast::http::verb;

// Which resources a listener offers.
enum class Site : std::uint8_t { main, admin };

// What a target names.
struct Resource {
  enum class Kind : std::uint8_t {
    root,
    bytes,
    echo,
    asterisk,
    unknown,
    admin_root,
    health, // the first of the documents
    readiness,
    stats,
    metrics
  };

  Kind kind = Kind::unknown;
  std::uint64_t size = 0; // N of /bytes/N

  bool operator==(const Resource&) const = default;
};

// What find_resource() calls, and nobody else.
Resource find_any_resource(std::string_view path, Site site);

// The site's resource of a path with or without a query. An empty path is "/", and "/%65cho" is
// "/echo". The target "*" is no path, so its resource is never returned. Allocates
// only for a path with a percent sign. Throws std::bad_alloc.
inline Resource find_resource(std::string_view path, Site site = Site::main) {
  // The commonest path is found without a call.
  return site == Site::main && path == "/" ? Resource{Resource::Kind::root}
                                           : find_any_resource(path, site);
}

// The site's resource of the target "*".
Resource whole_server(Site site) noexcept;

// Whether a document is the answer to GET.
constexpr bool is_document(Resource::Kind kind) noexcept { return kind >= Resource::Kind::health; }

// Whether such a method asks for what the resource holds.
constexpr bool is_read(Method method) noexcept {
  return method == Method::get || method == Method::head;
}

// Whether the body of such a request is needed for its answer.
bool keeps_body(const Resource& resource, Method method) noexcept;

// A response before it is formatted: its status, and a body that is either given or made of filler
// bytes.
struct Answer {
  Status status = Status::ok;
  std::string_view body{}; // refers to the body of the request or to a document
  std::uint64_t filler_bytes = 0;
  std::uint64_t content_length = 0; // differs from the body's size for HEAD
  std::string_view allow{};         // the Allow field; empty: no such field
  // Of the body, if there is one. The bytes of an echo are whatever somebody has posted.
  std::string_view content_type = "application/octet-stream";
};

// The commonest answer: 200 without a body. A constant, so that the compiler knows what is in it
// where it is handled apart from the others.
inline constexpr Answer kEmptyAnswer{};

// Whether that is the answer to a request.
constexpr bool is_answered_empty(const Resource& resource, Method method) noexcept {
  return resource.kind == Resource::Kind::root && is_read(method);
}

// The answer to a request. `body` is the request's body if keeps_body() is true, and must live as
// long as the answer. The resource is no document, or the method is none that reads.
Answer answer_to(const Resource& resource, Method method, std::string_view body) noexcept;

} // namespace server
