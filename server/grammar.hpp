// The grammar of requests: which characters and words RFC 9110, RFC 9112 and RFC 3986 (URIs) allow.
// Every function looks at all of the text that it is given, and costs time linear in its length.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
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

// RFC 9112, 3.2 and RFC 3986, 2: the characters of a URI without a fragment. Brackets are accepted
// anywhere, because browsers send them in queries. The percent sign is not here, because it needs
// what follows it.
constexpr auto kTarget =
    table_of([](char c) { return c > 0x20 && c < 0x7f && !is_one_of(c, "%#\"<>\\^`{|}"); });

// RFC 9112, 2.2.
inline constexpr std::string_view kLineEnd = "\r\n";

// Whether a line ends at `at`, which may be null.
inline bool ends_line(const char* at, const char* end) {
  return at != nullptr && std::string_view(at, end).starts_with(kLineEnd);
}

// Functions that skip return where in [at, end) the first byte is that does not belong to what they
// skip.
inline const char* skip(const char* at, const char* end, const std::array<bool, 256>& those) {
  while (at != end && those[static_cast<unsigned char>(*at)]) {
    ++at;
  }
  return at;
}

// As skip(at, end, kValue), but looks at eight bytes at a time while none of them is a control
// character.
inline const char* skip_value(const char* at, const char* end) {
  constexpr std::uint64_t kEach = 0x0101010101010101; // a factor that puts a byte in all eight
  for (std::uint64_t eight = 0; end - at >= std::ptrdiff_t{sizeof eight}; at += sizeof eight) {
    std::memcpy(&eight, at, sizeof eight);
    // The highest bit of each byte says: it is below 0x80, and below 0x20 or equal to 0x7f. No sum
    // carries into the next byte.
    const std::uint64_t low = eight & (0x7f * kEach);
    const std::uint64_t control = (~(low + 0x60 * kEach) | (low + kEach)) & ~eight & (0x80 * kEach);
    if (control != 0) {
      if constexpr (std::endian::native == std::endian::little) {
        at += std::countr_zero(control) / 8;
      }
      break;
    }
  }
  return skip(at, end, kValue);
}

// RFC 3986, 2.1: whether a percent-encoded byte stands at `at`.
inline bool is_encoded_byte(const char* at, const char* end) {
  return *at == '%' && end - at > 2 && is_hex(at[1]) && is_hex(at[2]);
}

// Skips characters that belong to a set, and percent-encoded bytes.
inline const char* skip_encoded(const char* at, const char* end,
                                const std::array<bool, 256>& those) {
  while (true) {
    at = skip(at, end, those);
    if (at == end || !is_encoded_byte(at, end)) {
      return at;
    }
    at += 3;
  }
}

// RFC 9112, 3: skips a request line, but not its end: method, target and version with one space
// between. Null when there is none.
inline const char* skip_request_line(const char* at, const char* end) {
  const char* const method_end = skip(at, end, kToken);
  if (method_end == at || method_end == end || *method_end != ' ') {
    return nullptr;
  }
  const char* const target = method_end + 1;
  const char* const target_end = skip_encoded(target, end, kTarget);
  constexpr std::string_view kVersion = " HTTP/1.1";
  const std::string_view version(target_end, end);
  if (target_end == target || version.size() < kVersion.size() || !version.starts_with(" HTTP/") ||
      !is_decimal(version[6]) || version[6] == '0' || version[7] != '.' ||
      !is_decimal(version[8])) {
    return nullptr;
  }
  return target_end + kVersion.size();
}

// RFC 9112, 5.1: skips a field line, but not its end. No space may stand before the colon, none
// before the name (which would be a folded line). Null when there is no field line.
inline const char* skip_field_line(const char* at, const char* end) {
  const char* const colon = skip(at, end, kToken);
  return colon != at && colon != end && *colon == ':' ? skip_value(colon, end) : nullptr;
}

inline bool is_field_line(std::string_view line) {
  const char* const end = line.data() + line.size();
  return skip_field_line(line.data(), end) == end && !line.empty();
}

// Whether `text` is nothing but empty lines, of which the last may still lack its line feed.
inline bool is_blank(std::string_view text) {
  while (text.starts_with(kLineEnd)) {
    text.remove_prefix(kLineEnd.size());
  }
  return text.empty() || text == "\r";
}

// RFC 9112, 3.2: host [":" port], either of which may be empty. What stands in brackets must be an
// address.
bool is_host(std::string_view text);

// RFC 9112, 3.2.2: cuts scheme and authority off an absolute target. False when it is not an
// absolute target of a server like this one.
bool cut_origin(std::string_view& target);

// Without the spaces and tabs before and behind it.
std::string_view without_blanks(std::string_view text);

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
