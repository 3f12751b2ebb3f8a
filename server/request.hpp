// From bytes to a request. This is the one place that wraps Beast's parser. Beast accepts some
// input that this server refuses, and request.cpp reads as the list of those rules.
//
// Lines are checked here first, against the grammar. Beast is given a header section, a chunk's
// line or a trailer section only once it is complete and its lines are valid. So no answer depends
// on how the bytes were cut into pieces. A line that is not valid is refused as soon as it has
// arrived; what the fields of a header mean is judged when the header is complete.
#pragma once

#include "server/resources.hpp"

#include <boost/beast/http/basic_parser.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace server {

struct RequestLimits {
  std::size_t max_header_bytes; // request line, fields and the empty line together
  std::size_t max_headers;
  std::uint64_t max_body_bytes;
  Site site = Site::main; // whose resources may be asked for
};

struct Request {
  Method method = Method::unknown;
  Resource resource;
  bool http_1_0 = false;
  bool keep_alive = false;
  std::string body; // empty unless the resource needs it (resources.hpp)
  std::string line; // the request line; empty unless it is kept
};

// Parses one request out of whatever pieces arrive; the next request needs a new parser. Keeps no
// pointer into its input. Allocates only for a body or a request line that is kept, for a
// percent-encoded path, and for a header that Beast would misread.
class RequestParser final : private boost::beast::http::basic_parser<true> {
  using Base = boost::beast::http::basic_parser<true>;

public:
  enum class State {
    need_more, // the input ends before the request does
    complete,  // request() is complete
    bad        // see error(); nothing that follows can be trusted
  };

  // `keep_line` keeps the request line, for a log; that costs an allocation per request.
  RequestParser(const RequestLimits& limits, bool keep_line)
      : limits_(limits), keep_line_(keep_line) {
    Base::header_limit(static_cast<std::uint32_t>(limits.max_header_bytes + 1));
    Base::body_limit(boost::none); // set when the header has been judged
  }

  // Takes bytes from the front of `input`, and says in `consumed` how many. `input` must begin with
  // what earlier calls did not consume, followed by what arrived since. Not to be called again
  // after complete or bad. Throws std::bad_alloc.
  State put(std::string_view input, std::size_t& consumed);

  // Whether a byte of the request was seen. Empty lines before a request are not part of it
  // (RFC 9112, 2.2).
  bool begun() const noexcept { return begun_; }

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
  void on_chunk_header_impl(std::uint64_t size, string_view, error_code&) override {
    chunk_left_ = size;
  }
  std::size_t on_chunk_body_impl(std::uint64_t, string_view body, error_code& error) override;
  void on_finish_impl(error_code&) override {}

  enum class Line { need_more, complete, bad };

  // Each takes what it can from the front of `input`. True when that completed a header, a body or
  // a part of one. Otherwise error_ says whether more input is needed or the request is bad.
  bool put_header(std::string_view input, std::size_t& consumed);
  bool put_body(std::string_view input, std::size_t& consumed);
  bool put_chunk_line(std::string_view input, std::size_t& consumed);
  bool put_trailers(std::string_view input, std::size_t& consumed);
  bool put_whole(std::string_view bytes);

  std::size_t header_size(std::string_view allowed);
  void refuse_or_wait(const char* at, std::string_view allowed) noexcept;
  bool note_request_line(std::string_view line);
  void look_from(std::size_t begin) noexcept { line_begin_ = scanned_ = begin; }
  Line next_line(std::string_view input) noexcept;
  bool take_line(std::string_view allowed, std::size_t limit) noexcept;
  std::size_t header_bytes_left() const noexcept {
    return limits_.max_header_bytes - header_bytes_;
  }
  bool refuse(Status status) noexcept;
  void refuse(Status status, error_code& error) noexcept;
  void check_content_length(std::string_view value, error_code& error) noexcept;
  void check_transfer_encoding(std::string_view value, error_code& error) noexcept;
  void note_expect(std::string_view value) noexcept;

  const RequestLimits limits_;
  const bool keep_line_;

  // Numbers first, flags behind them: what is zero at first is written in a few wide stores.

  // Offsets into the input of put(), which keeps its front until it is consumed.
  std::size_t line_begin_ = 0;
  std::size_t scanned_ = 0; // there is no line end before this
  std::string_view line_;   // the line that next_line() found, without its end

  std::size_t header_bytes_ = 0; // of the header and of chunk extensions
  std::size_t fields_ = 0;
  std::size_t hosts_ = 0;
  std::uint64_t chunk_left_ = 0;
  std::size_t trailers_begin_ = 0; // where they begin; 0: the last chunk has not come

  bool begun_ = false;
  bool request_line_done_ = false;
  bool beast_misreads_ = false; // it needs a copy that says the same to Beast (request.cpp)
  bool content_length_seen_ = false;
  bool transfer_encoding_seen_ = false;
  bool coding_unknown_ = false;
  bool body_begun_ = false;
  bool behind_chunk_ = false; // a chunk came; a line end must follow its data
  bool close_asked_ = false;
  bool keep_asked_ = false; // matters to HTTP/1.0 only
  bool expect_continue_ = false;
  bool expectation_unknown_ = false;
  Status error_ = Status::ok; // ok: no error yet
  Request request_;
};

} // namespace server
