#include "server/request.hpp"

#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>

#include <algorithm>
#include <charconv>
#include <functional>

namespace server {
namespace {

namespace http = boost::beast::http;

std::string_view view(boost::beast::string_view text) { return {text.data(), text.size()}; }

bool is_decimal(char c) { return c >= '0' && c <= '9'; }

// The path of "/bytes/N"; false when N is not a plain decimal number of 64 bits.
bool parse_bytes(std::string_view digits, std::uint64_t& bytes) {
  const char* const end = digits.data() + digits.size();
  const auto [rest, error] = std::from_chars(digits.data(), end, bytes);
  return error == std::errc{} && rest == end;
}

void route(std::string_view target, Request& request) {
  constexpr std::string_view kBytes = "/bytes/";
  const std::string_view path = target.substr(0, target.find('?'));
  if (path == "/") {
    request.route = Route::root;
  } else if (path == "/echo") {
    request.route = Route::echo;
  } else if (path.starts_with(kBytes) && parse_bytes(path.substr(kBytes.size()), request.bytes)) {
    request.route = Route::bytes;
  } else if (target == "*") {
    request.route = Route::asterisk;
  }
}

// RFC 9112, 3.2: what may stand in a Host field, roughly; no user, path, list or blank.
bool valid_host(std::string_view host) {
  return std::none_of(host.begin(), host.end(), [](char c) {
    return std::string_view("/@,?#\\ \t<>\"{}|^`").find(c) != std::string_view::npos || c < 0x21 ||
           c == 0x7f;
  });
}

constexpr std::string_view kLastChunk = "0\r\n\r\n"; // the shortest

} // namespace

RequestParser::RequestParser(const RequestLimits& limits) : limits_(limits) {
  Base::header_limit(static_cast<std::uint32_t>(limits.max_header_bytes + 1));
  Base::body_limit(limits.max_body_bytes);
}

RequestParser::State RequestParser::put(std::string_view input, std::size_t& consumed) {
  consumed = skip_line_ends(input);
  for (;;) {
    const bool in_header = !is_header_done();
    input_ = input.substr(consumed);
    if (input_.empty() || (!begun() && input_ == "\r")) {
      return State::need_more;
    }
    if (!in_header && chunked() && input_.size() < kLastChunk.size()) {
      return State::need_more; // it cannot end here, and Beast asserts that it is not asked this
    }
    if (in_header) {
      input_ = input_.substr(0, limits_.max_header_bytes - header_bytes_);
    }
    error_code error;
    const std::size_t used = Base::put({input_.data(), input_.size()}, error);
    consumed += used;
    header_bytes_ += in_header ? used : 0;
    if (error == http::error::need_more) {
      if (in_header && header_over_limit(input_.size() - used)) {
        error_ = start_line_done_ ? Status::request_header_fields_too_large : Status::uri_too_long;
        return State::bad;
      }
      return State::need_more;
    }
    if (error) {
      error_ = error_ != Status::ok ? error_ : status_for(error);
      return State::bad;
    }
    if (is_done()) {
      return State::complete;
    }
  }
}

// RFC 9112, 2.2: a server should ignore empty lines before a request line.
std::size_t RequestParser::skip_line_ends(std::string_view input) noexcept {
  std::size_t skipped = 0;
  while (!begun() && input.substr(skipped).starts_with("\r\n")) {
    skipped += 2;
    line_end_seen_ = true;
  }
  return skipped;
}

bool RequestParser::take_expect_continue() noexcept {
  const bool wanted = expect_continue_ && is_header_done() && !body_begun_ && !is_done();
  if (wanted) {
    expect_continue_ = false;
  }
  return wanted;
}

// Nothing more of the header fits under the limit, and it is not complete.
bool RequestParser::header_over_limit(std::size_t unread) const noexcept {
  return header_bytes_ + unread >= limits_.max_header_bytes;
}

void RequestParser::refuse(Status status, error_code& error) noexcept {
  error_ = status;
  error = http::error::bad_value;
}

Status RequestParser::status_for(const error_code& error) const noexcept {
  if (error == http::error::body_limit) {
    return Status::payload_too_large;
  }
  return Status::bad_request;
}

void RequestParser::on_request_impl(Method method, string_view /*name*/, string_view target,
                                    int version, error_code& /*error*/) {
  start_line_done_ = true;
  request_.method = method;
  request_.http_1_0 = version == 10;
  route(view(target), request_);
}

// Fields of the header, and those behind a chunked body (trailers), which change nothing.
void RequestParser::on_field_impl(http::field field, string_view /*name*/, string_view text,
                                  error_code& error) {
  if (++fields_ > limits_.max_headers) {
    return refuse(Status::request_header_fields_too_large, error);
  }
  const std::string_view value = view(text);
  if (folded(value)) {
    return refuse(Status::bad_request, error);
  }
  if (is_header_done()) {
    return;
  }
  if (field == http::field::content_length) {
    check_content_length(value, error);
  } else if (field == http::field::transfer_encoding) {
    check_transfer_encoding(value, error);
  } else if (field == http::field::expect) {
    check_expect(value, error);
  } else if (field == http::field::host && (++hosts_ > 1 || !valid_host(value))) {
    refuse(Status::bad_request, error);
  }
}

// Beast takes lists, and a second field of the same value; RFC 9112 lets us refuse both.
void RequestParser::check_content_length(std::string_view value, error_code& error) noexcept {
  constexpr std::size_t kMaxDigits = 18; // always below 2^63
  const bool number = !value.empty() && value.size() <= kMaxDigits &&
                      std::all_of(value.begin(), value.end(), is_decimal);
  if (!number || content_length_seen_) {
    refuse(Status::bad_request, error);
  }
  content_length_seen_ = true;
}

// Beast reads an unknown coding as "no body", which would make the body the next request.
void RequestParser::check_transfer_encoding(std::string_view value, error_code& error) noexcept {
  if (request_.http_1_0 || content_length_seen_) {
    return refuse(Status::bad_request, error);
  }
  if (!boost::beast::iequals({value.data(), value.size()}, "chunked")) {
    refuse(Status::not_implemented, error);
  }
}

void RequestParser::check_expect(std::string_view value, error_code& error) noexcept {
  if (!boost::beast::iequals({value.data(), value.size()}, "100-continue")) {
    return refuse(Status::expectation_failed, error);
  }
  expect_continue_ = !request_.http_1_0;
}

// Beast joins a folded value in a buffer of its own; a plain one is a part of the input.
bool RequestParser::folded(std::string_view value) const noexcept {
  const std::less<> before;
  return !value.empty() && (before(value.data(), input_.data()) ||
                            !before(value.data(), input_.data() + input_.size()));
}

void RequestParser::on_header_impl(error_code& error) {
  request_.keep_alive = Base::keep_alive();
  if (!request_.http_1_0 && hosts_ == 0) {
    refuse(Status::bad_request, error);
  } else if (request_.method == Method::unknown) {
    refuse(Status::not_implemented, error);
  }
}

std::size_t RequestParser::on_body_impl(string_view body, error_code& /*error*/) {
  body_begun_ = true;
  if (request_.route == Route::echo && request_.method == Method::post) {
    request_.body.append(body.data(), body.size());
  }
  return body.size();
}

std::size_t RequestParser::on_chunk_body_impl(std::uint64_t /*remain*/, string_view body,
                                              error_code& error) {
  return on_body_impl(body, error);
}

} // namespace server
