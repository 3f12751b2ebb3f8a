// What an exchange and its pool keep of their memory. The sanitizers count what is allocated.
// Without one there is nothing to see, and these tests are skipped.
#include "server/exchange_testing.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

extern "C" [[gnu::weak]] std::size_t __sanitizer_get_current_allocated_bytes();

namespace server {
namespace {

class ExchangeMemory : public testing::Test {
protected:
  void SetUp() override {
    if (__sanitizer_get_current_allocated_bytes == nullptr) {
      GTEST_SKIP() << "needs a sanitizer that counts what is allocated";
    }
  }

  static std::size_t allocated() { return __sanitizer_get_current_allocated_bytes(); }
};

constexpr std::size_t kLarge = 500'000;

TEST_F(ExchangeMemory, OfTheInputIsGivenBackBeyondWhatIsToBeKept) {
  Conversation talk;
  const std::size_t before = allocated();
  talk.receive(std::string(kLarge, 'a'));
  talk.exchange.reset(10 * kLarge);
  EXPECT_GE(allocated(), before + kLarge);
  talk.exchange.reset(1000);
  EXPECT_LT(allocated(), before + 1000);
}

TEST_F(ExchangeMemory, OfTheOutputIsGivenBackBeyondWhatIsToBeKept) {
  Conversation talk;
  const std::size_t before = allocated();
  talk.exchange.output().bytes().assign(kLarge, 'a');
  talk.exchange.reset(10 * kLarge);
  EXPECT_GE(allocated(), before + kLarge);
  talk.exchange.reset(1000);
  EXPECT_LT(allocated(), before + 1000);
}

TEST_F(ExchangeMemory, OfTheInputIsThatOfTheBytesThatAreLeft) {
  Conversation talk;
  const std::size_t before = allocated();
  talk.receive("GET / HT");
  EXPECT_LT(allocated(), before + 100);
  EXPECT_EQ(talk.answer("TP/1.1\r\nHost: h\r\n\r\n"), Outcome::need_more);
  EXPECT_EQ(talk.statuses().size(), 1U);
}

class ExchangePoolMemory : public ExchangeMemory {
protected:
  Counters counters_;
  ExchangePool pool_{{.limits = {.max_header_bytes = 200, .max_headers = 5, .max_body_bytes = 100},
                      .window = {},
                      .scenario = {Scenario::respond, 1},
                      .counters = counters_}};
};

TEST_F(ExchangePoolMemory, IsKeptForTheNextRequest) {
  const std::string response(1000, 'a');
  auto exchange = pool_.borrow();
  exchange->output().bytes() = response;
  const std::size_t used = allocated();
  pool_.give_back(std::move(exchange));
  EXPECT_EQ(allocated(), used);
  exchange = pool_.borrow();
  exchange->output().bytes() = response;
  EXPECT_EQ(allocated(), used);
}

TEST_F(ExchangePoolMemory, OfALargeRequestIsNotKept) {
  auto exchange = pool_.borrow();
  const std::string input(kLarge, 'a');
  const std::size_t before = allocated();
  exchange->receive(input);
  exchange->keep_input();
  pool_.give_back(std::move(exchange));
  EXPECT_LE(allocated(), before + 128 * 1024);
}

TEST_F(ExchangePoolMemory, IsKeptForSoManyConnectionsAndNoMore) {
  constexpr std::size_t kMost = 1024;
  std::vector<std::unique_ptr<Exchange>> exchanges;
  for (std::size_t i = 0; i <= kMost; ++i) {
    exchanges.push_back(pool_.borrow());
  }
  const std::size_t before = allocated();
  for (std::size_t i = 0; i < kMost; ++i) {
    pool_.give_back(std::move(exchanges[i]));
  }
  EXPECT_EQ(allocated(), before);
  pool_.give_back(std::move(exchanges[kMost]));
  EXPECT_LT(allocated(), before);
}

} // namespace
} // namespace server
