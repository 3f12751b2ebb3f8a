#include "server/request.hpp"

#include "server/quantity.hpp"

#include <boost/beast/core/string.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/rfc7230.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <utility>

namespace server {
namespace {

namespace http = boost::beast::http;

std::string_view view(boost::beast::string_view text) { return {text.data(), text.size()}; }

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kHttp = "HTTP/";

// Characters are judged by function objects, not functions, so that the algorithms that they are
// given to inline them.
constexpr auto is_decimal = [](char c) { return c >= '0' && c <= '9'; };

constexpr auto is_hex = [](char c) {
  return is_decimal(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
};

constexpr auto is_alphanumeric = [](char c) {
  return is_decimal(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
};

constexpr bool is_one_of(char c, std::string_view those) {
  return those.find(c) != std::string_view::npos;
}

// Says of each byte whether it belongs to a set. A look-up is fast, and every byte is checked.
template <class Belongs> consteval std::array<bool, 256> table_of(Belongs belongs) {
  std::array<bool, 256> table{};
  for (std::size_t i = 0; i < table.size(); ++i) {
    table[i] = belongs(static_cast<char>(i));
  }
  return table;
}

constexpr auto kToken =
    table_of([](char c) { return is_alphanumeric(c) || is_one_of(c, "!#$%&'*+-.^_`|~"); });
constexpr auto kHostCharacter =
    table_of([](char c) { return is_alphanumeric(c) || is_one_of(c, "-._~!$&'()*+,;="); });

// RFC 9110, 5.6.2.
constexpr auto is_token = [](char c) { return kToken[static_cast<unsigned char>(c)]; };

// RFC 9112, 3.2: printable ASCII, and no fragment.
constexpr auto is_target = [](char c) { return c > 0x20 && c < 0x7f && c != '#'; };

// RFC 9110, 5.5: anything but control characters.
constexpr auto is_value = [](char c) {
  return (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) || c == '\t';
};

// RFC 3986, 3.2.2: unreserved characters and delimiters.
constexpr auto is_host_character = [](char c) {
  return kHostCharacter[static_cast<unsigned char>(c)];
};

// RFC 9112, 5.1: no space before the colon, none before the name (which would be a folded line).
bool is_field_line(std::string_view line) {
  const std::size_t colon = line.find(':');
  return colon != std::string_view::npos && colon != 0 &&
         std::all_of(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(colon), is_token) &&
         std::all_of(line.begin() + static_cast<std::ptrdiff_t>(colon), line.end(), is_value);
}

// RFC 3986, 3.2.2: letters, digits and the like, percent-encoded bytes.
bool is_registered_name(std::string_view name) {
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '%' && i + 2 < name.size() && is_hex(name[i + 1]) && is_hex(name[i + 2])) {
      i += 2;
    } else if (!is_host_character(name[i])) {
      return false;
    }
  }
  return true;
}

// Checks the characters between the brackets. Nothing here relies on their being a valid address.
bool is_ip_literal(std::string_view inside) {
  return !inside.empty() && std::all_of(inside.begin(), inside.end(),
                                        [](char c) { return is_host_character(c) || c == ':'; });
}

// RFC 9112, 3.2: host [":" port], either of which may be empty.
bool is_host(std::string_view text) {
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos || !is_ip_literal(text.substr(1, end - 1))) {
      return false;
    }
    port = text.substr(end + 1);
  } else {
    const std::size_t colon = std::min(text.find(':'), text.size());
    if (!is_registered_name(text.substr(0, colon))) {
      return false;
    }
    port = text.substr(colon);
  }
  return port.empty() ||
         (port.front() == ':' && std::all_of(port.begin() + 1, port.end(), is_decimal));
}

std::size_t chunk_digits(std::string_view line) {
  return static_cast<std::size_t>(std::find_if_not(line.begin(), line.end(), is_hex) -
                                  line.begin());
}

void skip_blanks(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
}

