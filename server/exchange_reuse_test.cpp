// What is left in an exchange that is used again, and who it says that its client is.
#include "server/exchange_testing.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace server {
namespace {

using testing::ElementsAre;
using testing::StartsWith;

constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
constexpr std::string_view kHalf = "GET / HTTP/1.1\r\nHo";

TEST(Reuse, ForgetsEverything) {
  LineLog log;
  Conversation talk({.log = &log});
  talk.exchange.set_client("a");
  EXPECT_EQ(talk.answer(std::string(kGet) + std::string(kHalf)), Outcome::need_more);
  talk.exchange.reset(64 * 1024);
  EXPECT_TRUE(talk.exchange.between_requests());
  EXPECT_FALSE(talk.exchange.in_progress());
  EXPECT_FALSE(talk.exchange.take_answered());
  EXPECT_EQ(talk.answer(kGet), Outcome::need_more);
  EXPECT_THAT(talk.statuses(), ElementsAre("200"));
  EXPECT_THAT(log.lines.back(), StartsWith(" ")); // set_client() was not called
}

TEST(Reuse, IsOfTheExchangeGivenBackLast) {
  Counters counters;
  ExchangePool pool({.limits = {.max_header_bytes = 200, .max_headers = 5, .max_body_bytes = 100},
                     .window = {},
                     .scenario = {Scenario::respond, 1},
                     .counters = counters});
  auto one = pool.borrow();
  const auto* const same = one.get();
  one->receive("GET");
  one->keep_input();
  pool.give_back(std::move(one));
  auto again = pool.borrow();
  EXPECT_EQ(again.get(), same);
  EXPECT_TRUE(again->between_requests());
  EXPECT_NE(pool.borrow().get(), same);
}

TEST(Log, IsWhyAnExchangeNeedsToKnowItsClient) {
  LineLog log;
  Counters counters;
  ExchangeContext context{
      .limits = {}, .window = {}, .scenario = {Scenario::respond, 1}, .counters = counters};
  for (ResponseLog* const each : {static_cast<ResponseLog*>(&log), {}}) {
    bool asked = false;
    context.log = each;
    ExchangePool(context).borrow_for([&asked] {
      asked = true;
      return std::string();
    });
    EXPECT_EQ(asked, each != nullptr);
  }
}

TEST(Log, HasALineForEachResponse) {
  LineLog log;
  Conversation talk({.log = &log});
  talk.exchange.set_client("127.0.0.1:5");
  talk.answer("GET /bytes/7 HTTP/1.1\r\nHost: h\r\n\r\n");
  talk.read();
  talk.answer("\x16\x03\x01");
  EXPECT_THAT(log.lines,
              ElementsAre("127.0.0.1:5 \"GET /bytes/7 HTTP/1.1\" 200 7", "127.0.0.1:5 \"\" 400 0"));
}

} // namespace
} // namespace server
