// The result of parsing does not depend on how the bytes are cut into pieces. Which bytes are
// accepted is tested over a socket (http_test.py, limits_test.py).
#include "server/request.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace server {
namespace {

constexpr RequestLimits kLimits{.max_header_bytes = 200, .max_headers = 5, .max_body_bytes = 100};

// Feeds pieces as a connection does: the parser sees the bytes that it has not consumed yet,
// followed by the new ones.
class Stream {
public:
  void put(std::string_view piece) {
    buffered_ += piece;
    while (!refused_) {
      std::size_t used = 0;
      const auto state = parser_->put(buffered_, used);
      buffered_.erase(0, used);
      if (state == RequestParser::State::need_more) {
        return;
      }
      if (state == RequestParser::State::bad) {
        refused_ = true;
        log_ += std::to_string(static_cast<unsigned>(parser_->error())) + "!";
        return;
      }
      note(parser_->request());
      parser_.emplace(kLimits, false);
    }
  }

  // All requests in order, and how the stream ended.
  std::string log() const { return log_ + (!refused_ && parser_->begun() ? "half a request" : ""); }

private:
  void note(const Request& request) {
    log_ += std::to_string(static_cast<int>(request.method)) + ' ' +
            std::to_string(static_cast<int>(request.resource.kind)) + ' ' +
            std::to_string(request.resource.size) + (request.http_1_0 ? " 1.0" : "") +
            (request.keep_alive ? " keep" : " close") + " [" + request.body + "]\n";
  }

