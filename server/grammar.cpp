#include "server/grammar.hpp"

#include <arpa/inet.h>
#include <boost/beast/core/string.hpp>

namespace server {
namespace {

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return boost::beast::iequals({a.data(), a.size()}, {b.data(), b.size()});
}

// RFC 3986, 2.3.
constexpr auto is_unreserved = [](char c) { return is_alphanumeric(c) || is_one_of(c, "-._~"); };

// RFC 3986, 2.2 and 3.2.2: unreserved characters and delimiters.
constexpr auto kHostCharacter =
    table_of([](char c) { return is_unreserved(c) || is_one_of(c, "!$&'()*+,;="); });
constexpr auto is_host_character = [](char c) {
  return kHostCharacter[static_cast<unsigned char>(c)];
};

int digit(char hex) { return is_decimal(hex) ? hex - '0' : (hex | 0x20) - 'a' + 10; }

char decoded(const char* at) { return static_cast<char>(digit(at[1]) * 16 + digit(at[2])); }

// RFC 3986, 3.2.2. The form that inet_pton() knows is the same.
bool is_ipv6_address(std::string_view text) {
  std::array<char, INET6_ADDRSTRLEN> terminated{};
  in6_addr address{};
  const auto belongs = [](char c) { return is_hex(c) || c == ':' || c == '.'; };
  if (text.size() >= terminated.size() || !std::all_of(text.begin(), text.end(), belongs)) {
    return false;
  }
  text.copy(terminated.data(), text.size());
  return inet_pton(AF_INET6, terminated.data(), &address) == 1;
}

// RFC 3986, 3.2.2: "v", hexadecimal digits, a dot, and an address of a form yet to be invented.
bool is_future_address(std::string_view text) {
  const std::size_t dot = text.find('.');
  if (dot == std::string_view::npos || dot < 2 || dot + 1 == text.size() ||
      (text.front() != 'v' && text.front() != 'V')) {
    return false;
  }
  const std::string_view version = text.substr(1, dot - 1);
  const std::string_view address = text.substr(dot + 1);
  return std::all_of(version.begin(), version.end(), is_hex) &&
         std::all_of(address.begin(), address.end(),
                     [](char c) { return is_host_character(c) || c == ':'; });
}

// Skips an address in brackets. Null when there is none. Not inlined: most hosts are names.
[[gnu::noinline]] const char* skip_literal(const char* at, const char* end) {
  const char* const bracket = std::find(at, end, ']');
  if (bracket == end) {
    return nullptr;
  }
  const std::string_view address(at + 1, bracket);
  return is_ipv6_address(address) || is_future_address(address) ? bracket + 1 : nullptr;
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

// Skips blanks if `next` follows them, and that too. False when something else follows.
bool skip_to(std::string_view& text, char next) {
  std::string_view behind = text;
  skip_blanks(behind);
  if (!behind.starts_with(next)) {
    return false;
  }
  behind.remove_prefix(1);
  text = behind;
  return true;
}

// Skips any number of ;name, ;name=token and ;name="quoted". False when one of them is not valid.
bool skip_parameters(std::string_view& text) {
  while (skip_to(text, ';')) {
    skip_blanks(text);
    if (!skip_token(text)) {
      return false;
    }
    if (skip_to(text, '=')) {
      skip_blanks(text);
      if (!(text.starts_with('"') ? skip_quoted(text) : skip_token(text))) {
        return false;
      }
    }
  }
  return true;
}

} // namespace

bool is_host(std::string_view text) {
  const char* const end = text.data() + text.size();
  const char* const at = text.starts_with('[') ? skip_literal(text.data(), end)
                                               : skip_encoded(text.data(), end, kHostCharacter);
  return at == end || (at != nullptr && *at == ':' && std::all_of(at + 1, end, is_decimal));
}

bool cut_origin(std::string_view& target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!equal_ignoring_case(target.substr(0, scheme.size()), scheme)) {
      continue;
    }
    const std::string_view rest = target.substr(scheme.size());
    const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
    const std::string_view authority = rest.substr(0, end);
    target = rest.substr(end);
    // RFC 9110, 4.2.1: an empty host is not valid here.
    return !authority.empty() && authority.front() != ':' && is_host(authority);
  }
  return false;
}

std::string_view without_blanks(std::string_view text) {
  skip_blanks(text);
  return text.substr(0, text.find_last_not_of(" \t") + 1);
}

std::string decode_unreserved(std::string_view path) {
  std::string text;
  const char* const end = path.data() + path.size();
  for (const char* at = path.data(); at != end; ++at) {
    if (is_encoded_byte(at, end) && is_unreserved(decoded(at))) {
      text += decoded(at);
      at += 2;
    } else {
      text += *at;
    }
  }
  return text;
}

bool is_chunk_extension(std::string_view text) { return skip_parameters(text) && text.empty(); }

Framing framing_of(std::string_view transfer_encoding) {
  std::string_view rest = transfer_encoding;
  bool chunked = false; // of the codings so far, the last is "chunked"
  std::size_t codings = 0;
  do {
    skip_blanks(rest);
    const std::string_view from = rest;
    if (chunked || !skip_token(rest)) {
      return Framing::invalid; // something follows "chunked", or a coding is missing
    }
    const std::string_view name = from.substr(0, from.size() - rest.size());
    const std::size_t left = rest.size();
    if (!skip_parameters(rest)) {
      return Framing::invalid;
    }
    chunked = equal_ignoring_case(name, "chunked");
    if (chunked && rest.size() != left) {
      return Framing::invalid; // RFC 9112, 7.1: it has no parameters
    }
    ++codings;
  } while (skip_to(rest, ','));
  skip_blanks(rest);
  if (!rest.empty() || !chunked) {
    return Framing::invalid;
  }
  return codings == 1 ? Framing::chunked : Framing::unknown;
}

} // namespace server
