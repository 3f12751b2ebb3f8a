// The grammar of requests: which characters and words RFC 9110, RFC 9112 and RFC 3986 (URIs) allow.
// Every function looks at all of the text that it is given, and costs time linear in its length.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace server {

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

// RFC 9110, 5.6.2.
constexpr auto kToken =
    table_of([](char c) { return is_alphanumeric(c) || is_one_of(c, "!#$%&'*+-.^_`|~"); });
constexpr auto is_token = [](char c) { return kToken[static_cast<unsigned char>(c)]; };

// RFC 9110, 5.5: anything but control characters.
constexpr auto kValue = table_of(
    [](char c) { return (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) || c == '\t'; });
constexpr auto is_value = [](char c) { return kValue[static_cast<unsigned char>(c)]; };

// RFC 9112, 5.1: no space before the colon, none before the name (which would be a folded line).
inline bool is_field_line(std::string_view line) {
  const auto colon = std::find_if_not(line.begin(), line.end(), is_token);
  return colon != line.begin() && colon != line.end() && *colon == ':' &&
         std::all_of(colon, line.end(), is_value);
}

// Whether `text` is nothing but empty lines, of which the last may still lack its line feed.
inline bool is_blank(std::string_view text) {
  while (text.starts_with("\r\n")) {
    text.remove_prefix(2);
  }
  return text.empty() || text == "\r";
}

// RFC 9112, 3.2 and RFC 3986, 2: the characters of a URI, without a fragment, and percent signs
// only with two hexadecimal digits behind them. Brackets are accepted anywhere, because browsers
// send them in queries.
bool is_target(std::string_view text);

// RFC 9112, 3.2: host [":" port], either of which may be empty. What stands in brackets must be an
// address.
bool is_host(std::string_view text);

// RFC 9112, 3.2.2: cuts scheme and authority off an absolute target. False when it is not an
// absolute target of a server like this one.
bool cut_origin(std::string_view& target);

// RFC 3986, 6.2.2.2: decodes the percent-encoded bytes that need not be encoded: letters, digits
// and "-._~". The others keep their meaning only while they are encoded.
std::string decode_unreserved(std::string_view path);

// RFC 9112, 7.1.1: any number of ;name, ;name=token and ;name="quoted", with blanks between.
bool is_chunk_extension(std::string_view text);

// What a Transfer-Encoding field says about where the body ends.
enum class Framing {
  chunked, // exactly "chunked"
  unknown, // a coding that this server does not know, below a final "chunked"
  invalid  // RFC 9112, 6.3: "chunked" is not the last coding, or stands twice; or no valid list
};
Framing framing_of(std::string_view transfer_encoding);

} // namespace server