  std::optional<RequestParser> parser_{std::in_place, kLimits, false};
  std::string buffered_;
  std::string log_;
  bool refused_ = false;
};

std::string whole(std::string_view bytes) {
  Stream stream;
  stream.put(bytes);
  return stream.log();
}

const std::vector<std::string> kStreams{
    "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /bytes/7 HTTP/1.0\r\n\r\n",
    "\r\n\r\nPOST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: "
    "h\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
    "chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n0002\r\nde"
    "\r\n0;x\r\nTrailer: t\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.2\r\nHost: h\r\nConnection: close\r\n\r\n",
    "GET / HTTP/1.1\nHost: h\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nA\r\n\r\n",
    "GET / HTTP/1.1\r\rHost: h\r\n\r\n",
    "\rGET / HTTP/1.1\r\n\r\n",
    "\x16\x03\x01",
    "GET / HTTP/3.0\r\nHost: h\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n",
    "GET /" + std::string(300, 'x'),
    "GET / HTTP/1.1\r\nHost: h\r\nA: " + std::string(300, 'x'),
    "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;" +
        std::string(300, 'x'),
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: " +
        std::string(300, 'x'),
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;" +
        std::string(300, 'x') + "\n",
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: " +
        std::string(300, 'x') + "\n",
    // The header at its limit of 200.
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nA: " + std::string(135, 'x') +
        "\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nA: " + std::string(133, 'x') +
        "\r\n\r\n5;a\r\nhello\r\n0\r\n\r\n",
};

TEST(Pieces, CutAtEveryPositionGiveTheSame) {
  for (const std::string& bytes : kStreams) {
    const std::string expected = whole(bytes);
    EXPECT_FALSE(expected.empty());
    for (std::size_t at = 0; at <= bytes.size(); ++at) {
      Stream stream;
      stream.put(std::string_view(bytes).substr(0, at));
      stream.put(std::string_view(bytes).substr(at));
      ASSERT_EQ(stream.log(), expected) << bytes << "\ncut at " << at;
    }
  }
}

TEST(Pieces, OfAByteEachGiveTheSame) {
  for (const std::string& bytes : kStreams) {
    Stream stream;
    for (const char byte : bytes) {
      stream.put({&byte, 1});
    }
    EXPECT_EQ(stream.log(), whole(bytes)) << bytes;
  }
}

TEST(Pieces, ShowWhetherARequestHasBegun) {
  RequestParser parser(kLimits, false);
  std::size_t used = 0;
  EXPECT_EQ(parser.put("\r", used), RequestParser::State::need_more);
  EXPECT_FALSE(parser.begun());
  EXPECT_EQ(parser.put("\r\n", used), RequestParser::State::need_more);
  EXPECT_EQ(used, 2U);
  EXPECT_FALSE(parser.begun());
  EXPECT_EQ(parser.put("G", used), RequestParser::State::need_more);
  EXPECT_TRUE(parser.begun());
}

// What the lines behind it would have been does not matter.
TEST(Pieces, AreRefusedAsSoonAsALineIsNotValid) {
  for (const std::string_view line :
       {"no colon", ": x", "Name : x", " Name: x", "\tx", "Na(me: x", "Name: a\x01", "Name: a\x7f",
        "N\xc3\xa4me: x", "Proxy-Connection : x", "Proxy-Connection: \x01"}) {
    const std::string start = "GET / HTTP/1.1\r\nHost: h\r\n";
    EXPECT_EQ(whole(start + std::string(line) + "\r\n"), "400!") << line;
    EXPECT_EQ(whole(start + std::string(line) + "\r\nA: " + std::string(300, 'x')), "400!") << line;
  }
}

// Beast interprets this field; HTTP does not know it (RFC 9110, appendix C).
TEST(Fields, ThatHttpDoesNotKnowChangeNothing) {
  const std::string get = "GET / HTTP/1.1\r\nHost: h\r\n";
  const std::string old = "GET / HTTP/1.0\r\n";
  for (const std::string_view field :
       {"Proxy-Connection: close", "PROXY-CONNECTION: close", "proxy-connection:close,keep-alive",
        "Proxy-Connection: keep-alive", "Proxy-Connection: a;b", "Proxy-Connection:",
        "Proxy-Connection: \"", "Keep-Alive: timeout=1, max=0", "Keep-Alive: close", "Upgrade: h2c",
        "Upgrade: a;b", "Proxy-Connection: a\r\nProxy-Connection: b", "HTTP2-Settings: x",
        "Close: close", "Connection-Close: close", "TE: trailers"}) {
    const std::string line = std::string(field) + "\r\n";
    EXPECT_EQ(whole(get + line + "\r\n"), whole(get + "\r\n")) << field;
    EXPECT_EQ(whole(get + line + "Connection: close\r\n\r\n"),
              whole(get + "Connection: close\r\n\r\n"))
        << field;
    EXPECT_EQ(whole(get + "Connection: keep-alive\r\n" + line + "\r\n"), whole(get + "\r\n"))
        << field;
    EXPECT_EQ(whole(old + line + "\r\n"), whole(old + "\r\n")) << field;
    EXPECT_EQ(whole(old + line + "Connection: keep-alive\r\n\r\n"),
              whole(old + "Connection: keep-alive\r\n\r\n"))
        << field;
  }
}

TEST(Fields, OfOneNameCountAgainstTheLimitWhoeverKnowsThem) {
  std::string fields;
  for (int i = 0; i < 5; ++i) {
    fields += "Proxy-Connection: x\r\n";
  }
  EXPECT_EQ(whole("GET / HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n"), "431!");
}

TEST(Fields, OfTheFramingAreJudgedInAnyOrder) {
  const std::string start = "POST /echo HTTP/1.1\r\nHost: h\r\n";
  const std::string length = "Content-Length: 0\r\n";
  for (const std::string_view coding : {"gzip", "chunked", "gzip, chunked", "identity", ""}) {
    const std::string field = "Transfer-Encoding: " + std::string(coding) + "\r\n";
    EXPECT_EQ(whole(start + field + length + "\r\n"), "400!") << coding;
    EXPECT_EQ(whole(start + length + field + "\r\n"), "400!") << coding;
    EXPECT_EQ(whole(start + field + "Transfer-Encoding: chunked\r\n\r\n"), "400!") << coding;
    EXPECT_EQ(whole(start + "Transfer-Encoding: chunked\r\n" + field + "\r\n"), "400!") << coding;
    EXPECT_EQ(whole("POST /echo HTTP/1.0\r\n" + field + "\r\n"), "400!") << coding;
  }
  EXPECT_EQ(whole(start + "Transfer-Encoding: gzip, chunked\r\n\r\n"), "501!");
}

// What is wrong with the request comes first, then what is not known, then what is too much.
TEST(Fields, AreJudgedTogetherInAnyOrder) {
  const std::string coding = "Transfer-Encoding: gzip, chunked\r\n";
  const std::string expect = "Expect: tea\r\n";
  const std::string large = "Content-Length: 101\r\n";
  const std::string host = "Host: h\r\n";
  const auto in_any_order = [](const std::string& line, std::vector<std::string> fields,
                               const std::string& expected) {
    std::sort(fields.begin(), fields.end());
    do {
      std::string request = line + "\r\n";
      for (const std::string& field : fields) {
        request += field;
      }
      EXPECT_EQ(whole(request + "\r\n"), expected) << request;
    } while (std::next_permutation(fields.begin(), fields.end()));
  };
  in_any_order("POST /echo HTTP/1.1", {host, expect, coding, "Content-Length: 0\r\n"}, "400!");
  in_any_order("POST /echo HTTP/1.1", {host, expect, "Content-Length: x\r\n"}, "400!");
  in_any_order("POST /echo HTTP/1.1", {host, host, expect, large}, "400!");
  in_any_order("POST /echo HTTP/1.1", {expect, large}, "400!");
  in_any_order("BREW /echo HTTP/1.1", {expect, coding}, "400!");
  in_any_order("CONNECT h:1 HTTP/1.1", {expect}, "400!");
  in_any_order("CONNECT h:1 HTTP/1.1", {host, "Content-Length: x\r\n"}, "400!");
  in_any_order("CONNECT h:1 HTTP/1.1", {host, expect, large}, "501!");
  in_any_order("BREW / HTTP/1.1", {host, expect, large}, "501!");
  in_any_order("POST /echo HTTP/1.1", {host, expect, coding}, "501!");
  in_any_order("POST /echo HTTP/1.1", {host, expect, large}, "417!");
  in_any_order("POST /echo HTTP/1.1", {host, "Expect: 100-continue\r\n", large}, "413!");
}

TEST(Fields, OfExpectAreAList) {
  const std::string post = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n";
  for (const std::string_view value : {"100-continue", "100-Continue", ",100-continue", "",
                                       "100-continue ,\t100-continue", ", ,"}) {
    EXPECT_EQ(whole(post + "Expect: " + std::string(value) + "\r\n\r\n"), whole(post + "\r\n"))
        << value;
  }
  for (const std::string_view value : {"tea", "100-continue, tea", "tea,100-continue",
                                       "100-continue x", "100-continue;q=1", "100continue"}) {
    EXPECT_EQ(whole(post + "Expect: " + std::string(value) + "\r\n\r\n"), "417!") << value;
  }
}

} // namespace
} // namespace server
