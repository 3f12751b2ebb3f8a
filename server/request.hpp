// From bytes to a request. This is the one place where Beast's parser is wrapped, and where what it
// lets through and we do not is refused; request.cpp reads as the list of those rules.
#pragma once

#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/verb.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace server {

using Status = boost::beast::http::status;
using Method = boost::beast::http::verb;

struct RequestLimits {
  std::size_t max_header_bytes; // request line, fields and the empty line together
  std::size_t max_headers;
  std::uint64_t max_body_bytes;
};

// What the target names.
enum class Route {
  root,     // "/", with or without a query
  bytes,    // "/bytes/N"
  echo,     // "/echo"
  asterisk, // "*"
  unknown
};

struct Request {
  Method method = Method::unknown;
  Route route = Route::unknown;
  std::uint64_t bytes = 0; // N of /bytes/N
  bool http_1_0 = false;
  bool keep_alive = false;
  std::string body; // kept for POST /echo only
};

// Parses one request after the other out of whatever pieces arrive. Keeps no pointer into its
// input; allocates only for a body that is kept.
class RequestParser : private boost::beast::http::basic_parser<true> {
  using Base = boost::beast::http::basic_parser<true>;

public:
  enum class State {
    need_more, // all the input was used or is too short to go on
    complete,  // request() is whole
    bad        // see error(); nothing that follows can be trusted
  };

  explicit RequestParser(const RequestLimits& limits);

  // Takes bytes from the front of `input`, which must hold what earlier calls left over followed by
  // what arrived since, and says in `consumed` how many. Not to be called again after complete or
  // bad.
  State put(std::string_view input, std::size_t& consumed);

  // Whether no byte was taken yet, not even a line end before the request.
  bool untouched() const noexcept { return !begun() && !line_end_seen_; }

  // Whether a byte of the request itself was seen.
  bool begun() const noexcept { return got_some(); }

  // The status to answer a bad request with.
  Status error() const noexcept { return error_; }

  // The request as far as it was received; all of it when complete.
  const Request& request() const noexcept { return request_; }

  // Whether the client waits for "100 Continue" before it sends the body. True at most once.
  bool take_expect_continue() noexcept;

private:
  using string_view = boost::beast::string_view;
  using error_code = boost::beast::error_code;

  void on_request_impl(Method method, string_view name, string_view target, int version,
                       error_code& error) override;
  void on_response_impl(int, string_view, int, error_code&) override {}
  void on_field_impl(boost::beast::http::field field, string_view name, string_view value,
                     error_code& error) override;
  void on_header_impl(error_code& error) override;
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(string_view body, error_code& error) override;
  void on_chunk_header_impl(std::uint64_t, string_view, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, string_view body, error_code& error) override;
  void on_finish_impl(error_code&) override {}

  std::size_t skip_line_ends(std::string_view input) noexcept;
  void refuse(Status status, error_code& error) noexcept;
  void check_content_length(std::string_view value, error_code& error) noexcept;
  void check_transfer_encoding(std::string_view value, error_code& error) noexcept;
  void check_expect(std::string_view value, error_code& error) noexcept;
  bool folded(std::string_view value) const noexcept;
  bool header_over_limit(std::size_t unread) const noexcept;
  Status status_for(const error_code& error) const noexcept;

  const RequestLimits limits_;
  std::string_view input_; // during put()
  std::size_t header_bytes_ = 0;
  std::size_t fields_ = 0;
  std::size_t hosts_ = 0;
  bool line_end_seen_ = false; // before the request line
  bool start_line_done_ = false;
  bool content_length_seen_ = false;
  bool body_begun_ = false;
  bool expect_continue_ = false;
  Status error_ = Status::ok; // ok: none yet
  Request request_;
};

} // namespace server
