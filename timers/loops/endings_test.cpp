// The drivers of this folder, each on a real loop (CONTRACT.md, line 53): what throws, and what is
// stopped or destroyed while it is needed.
#include "timers/testing/loops.hpp"

#include <deque>
#include <stdexcept>
#include <thread>

namespace timers::test {
namespace {

TYPED_TEST_SUITE(Loops, LoopKinds, LoopNames);

// An action may destroy the driver, with other timers due and a pass to follow. Timers may outlive
// it, and the loop ends (CONTRACT.md, lines 13, 25 and 31).
TYPED_TEST(Loops, AnActionMayDestroyTheDriverBeforeItsTimers) {
  for (const std::size_t budget : {std::size_t{1}, std::size_t{256}}) {
    for (const nanoseconds timeout : {0ms, 1ms}) {
      Driven<TypeParam> driven({.service = {}, .budget = budget});
      struct Owner {
        Driven<TypeParam>& driven;
        int ran = 0;
      } owner{driven};
      std::deque<typename Driven<TypeParam>::Timer> timers;
      for (int i = 0; i < 3; ++i) {
        timers.emplace_back(*driven.driver, [&owner] {
          ++owner.ran;
          owner.driven.driver.reset();
        });
        driven.rearm(timers.back(), timeout);
      }
      timers.emplace_back(*driven.driver, [&owner] { ++owner.ran; });
      driven.rearm(timers.back(), 1h);
      driven.drain();
      EXPECT_EQ(owner.ran, 1);
      EXPECT_FALSE(timers.back().armed());
    }
  }
}

// The driver may go between two passes, and while its OS timer is programmed (CONTRACT.md, lines 15
// and 25).
TYPED_TEST(Loops, TheDriverMayGoBetweenTwoPasses) {
  Driven<TypeParam> driven({.service = {}, .budget = 1});
  int ran = 0;
  std::deque<typename Driven<TypeParam>::Timer> timers;
  for (int i = 0; i < 20; ++i) {
    timers.emplace_back(*driven.driver, [&ran] { ++ran; });
    driven.rearm(timers.back(), 0ms);
  }
  driven.loop.each_turn([&] {
    if (ran > 0) {
      driven.driver.reset();
    }
    return ran == 0;
  });
  driven.drain();
  EXPECT_GE(ran, 1);
  EXPECT_LE(ran, 3);
}

TYPED_TEST(Loops, TheDriverMayGoWhileItsOsTimerIsProgrammed) {
  Driven<TypeParam> driven;
  int ran = 0;
  typename Driven<TypeParam>::Timer timer{*driven.driver, [&ran] { ++ran; }};
  driven.rearm(timer, 1ms);
  driven.driver.reset(); // perhaps before the loop has seen the request
  int turns = 0;
  driven.loop.each_turn([&] {
    spin_until(Clock::now() + 1ms);
    return ++turns < 4;
  });
  driven.drain();
  EXPECT_EQ(ran, 0);
}

// Where the loop is C++, what an action throws leaves it, and the other timers run in the next pass
// (CONTRACT.md, lines 14 and 46). Where it is C, the program ends.
template <class Loop> void throw_once(int& ran) {
  Driven<Loop> driven;
  std::deque<typename Driven<Loop>::Timer> timers;
  for (int i = 0; i < 3; ++i) {
    timers.emplace_back(*driven.driver, [&ran] {
      if (++ran == 1) {
        throw std::runtime_error("an action");
      }
    });
    driven.rearm(timers.back(), 1ms);
  }
  EXPECT_THROW(driven.drain(), std::runtime_error);
  EXPECT_TRUE(driven.driver->busy());
  driven.drain();
}

TYPED_TEST(Loops, AnActionThatThrowsLeavesTheOthersToRun) {
  int ran = 0;
  if constexpr (TypeParam::kMayThrow) {
    throw_once<TypeParam>(ran);
    EXPECT_EQ(ran, 3);
  } else {
    EXPECT_DEATH(throw_once<TypeParam>(ran), "terminate");
  }
}

// An action may destroy the driver and throw.
TYPED_TEST(Loops, AnActionMayDestroyTheDriverAndThrow) {
  if constexpr (TypeParam::kMayThrow) {
    Driven<TypeParam> driven;
    typename Driven<TypeParam>::Timer timer{*driven.driver, [&driven] {
                                              driven.driver.reset();
                                              throw std::runtime_error("an action");
                                            }};
    driven.rearm(timer, 0ms);
    EXPECT_THROW(driven.drain(), std::runtime_error);
    driven.drain();
  }
}

// After stop() the loop ends although timers are armed, and none runs (CONTRACT.md, line 25).
TYPED_TEST(Loops, StoppedWithTimersArmedTheLoopEnds) {
  for (const nanoseconds timeout : {nanoseconds(0), nanoseconds(1h)}) {
    Driven<TypeParam> driven;
    int ran = 0;
    std::deque<typename Driven<TypeParam>::Timer> timers;
    for (int i = 0; i < 3; ++i) {
      timers.emplace_back(*driven.driver, [&ran] { ++ran; });
      driven.rearm(timers.back(), timeout);
    }
    driven.loop.each_turn([&] {
      spin_until(Clock::now() + 2ms);
      driven.driver->stop();
      return false;
    });
    // Loops differ in whether timers or other events come first.
    driven.drain();
    const int before = ran;
    if (timeout == 1h) {
      EXPECT_EQ(before, 0);
    }
    driven.rearm(timers.front(), 0ms); // may still be armed, and does not run
    timers.back().disarm();
    driven.rearm(timers.back(), 1ms);
    driven.drain();
    EXPECT_EQ(ran, before);
    EXPECT_FALSE(driven.driver->busy());
  }
}

// The rest of the pass still runs when an action calls stop(), and no other pass does (CONTRACT.md,
// line 25).
TYPED_TEST(Loops, AnActionMayStopTheDriver) {
  Driven<TypeParam> driven({.service = {}, .budget = 2});
  struct Owner {
    Driven<TypeParam>& driven;
    int ran = 0;
  } owner{driven};
  std::deque<typename Driven<TypeParam>::Timer> timers;
  for (int i = 0; i < 5; ++i) {
    timers.emplace_back(*driven.driver, [&owner] {
      ++owner.ran;
      owner.driven.driver->stop();
    });
    driven.rearm(timers.back(), 1ms);
  }
  driven.drain();
  EXPECT_EQ(owner.ran, 2);
}

// Set up in one thread, run in another, torn down in the first after the join (CONTRACT.md, line
// 32).
TYPED_TEST(Loops, IsSetUpRunAndTornDownByDifferentThreads) {
  Driven<TypeParam> driven;
  typename Driven<TypeParam>::Timer near{*driven.driver, [] {}};
  typename Driven<TypeParam>::Timer far{*driven.driver, [] {}};
  driven.rearm(near, 1ms);
  driven.rearm(far, 1h);
  std::thread([&] { driven.runs_until([&] { return !near.armed(); }); }).join();
  EXPECT_FALSE(near.armed());
}

} // namespace
} // namespace timers::test
