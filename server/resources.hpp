// The resources that the server offers. Each one's target, methods, answer, and what is kept of a
// request's body stand here and nowhere else.
//
//   /          GET, HEAD   200, no body: the resource that scenarios are about
//   /bytes/N   GET, HEAD   200, a body of N bytes
//   /echo      POST        200, the body of the request
//   *          OPTIONS     200, the methods of the server as a whole
#pragma once

#include <ostream> // before status.hpp, which uses it and in Boost 1.81 does not include it

#include <boost/beast/http/status.hpp>
#include <boost/beast/http/verb.hpp>

#include <cstdint>
#include <string_view>

namespace server {

using Status = boost::beast::http::status;
using Method = boost::beast::http::verb;

// What a target names.
struct Resource {
  enum class Kind : std::uint8_t { root, bytes, echo, asterisk, unknown };

  Kind kind = Kind::unknown;
  std::uint64_t size = 0; // N of /bytes/N

  bool operator==(const Resource&) const = default;
};

// The resource of a path with or without a query; an empty path is "/". Asterisk is for "*".
Resource find_resource(std::string_view path) noexcept;

// Whether the body of such a request is needed for its answer.
bool keeps_body(const Resource& resource, Method method) noexcept;

// A response before it is formatted: its status, and a body that is either given or so many filler
// bytes.
struct Answer {
  Status status = Status::ok;
  std::string_view body{}; // lives in the request
  std::uint64_t filler_bytes = 0;
  std::uint64_t content_length = 0; // differs from the body's size for HEAD
  std::string_view allow{};         // the Allow field; empty: there is none
};

// `body` is what keeps_body() asked to keep.
Answer answer(const Resource& resource, Method method, std::string_view body) noexcept;

} // namespace server