bool skip_token(std::string_view& text) {
  const auto end = std::find_if_not(text.begin(), text.end(), is_token);
  const auto size = static_cast<std::size_t>(end - text.begin());
  text.remove_prefix(size);
  return size != 0;
}

bool skip_quoted(std::string_view& text) {
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '"') {
      text.remove_prefix(i + 1);
      return true;
    }
    i += text[i] == '\\' ? 1U : 0U;
    if (i < text.size() && !is_value(text[i])) {
      return false;
    }
  }
  return false;
}

// RFC 9112, 7.1.1: any number of ;name, ;name=token and ;name="quoted", with blanks between.
bool is_chunk_extension(std::string_view text) {
  while (!text.empty()) {
    skip_blanks(text);
    if (!text.starts_with(';')) {
      return false;
    }
    text.remove_prefix(1);
    skip_blanks(text);
    if (!skip_token(text)) {
      return false;
    }
    std::string_view behind = text;
    skip_blanks(behind);
    if (behind.starts_with('=')) {
      text = behind.substr(1);
      skip_blanks(text);
      if (!(text.starts_with('"') ? skip_quoted(text) : skip_token(text))) {
        return false;
      }
    }
  }
  return true;
}

// RFC 9112, 3.2.2: cuts scheme and authority off an absolute target. False when it is not an
// absolute target.
bool cut_origin(std::string_view& target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    const auto head = target.substr(0, scheme.size());
    if (!boost::beast::iequals({head.data(), head.size()}, {scheme.data(), scheme.size()})) {
      continue;
    }
    const std::string_view rest = target.substr(scheme.size());
    const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
    const std::string_view authority = rest.substr(0, end);
    target = rest.substr(end);
    return !authority.empty() && is_host(authority);
  }
  return false;
}

} // namespace

RequestParser::RequestParser(const RequestLimits& limits, bool keep_line)
    : limits_(limits), keep_line_(keep_line) {
  Base::header_limit(static_cast<std::uint32_t>(limits.max_header_bytes + 1));
  Base::body_limit(limits.max_body_bytes);
}

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

