#include "server/response.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace server {
namespace {

using testing::MatchesRegex;

// RFC 9110, 5.6.7.
const std::string kDate = "Date: (Sun|Mon|Tue|Wed|Thu|Fri|Sat), [0-3][0-9] "
                          "(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} "
                          "[0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT\r\n";

std::string header(const Answer& answer, Persistence persistence) {
  std::string out;
  ResponseFormatter().append(out, answer, persistence);
  return out;
}

TEST(Response, ThatIsCommonestIsShort) {
  EXPECT_THAT(header({}, Persistence::keep),
              MatchesRegex("HTTP/1.1 200 OK\r\nServer: idlewheel\r\n" + kDate +
                           "Content-Length: 0\r\n\r\n"));
}

TEST(Response, SaysWhatBecomesOfTheConnection) {
  EXPECT_THAT(header({}, Persistence::close),
              MatchesRegex("HTTP/1.1 200 OK\r\nServer: idlewheel\r\n" + kDate +
                           "Connection: close\r\nContent-Length: 0\r\n\r\n"));
  EXPECT_THAT(header({}, Persistence::keep_1_0),
              MatchesRegex("HTTP/1.1 200 OK\r\nServer: idlewheel\r\n" + kDate +
                           "Connection: keep-alive\r\nContent-Length: 0\r\n\r\n"));
}

TEST(Response, HasItsReasonLengthAndMethods) {
  EXPECT_THAT(
      header({.status = Status::method_not_allowed, .allow = "GET, HEAD"}, Persistence::keep),
      MatchesRegex("HTTP/1.1 405 Method Not Allowed\r\nServer: idlewheel\r\n" + kDate +
                   "Allow: GET, HEAD\r\nContent-Length: 0\r\n\r\n"));
  EXPECT_THAT(header({.content_length = 18446744073709551615U}, Persistence::keep),
              MatchesRegex("HTTP/1.1 200 OK\r\nServer: idlewheel\r\n" + kDate +
                           "Content-Type: application/octet-stream\r\n"
                           "X-Content-Type-Options: nosniff\r\n"
                           "Content-Length: 18446744073709551615\r\n\r\n"));
}

TEST(Response, ThatNamesMethodsIsNotTheCommonest) {
  EXPECT_THAT(header({.allow = "GET"}, Persistence::keep),
              MatchesRegex("HTTP/1.1 200 OK\r\nServer: idlewheel\r\n" + kDate +
                           "Allow: GET\r\nContent-Length: 0\r\n\r\n"));
}

TEST(Response, SaysWhatItsBodyIs) {
  EXPECT_THAT(header({.content_length = 2, .content_type = "text/plain"}, Persistence::keep),
              MatchesRegex("HTTP/1.1 200 OK\r\nServer: idlewheel\r\n" + kDate +
                           "Content-Type: text/plain\r\nX-Content-Type-Options: nosniff\r\n"
                           "Content-Length: 2\r\n\r\n"));
}

TEST(Response, IsAppended) {
  std::string out = "before";
  ResponseFormatter formatter;
  formatter.append(out, {}, Persistence::keep);
  formatter.append(out, {.status = Status::not_found}, Persistence::keep);
  EXPECT_TRUE(out.starts_with("beforeHTTP/1.1 200 OK\r\n"));
  EXPECT_NE(out.find("\r\n\r\nHTTP/1.1 404 Not Found\r\n"), std::string::npos);
}

} // namespace
} // namespace server
