#include "server/request.hpp"

#include "server/grammar.hpp"
#include "server/quantity.hpp"

#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/rfc7230.hpp>

#include <algorithm>
#include <cstddef>
#include <utility>

namespace server {
namespace {

namespace http = boost::beast::http;

std::string_view view(boost::beast::string_view text) { return {text.data(), text.size()}; }

std::size_t chunk_digits(std::string_view line) {
  return static_cast<std::size_t>(std::find_if_not(line.begin(), line.end(), is_hex) -
                                  line.begin());
}

// Beast obeys this field as it does Connection. HTTP does not know it (RFC 9110, appendix C).
constexpr std::string_view kProxyConnection = "proxy-connection:";

bool is_proxy_connection(std::string_view line) {
  if (line.empty() || (line.front() != 'P' && line.front() != 'p')) {
    return false; // a quick answer for most lines
  }
  const std::string_view name = line.substr(0, kProxyConnection.size());
  return boost::beast::iequals({name.data(), name.size()},
                               {kProxyConnection.data(), kProxyConnection.size()});
}

// A copy of a header section in which Beast finds neither a minor version that it does not know nor
// the field Proxy-Connection, which gets a name without a meaning.
std::string copy_for_beast(std::string_view header) {
  std::string copy(header);
  const std::size_t end = copy.find(kLineEnd);
  copy[end - 1] = std::min(copy[end - 1], '1');
  for (std::size_t at = end; at != std::string::npos; at = copy.find(kLineEnd, at + 1)) {
    const std::size_t begin = at + kLineEnd.size();
    if (is_proxy_connection(std::string_view(copy).substr(begin))) {
      copy[begin] = 'X';
    }
  }
  return copy;
}

} // namespace

RequestParser::State RequestParser::put(std::string_view input, std::size_t& consumed) {
  consumed = 0;
  bool whole = is_header_done() || put_header(input, consumed);
  while (whole && !is_done()) {
    const std::string_view rest = input.substr(consumed);
    whole = !chunked() || chunk_left_ != 0 ? put_body(rest, consumed)
            : trailers_begin_ != 0         ? put_trailers(rest, consumed)
                                           : put_chunk_line(rest, consumed);
  }
  return whole ? State::complete : error_ == Status::ok ? State::need_more : State::bad;
}

bool RequestParser::refuse(Status status) noexcept {
  error_ = status;
  return false;
}

void RequestParser::refuse(Status status, error_code& error) noexcept {
  refuse(status);
  error = http::error::bad_value;
}

// ---- Lines.

// RFC 9112, 2.2: a line ends with CR and LF. Elsewhere neither is valid, which whoever looks at the
// line's characters finds.
RequestParser::Line RequestParser::next_line(std::string_view input) noexcept {
  const std::size_t end = input.find('\n', scanned_);
  if (end == std::string_view::npos) {
    scanned_ = input.size();
    return Line::need_more;
  }
  if (end == line_begin_ || input[end - 1] != '\r') {
    return Line::bad;
  }
  line_ = input.substr(line_begin_, end - 1 - line_begin_);
  look_from(end + 1);
  return Line::complete;
}

// Takes the next line of `allowed`, which is the input cut off at `limit` bytes. If there is none,
// error_ says whether more input is needed.
bool RequestParser::take_line(std::string_view allowed, std::size_t limit) noexcept {
  switch (next_line(allowed)) {
  case Line::complete:
    return true;
  case Line::bad:
    return refuse(Status::bad_request);
  case Line::need_more:
    break;
  }
  if (allowed.size() == limit) {
    refuse(request_line_done_ ? Status::request_header_fields_too_large : Status::uri_too_long);
  }
  return false;
}

// ---- The header.

[[gnu::always_inline]] inline bool RequestParser::put_header(std::string_view input,
                                                             std::size_t& consumed) {
  if (!begun_) {
    // RFC 9112, 2.2: a server should ignore empty lines before a request line.
    for (; input.starts_with(kLineEnd); input.remove_prefix(kLineEnd.size())) {
      consumed += kLineEnd.size();
    }
    if (input.empty() || input == "\r") {
      return false;
    }
    begun_ = true;
  }
  const std::size_t size = header_size(input.substr(0, limits_.max_header_bytes));
  if (size == 0) {
    return false;
  }
  header_bytes_ = size;
  consumed += size;
  look_from(0);
  const std::string_view header(input.data(), size);
  return beast_misreads_ ? put_whole(copy_for_beast(header)) : put_whole(header);
}

// The size of the header that `allowed` begins with. 0 when there is none: error_ says whether more
// input is needed. Checks the characters of a line to find its end, so that most lines are read
// once.
[[gnu::always_inline]] inline std::size_t RequestParser::header_size(std::string_view allowed) {
  const std::size_t begin = line_begin_;
  if (scanned_ != begin) { // Part of a line was here: it is checked when its end has arrived.
    if (!take_line(allowed, limits_.max_header_bytes)) {
      return 0;
    }
    look_from(begin);
  }
  const char* const end = allowed.data() + allowed.size();
  const char* at = allowed.data() + begin;
  if (!request_line_done_) {
    const char* const line_end = skip_request_line(at, end);
    if (!ends_line(line_end, end)) {
      refuse_or_wait(at, allowed);
      return 0;
    }
    if (!note_request_line({at, line_end})) {
      return 0;
    }
    at = line_end + kLineEnd.size();
  }
  while (!ends_line(at, end)) {
    const char* const line_end = skip_field_line(at, end);
    if (!ends_line(line_end, end)) {
      refuse_or_wait(at, allowed);
      return 0;
    }
    if (is_proxy_connection({at, line_end})) {
      beast_misreads_ = true;
    }
    at = line_end + kLineEnd.size();
  }
  return static_cast<std::size_t>(at - allowed.data()) + kLineEnd.size();
}

// The line at `at` is not valid, or its end has not arrived.
void RequestParser::refuse_or_wait(const char* at, std::string_view allowed) noexcept {
  look_from(static_cast<std::size_t>(at - allowed.data()));
  // What begins with no token is not HTTP, but TLS for instance.
  if (!is_token(allowed.front()) || take_line(allowed, limits_.max_header_bytes)) {
    refuse(Status::bad_request);
  }
}

inline bool RequestParser::note_request_line(std::string_view line) {
  request_line_done_ = true;
  if (line[line.size() - 3] != '1') { // the major version
    return refuse(Status::http_version_not_supported);
  }
  beast_misreads_ = line.back() > '1';
  if (keep_line_) {
    request_.line = line;
  }
  return true;
}

// Gives Beast bytes that it must take completely. Flattened, so that Beast's parser is compiled
// into this function: a request takes a tenth fewer instructions, and which copy of Beast's inline
// functions the linker keeps does not matter.
[[gnu::flatten]] bool RequestParser::put_whole(std::string_view bytes) {
  error_code error;
  const std::size_t used = Base::put({bytes.data(), bytes.size()}, error);
  if (!error && used == bytes.size()) {
    return true;
  }
  return error_ != Status::ok ? false
                              : refuse(error == http::error::body_limit ? Status::payload_too_large
                                                                        : Status::bad_request);
}

void RequestParser::on_request_impl(Method method, string_view /*name*/, string_view whole_target,
                                    int version, error_code& error) {
  request_.method = method;
  request_.http_1_0 = version == 10;
  if (method == Method::connect) {
    return; // its target has a form of its own, and no resource
  }
  std::string_view target = view(whole_target);
  if (target.front() == '/') {
    request_.resource = find_resource(target, limits_.site);
    return;
  }
  const bool asterisk = target == "*";
  if (!asterisk && !cut_origin(target)) {
    return refuse(Status::bad_request, error);
  }
  // RFC 9112, 3.2.4: an absolute target without a path means the whole server, too.
  if (method == Method::options && (asterisk || target.empty())) {
    request_.resource = whole_server(limits_.site);
  } else if (asterisk) {
    refuse(Status::bad_request, error);
  } else {
    request_.resource = find_resource(target, limits_.site);
  }
}

void RequestParser::on_field_impl(http::field field, string_view /*name*/, string_view text,
                                  error_code& error) {
  const std::string_view value = view(text);
  if (++fields_ > limits_.max_headers) {
    refuse(Status::request_header_fields_too_large, error);
  } else if (field == http::field::host) {
    if (++hosts_ > 1 || !is_host(value)) {
      refuse(Status::bad_request, error);
    }
  } else if (field == http::field::content_length) {
    check_content_length(value, error);
  } else if (field == http::field::transfer_encoding) {
    check_transfer_encoding(value, error);
  } else if (field == http::field::expect) {
    note_expect(value);
  } else if (field == http::field::connection) {
    close_asked_ = close_asked_ || http::token_list(text).exists("close");
    keep_asked_ = keep_asked_ || (request_.http_1_0 && http::token_list(text).exists("keep-alive"));
  }
}

// Beast accepts lists, and a second field of the same value. RFC 9112 allows a server to refuse
// both. Leading zeros are accepted.
void RequestParser::check_content_length(std::string_view value, error_code& error) noexcept {
  constexpr auto kMost = std::uint64_t{1} << 63;
  if (!parse_integer(value, kMost) || content_length_seen_ || transfer_encoding_seen_) {
    refuse(Status::bad_request, error);
  }
  content_length_seen_ = true;
}

// Beast takes an unknown coding for "no body", and would parse the body as the next request.
void RequestParser::check_transfer_encoding(std::string_view value, error_code& error) noexcept {
  const Framing framing = framing_of(value);
  if (request_.http_1_0 || content_length_seen_ || transfer_encoding_seen_ ||
      framing == Framing::invalid) {
    refuse(Status::bad_request, error);
  }
  transfer_encoding_seen_ = true;
  coding_unknown_ = framing == Framing::unknown;
}

// RFC 9110, 10.1.1: a list, of which only one element is known.
void RequestParser::note_expect(std::string_view value) noexcept {
  while (!value.empty()) {
    const std::size_t end = std::min(value.find(','), value.size());
    const std::string_view expectation = without_blanks(value.substr(0, end));
    value.remove_prefix(std::min(end + 1, value.size()));
    if (boost::beast::iequals({expectation.data(), expectation.size()}, "100-continue")) {
      expect_continue_ = !request_.http_1_0;
    } else if (!expectation.empty()) {
      expectation_unknown_ = true;
    }
  }
}

bool RequestParser::take_expect_continue() noexcept {
  const bool wanted = expect_continue_ && is_header_done() && !body_begun_ && !is_done();
  if (wanted) {
    expect_continue_ = false;
  }
  return wanted;
}

// What is no valid request is refused before what this server does not know or allow, in whatever
// order the fields came.
void RequestParser::on_header_impl(error_code& error) {
  request_.keep_alive = !close_asked_ && (keep_asked_ || !request_.http_1_0);
  if (!request_.http_1_0 && hosts_ == 0) {
    refuse(Status::bad_request, error);
  } else if (request_.method == Method::unknown || request_.method == Method::connect ||
             coding_unknown_) {
    refuse(Status::not_implemented, error);
  } else if (expectation_unknown_) {
    refuse(Status::expectation_failed, error);
  } else if (content_length().value_or(0) > limits_.max_body_bytes) {
    refuse(Status::payload_too_large, error);
  }
  Base::body_limit(limits_.max_body_bytes);
}

// ---- The body.

bool RequestParser::put_body(std::string_view input, std::size_t& consumed) {
  if (input.empty()) {
    return false;
  }
  error_code error;
  consumed += Base::put({input.data(), input.size()}, error);
  return !error || refuse(Status::bad_request);
}

// Takes the line end that closes the previous chunk, and the line that says a chunk's size.
bool RequestParser::put_chunk_line(std::string_view input, std::size_t& consumed) {
  if (behind_chunk_ && line_begin_ == 0) {
    if (!kLineEnd.starts_with(input.substr(0, kLineEnd.size()))) {
      return refuse(Status::bad_request);
    }
    if (input.size() < kLineEnd.size()) {
      return false;
    }
    look_from(kLineEnd.size());
  }
  constexpr std::size_t kMostDigits = 16;
  const std::size_t begin = line_begin_;
  const std::size_t digits = chunk_digits(input.substr(begin));
  if (digits > kMostDigits || (digits == 0 && begin < input.size())) {
    return refuse(Status::bad_request);
  }
  // An endless extension is refused where it reaches the limit, however the input is cut.
  const std::size_t limit = begin + digits + header_bytes_left() + kLineEnd.size();
  if (!take_line(input.substr(0, limit), limit)) {
    return false;
  }
  const std::string_view extension = line_.substr(digits);
  if (!is_chunk_extension(extension)) {
    return refuse(Status::bad_request);
  }
  header_bytes_ += extension.size();
  body_begun_ = true;
  const std::size_t size = line_begin_;
  if (line_.substr(0, digits).find_first_not_of('0') == std::string_view::npos) {
    trailers_begin_ = size;
    return true;
  }
  look_from(0);
  consumed += size;
  behind_chunk_ = true;
  return put_whole(input.substr(0, size));
}

// Trailer fields and the extension of the last chunk change nothing, so Beast does not get them.
bool RequestParser::put_trailers(std::string_view input, std::size_t& consumed) {
  const std::size_t limit = trailers_begin_ + header_bytes_left();
  do {
    if (!take_line(input.substr(0, limit + kLineEnd.size()), limit + kLineEnd.size())) {
      return false;
    }
    if (line_.empty()) {
      consumed += line_begin_;
      return put_whole(behind_chunk_ ? "\r\n0\r\n\r\n" : "0\r\n\r\n");
    }
    if (!is_field_line(line_)) {
      return refuse(Status::bad_request);
    }
  } while (line_begin_ <= limit && ++fields_ <= limits_.max_headers);
  return refuse(Status::request_header_fields_too_large);
}

std::size_t RequestParser::on_body_impl(string_view body, error_code& /*error*/) {
  body_begun_ = true;
  if (keeps_body(request_.resource, request_.method)) {
    request_.body.append(body.data(), body.size());
  }
  return body.size();
}

std::size_t RequestParser::on_chunk_body_impl(std::uint64_t left, string_view body,
                                              error_code& error) {
  chunk_left_ = left - body.size();
  return on_body_impl(body, error);
}

} // namespace server