// RFC 9112, 2.2: CR and LF are allowed only as the pair that ends a line.
RequestParser::Line RequestParser::next_line(std::string_view input) noexcept {
  const std::size_t end = input.find('\n', scanned_);
  const std::string_view fresh = input.substr(scanned_, end - scanned_);
  const std::size_t cr = fresh.find('\r');
  if (cr != std::string_view::npos && cr + 1 != fresh.size()) {
    return Line::bad;
  }
  if (end == std::string_view::npos) {
    scanned_ += std::min(cr, fresh.size());
    return Line::need_more;
  }
  if (cr == std::string_view::npos) {
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

// RFC 9112, 2.2: a server should ignore empty lines before a request line.
std::size_t RequestParser::skip_line_ends(std::string_view input) noexcept {
  std::size_t skipped = 0;
  while (!begun_ && input.substr(skipped).starts_with(kLineEnd)) {
    skipped += 2;
    line_end_seen_ = true;
  }
  return skipped;
}

// ---- The header.

bool RequestParser::put_header(std::string_view input, std::size_t& consumed) {
  consumed = skip_line_ends(input);
  input = input.substr(consumed);
  if (input.empty() || (!begun_ && input == "\r")) {
    return false;
  }
  begun_ = true;
  if (!is_token(input.front())) {
    return refuse(Status::bad_request); // not HTTP, TLS for instance
  }
  const std::string_view allowed = input.substr(0, limits_.max_header_bytes);
  do {
    if (!take_line(allowed, limits_.max_header_bytes)) {
      return false;
    }
  } while (!line_.empty() && check_header_line(line_));
  if (!line_.empty()) {
    return false;
  }
  header_bytes_ = line_begin_;
  consumed += header_bytes_;
  look_from(0);
  const std::string_view header = input.substr(0, header_bytes_);
  if (!newer_minor_version_) {
    return put_whole(header);
  }
  std::string as_1_1(header);
  as_1_1[as_1_1.find(kLineEnd) - 1] = '1';
  return put_whole(as_1_1);
}

// After the request line, a line that begins with a blank would continue the line before it.
bool RequestParser::check_header_line(std::string_view line) noexcept {
  if (!std::exchange(request_line_done_, true)) {
    if (!check_request_line(line)) {
      return false;
    }
    if (keep_line_) {
      request_.line = line;
    }
    return true;
  }
  const bool continues = line.front() == ' ' || line.front() == '\t';
  return !continues || refuse(Status::bad_request);
}

// RFC 9112, 3: method, target and version with one space between.
bool RequestParser::check_request_line(std::string_view line) noexcept {
  const std::size_t first = line.find(' ');
  const std::size_t second = line.rfind(' ');
  if (first == second || line.find(' ', first + 1) != second) {
    return refuse(Status::bad_request);
  }
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, second - first - 1);
  const std::string_view version = line.substr(second + 1);
  const bool sound = !method.empty() && std::all_of(method.begin(), method.end(), is_token) &&
                     !target.empty() && std::all_of(target.begin(), target.end(), is_target) &&
                     version.size() == 8 && version.starts_with(kHttp) && version[6] == '.' &&
                     is_decimal(version[5]) && is_decimal(version[7]) && version[5] != '0';
  if (!sound) {
    return refuse(Status::bad_request);
  }
  newer_minor_version_ = version[7] > '1';
  return version[5] == '1' || refuse(Status::http_version_not_supported);
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
    return refuse(Status::not_implemented, error);
  }
  std::string_view target = view(whole_target);
  if (target == "*" && method == Method::options) {
    request_.resource.kind = Resource::Kind::asterisk;
  } else if (target.front() == '/' || cut_origin(target)) {
    request_.resource = find_resource(target);
  } else {
    refuse(Status::bad_request, error);
  }
}

void RequestParser::on_field_impl(http::field field, string_view /*name*/, string_view text,
                                  error_code& error) {
  const std::string_view value = view(text);
  if (++fields_ > limits_.max_headers) {
    refuse(Status::request_header_fields_too_large, error);
  } else if (field == http::field::content_length) {
    check_content_length(value, error);
  } else if (field == http::field::transfer_encoding) {
    check_transfer_encoding(value, error);
  } else if (field == http::field::expect) {
    check_expect(value, error);
  } else if (field == http::field::connection) {
    close_asked_ = close_asked_ || http::token_list(text).exists("close");
  } else if (field == http::field::host && (++hosts_ > 1 || !is_host(value))) {
    refuse(Status::bad_request, error);
  }
}

// Beast accepts lists, and a second field of the same value. RFC 9112 allows a server to refuse
// both. Leading zeros are accepted.
void RequestParser::check_content_length(std::string_view value, error_code& error) noexcept {
  constexpr auto kMost = std::uint64_t{1} << 63;
  if (!parse_integer(value, kMost) || content_length_seen_) {
    refuse(Status::bad_request, error);
  }
  content_length_seen_ = true;
}

// Beast takes an unknown coding for "no body", and would parse the body as the next request.
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

bool RequestParser::take_expect_continue() noexcept {
  const bool wanted = expect_continue_ && is_header_done() && !body_begun_ && !is_done();
  if (wanted) {
    expect_continue_ = false;
  }
  return wanted;
}

void RequestParser::on_header_impl(error_code& error) {
  // Of "keep-alive, close" in HTTP/1.0, Beast looks only at the first word.
  request_.keep_alive = Base::keep_alive() && !close_asked_;
  if (!request_.http_1_0 && hosts_ == 0) {
    refuse(Status::bad_request, error);
  } else if (request_.method == Method::unknown) {
    refuse(Status::not_implemented, error);
  }
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
