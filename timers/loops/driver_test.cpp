// LoopDriver by itself, on an OS timer that the test wakes by hand.
#include "timers/loops/driver.hpp"

#include "timers/backends.hpp"
#include "timers/facility.hpp"
#include "timers/testing/testing.hpp"

#include <chrono>
#include <new>
#include <stdexcept>
#include <vector>

namespace timers::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// An OS timer that the test wakes, and that fails when it is told to.
class ByHand {
public:
  using Loop = NoLoop;

  void expire() { wake_(); }
  std::vector<Clock::time_point> programmed;
  int soons = 0;
  bool fails = false;

protected:
  ByHand(NoLoop, Action wake) : wake_(wake) {}

  void program(Clock::time_point when) {
    fail_if_told();
    programmed.push_back(when);
  }
  void soon() {
    fail_if_told();
    ++soons;
  }
  void cancel() {}

private:
  void fail_if_told() const {
    if (fails) {
      throw std::bad_alloc();
    }
  }

  Action wake_;
};
using HandDriver = LoopDriver<DefaultBackend, ByHand>;
static_assert(TimerFacility<HandDriver>);

void rearm(HandDriver& driver, HandDriver::Timer& timer, Nanoseconds timeout) {
  timer.rearm(driver.timeout(timeout), driver.now());
}

// A wake-up before the tick runs nothing, and the same tick is asked for again (CONTRACT.md, line
// 46).
TEST(LoopDriver, AWakeUpBeforeTheTickIsAskedForAgain) {
  HandDriver driver;
  HandDriver::Timer timer{driver, [] { FAIL() << "early"; }};
  rearm(driver, timer, 20s);
  for (int i = 0; i < 3; ++i) {
    driver.expire();
  }
  ASSERT_EQ(driver.programmed.size(), 4U);
  EXPECT_EQ(driver.programmed.front(), driver.programmed.back());
  EXPECT_GE(driver.programmed.front(), Clock::now() + 10s);
  EXPECT_EQ(driver.soons, 0);
}

// Only an earlier deadline is asked for (CONTRACT.md, line 24).
TEST(LoopDriver, AsksForEarlierDeadlinesOnly) {
  HandDriver driver;
  HandDriver::Timer first{driver, [] {}};
  HandDriver::Timer second{driver, [] {}};
  rearm(driver, first, 1h);
  rearm(driver, first, 2h);
  rearm(driver, second, 3h);
  EXPECT_EQ(driver.programmed.size(), 1U);
  rearm(driver, second, 30min);
  ASSERT_EQ(driver.programmed.size(), 2U);
  EXPECT_LT(driver.programmed[1], driver.programmed[0]);
}

// When the OS timer fails while a timer is armed, the caller gets the exception, the timer is
// armed, and the next one asks again.
TEST(LoopDriver, AfterAFailureTheNextTimerAsksAgain) {
  HandDriver driver;
  HandDriver::Timer first{driver, [] {}};
  HandDriver::Timer second{driver, [] {}};
  driver.fails = true;
  EXPECT_THROW(rearm(driver, first, 1h), std::bad_alloc);
  EXPECT_TRUE(first.armed());
  EXPECT_FALSE(driver.busy());
  driver.fails = false;
  rearm(driver, second, 2h); // later than the first, which waits for it
  ASSERT_EQ(driver.programmed.size(), 1U);
  EXPECT_LT(driver.programmed[0], Clock::now() + 61min);
}

// When it fails after a pass, and again, the next timer that is filed asks for one.
TEST(LoopDriver, AfterAFailureInAPassTheNextTimerAsksAgain) {
  HandDriver driver{DriverConfig{.service = {}, .budget = 1}};
  int ran = 0;
  HandDriver::Timer first{driver, [&ran] { ++ran; }};
  HandDriver::Timer second{driver, [&ran] { ++ran; }};
  rearm(driver, first, 0ms);
  rearm(driver, second, 0ms);
  spin_until(Clock::now() + 2ms);
  driver.fails = true;
  driver.expire();
  EXPECT_EQ(ran, 1);
  EXPECT_FALSE(driver.busy());
  driver.fails = false;
  const auto before = driver.programmed.size();
  rearm(driver, first, 1h);
  EXPECT_GT(driver.programmed.size(), before);
  driver.expire();
  EXPECT_EQ(ran, 2);
}

// A wake-up after stop(), and one too many, do nothing (CONTRACT.md, line 25).
TEST(LoopDriver, AWakeUpAfterTheEndRunsNothing) {
  HandDriver driver;
  int ran = 0;
  HandDriver::Timer timer{driver, [&ran] { ++ran; }};
  driver.expire();
  rearm(driver, timer, 0ms);
  spin_until(Clock::now() + 2ms);
  driver.stop();
  const auto before = driver.programmed.size();
  driver.expire();
  EXPECT_EQ(ran, 0);
  EXPECT_EQ(driver.programmed.size(), before);
}

TEST(LoopDriver, RefusesABudgetOfNothing) {
  EXPECT_THROW(HandDriver(DriverConfig{.service = {}, .budget = 0}), std::invalid_argument);
  EXPECT_THROW(HandDriver(DriverConfig{.service = {.tick = 0ms}}), std::invalid_argument);
}

} // namespace
} // namespace timers::test
