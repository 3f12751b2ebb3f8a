#include "server/grammar.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace server {
namespace {

using namespace std::string_view_literals;

// Whether all of a line, and nothing behind it, is a request line.
bool is_request_line(const std::string& line) {
  const std::string input = line + "\r\nHost: h\r\n\r\n";
  return skip_request_line(input.data(), input.data() + input.size()) == input.data() + line.size();
}

bool is_target(std::string_view text) {
  return is_request_line("GET " + std::string(text) + " HTTP/1.1");
}

TEST(Grammar, KnowsRequestLines) {
  for (const auto* line : {"GET / HTTP/1.1", "G / HTTP/1.0", "M-SEARCH * HTTP/1.9",
                           "GET /%41 HTTP/9.0", "GET /HTTP/1.1 HTTP/1.1"}) {
    EXPECT_TRUE(is_request_line(line)) << line;
  }
  for (const auto* line : {"",
                           "GET",
                           "GET ",
                           "GET /",
                           "GET / ",
                           "GET / HTTP/1.",
                           "GET / HTTP/1.1 ",
                           " GET / HTTP/1.1",
                           "GET  / HTTP/1.1",
                           "GET /  HTTP/1.1",
                           "GET\t/ HTTP/1.1",
                           "G(T / HTTP/1.1",
                           "GET HTTP/1.1",
                           "GET  HTTP/1.1",
                           "GET / http/1.1",
                           "GET / HTTP/0.9",
                           "GET / HTTP/11.1",
                           "GET / HTTP/1,1",
                           "GET / HTTP/1.x",
                           "GET / HTTP/x.1",
                           "GET / HTTP 1.1",
                           "GET / HTTP/1.1x",
                           "GET / a HTTP/1.1"}) {
    EXPECT_FALSE(is_request_line(line)) << line;
  }
}

// Cut off anywhere, with nothing to read behind the cut.
TEST(Grammar, KnowsNoRequestLineThatIsCutOff) {
  const std::string line = "GET /%41 HTTP/1.1";
  for (std::size_t size = 0; size < line.size(); ++size) {
    const std::string part(line, 0, size);
    EXPECT_EQ(skip_request_line(part.data(), part.data() + size), nullptr) << part;
  }
}

// Eight bytes at a time, or one: every byte stops it at every place, or at none.
TEST(Grammar, SkipsValuesOfAnyLength) {
  for (std::size_t size = 1; size < 20; ++size) {
    for (std::size_t at = 0; at < size; ++at) {
      for (int c = 0; c < 256; ++c) {
        for (const char other : {'x', '\t', '\xff'}) {
          std::string text(size, other);
          text[at] = static_cast<char>(c);
          const char* const end = text.data() + size;
          const bool belongs = c == '\t' || (c >= 0x20 && c != 0x7f);
          ASSERT_EQ(skip_value(text.data(), end), belongs ? end : text.data() + at)
              << size << ' ' << at << ' ' << c;
        }
      }
    }
  }
}

TEST(Grammar, KnowsFieldLines) {
  for (const auto line :
       {"A:", "A:b", "A: \t b ", "!#$%&'*+-.^_`|~: x", "A: b: c", "A: \xc3\xa4"}) {
    EXPECT_TRUE(is_field_line(line)) << line;
  }
  for (const auto line : {""sv, ":"sv, ": x"sv, "A"sv, "A :"sv, " A:"sv, "\tA:"sv, "A(:"sv,
                          "A\xc3:"sv, "A: \0"sv, "A: \x7f"sv, "A: \r"sv, "A: \x01"sv}) {
    EXPECT_FALSE(is_field_line(line)) << line;
  }
}

TEST(Grammar, KnowsBlankLinesAlsoUnfinishedOnes) {
  for (const auto text : {"", "\r", "\r\n", "\r\n\r", "\r\n\r\n"}) {
    EXPECT_TRUE(is_blank(text)) << text;
  }
  for (const auto text : {"\n", "\r\r", "\r\nG", "\rG", " \r\n", "\r\n\n"}) {
    EXPECT_FALSE(is_blank(text)) << text;
  }
}

TEST(Grammar, KnowsTargets) {
  for (const auto text : {"/", "*", "/a%20b?c=d&e", "/?a[]=1", "http://[::1]:80/",
                          "/;@!$'()*+,=", "/%ff%FF", "/~-._"}) {
    EXPECT_TRUE(is_target(text)) << text;
  }
  for (const auto text :
       {""sv,   "/ "sv,  "/#"sv,   "/\""sv,  "/<"sv,    "/>"sv,  "/\\"sv,   "/^"sv,
        "/`"sv, "/{"sv,  "/|"sv,   "/}"sv,   "/\t"sv,   "/\0"sv, "/\x7f"sv, "/\xc3\xa4"sv,
        "/%"sv, "/%4"sv, "/%zz"sv, "/%4g"sv, "/%%41"sv, "/?%"sv, "/?a=%2"sv}) {
    EXPECT_FALSE(is_target(text)) << text;
  }
}

TEST(Grammar, KnowsHosts) {
  for (const auto text :
       {"", "h", "h:", ":80", "h:80", "127.0.0.1:4242", "a-b.c_d", "%41", "h:00080", "1.2.3.4.5"}) {
    EXPECT_TRUE(is_host(text)) << text;
  }
  for (const auto text : {"a b", "a/b", "u@h", "h:p", "h:80:80", "::1", "a\\b", "h%", "h%2", "h%zz",
                          "h\xff", "<h>", "h#f", "h?q", "\"h\"", "h:-1", "h: 80", "h]", "[h"}) {
    EXPECT_FALSE(is_host(text)) << text;
  }
}

// RFC 3986, 3.2.2.
TEST(Grammar, KnowsAddressesInBrackets) {
  for (const auto text :
       {"[::]", "[::1]", "[::1]:80", "[::1]:", "[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7::]",
        "[::2:3:4:5:6:7:8]", "[1::8]", "[2001:DB8::ff]", "[::ffff:1.2.3.4]",
        "[1:2:3:4:5:6:1.2.3.4]", "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]", "[v1.a]",
        "[VF.~!$&'()*+,;=:]", "[vabc0.1:2]"}) {
    EXPECT_TRUE(is_host(text)) << text;
  }
  for (const auto text : {"[]"sv,
                          "[x]"sv,
                          "[::g]"sv,
                          "[1:2:3:4:5:6:7:8:9]"sv,
                          "[1:2:3:4:5:6:7]"sv,
                          "[v1]"sv,
                          "[4712::abcd::]"sv,
                          "[:]"sv,
                          "[:::]"sv,
                          "[1:]"sv,
                          "[:1]"sv,
                          "[12345::]"sv,
                          "[1.2.3.4]"sv,
                          "[::1.2.3]"sv,
                          "[::1.2.3.256]"sv,
                          "[::1.2.3.4:5]"sv,
                          "[::01.2.3.4]"sv,
                          "[::1%25eth0]"sv,
                          "[::1%eth0]"sv,
                          "[::1"sv,
                          "[::1]x"sv,
                          "[::1]]"sv,
                          "[[::1]]"sv,
                          "[ ::1]"sv,
                          "[::1 ]"sv,
                          "[1::2::3]"sv,
                          "[1:2:3:4:5:6:7:8::]"sv,
                          "[v.a]"sv,
                          "[v1.]"sv,
                          "[vg.a]"sv,
                          "[v1.a/b]"sv,
                          "[v1.%41]"sv,
                          "[::1\0]"sv,
                          "[::\0:]"sv,
                          "[::1]:x"sv}) {
    EXPECT_FALSE(is_host(text)) << text;
  }
}

std::string without_origin(std::string_view target) {
  return cut_origin(target) ? std::string(target) : "none";
}

TEST(Grammar, CutsTheOriginOffAnAbsoluteTarget) {
  EXPECT_EQ(without_origin("http://h/a?b"), "/a?b");
  EXPECT_EQ(without_origin("HTTPS://h:80?b"), "?b");
  EXPECT_EQ(without_origin("http://[::1]:80"), "");
  for (const auto* const text : {"http://", "http:///", "http://:80/", "http://u@h/", "ftp://h/",
                                 "http:/h", "h", "", "http://[4712::abcd::]/", "http://[v1]/"}) {
    EXPECT_EQ(without_origin(text), "none") << text;
  }
}

TEST(Grammar, DecodesOnlyWhatNeedNotBeEncoded) {
  EXPECT_EQ(decode_unreserved("/%65cho"), "/echo");
  EXPECT_EQ(decode_unreserved("/%2D%2e%5F%7e%30%5A"), "/-._~0Z");
  EXPECT_EQ(decode_unreserved("%2f%3F%25%00%20%c3%A4"), "%2f%3F%25%00%20%c3%A4");
  EXPECT_EQ(decode_unreserved("/%2565"), "/%2565"); // not decoded twice
}

TEST(Grammar, KnowsChunkExtensions) {
  for (const auto text : {"", ";a", " ; a = \"x;\\\"y\" ;b", ";a=b;c", "\t;a"}) {
    EXPECT_TRUE(is_chunk_extension(text)) << text;
  }
  for (const auto text :
       {" ", ";", ";=", ";a=", ";a=\"", ";a b", "a", ";a;", ";a= ", ";a=\"\x01\""}) {
    EXPECT_FALSE(is_chunk_extension(text)) << text;
  }
}

// RFC 9112, 6.1 and 6.3.
TEST(Grammar, SaysWhatATransferEncodingMeansForTheBody) {
  for (const auto text : {"chunked", "Chunked", "CHUNKED"}) {
    EXPECT_EQ(framing_of(text), Framing::chunked) << text;
  }
  for (const auto text : {"gzip, chunked", "gzip,chunked", "a;b=c, chunked", "identity, chunked",
                          "a ; b = \"c,d\" , e\t,\tCHUNKED"}) {
    EXPECT_EQ(framing_of(text), Framing::unknown) << text;
  }
  for (const auto text : {"",
                          "gzip",
                          "identity",
                          "chunked, gzip",
                          "chunked, identity",
                          "chunked, chunked",
                          "gzip, chunked, chunked",
                          "chunked, gzip, chunked",
                          "chunked;q=1",
                          "chunked;",
                          "gzip;, chunked",
                          "xchunked",
                          "chunkedx",
                          "gzip chunked",
                          "gzip; chunked",
                          ",chunked",
                          "chunked,",
                          "gzip,,chunked",
                          "\"chunked\"",
                          "chunked\x0b",
                          "gzip, \"chunked\"",
                          "chunked x"}) {
    EXPECT_EQ(framing_of(text), Framing::invalid) << text;
  }
}

} // namespace
} // namespace server
