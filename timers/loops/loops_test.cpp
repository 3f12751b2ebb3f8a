// The drivers of this folder, each on a real loop (CONTRACT.md, line 53): what runs when. "Not
// before" is exact; "after" is asked in seconds, because a machine may be busy.
#include "timers/testing/loops.hpp"
#include "timers/testing/timerfd_settimes.hpp"

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <optional>
#include <vector>

namespace timers::test {
namespace {

TYPED_TEST_SUITE(Loops, LoopKinds, LoopNames);

// A timer runs in the loop, and not before its deadline. The time of the loop may be old when it is
// armed (CONTRACT.md, lines 1, 24 and 46).
TYPED_TEST(Loops, ATimerRunsNotBeforeItsDeadlineAndThen) {
  Driven<TypeParam> driven;
  Clock::time_point ran;
  typename Driven<TypeParam>::Timer timer{*driven.driver, [&ran] { ran = Clock::now(); }};
  Clock::time_point armed;
  driven.loop.each_turn([&] {
    spin_until(Clock::now() + 8ms);
    armed = Clock::now();
    driven.rearm(timer, 5ms + 300us);
    return false;
  });
  ASSERT_TRUE(driven.runs_until([&] { return ran != Clock::time_point(); }));
  EXPECT_GE(ran - armed, 5ms + 300us);
  EXPECT_EQ(driven.driver->counters().expired, 1U);
  driven.drain();
  EXPECT_FALSE(driven.driver->busy());
}

// A wake-up before the tick, which loops that count in milliseconds cause, is followed by a wait
// and not by turns without one (CONTRACT.md, line 53).
TYPED_TEST(Loops, TheLoopSleepsUntilTheDeadline) {
  Driven<TypeParam> driven;
  typename Driven<TypeParam>::Timer timer{*driven.driver, [] {}};
  int turns = 0;
  for (const nanoseconds timeout : {nanoseconds(4ms + 100us), nanoseconds(6ms), nanoseconds(9ms)}) {
    driven.rearm(timer, timeout);
    ASSERT_TRUE(driven.runs_until([&] {
      ++turns;
      return !timer.armed();
    }));
  }
  EXPECT_LT(turns, 50) << "the loop is busy";
  EXPECT_LT(wishes.all(), 50U);
}

// An earlier deadline that the loop arms wakes it in time (CONTRACT.md, lines 24 and 46).
TYPED_TEST(Loops, AnEarlierDeadlineArmedFromTheLoopWakesItInTime) {
  Driven<TypeParam> driven;
  Clock::time_point ran;
  typename Driven<TypeParam>::Timer far{*driven.driver, [] {}};
  typename Driven<TypeParam>::Timer near{*driven.driver, [&ran] { ran = Clock::now(); }};
  driven.rearm(far, 1h);
  int turns = 0;
  Clock::time_point armed;
  driven.loop.each_turn([&] {
    if (++turns < 3) {
      return true; // so that the OS timer is programmed for the hour
    }
    armed = Clock::now();
    driven.rearm(near, 3ms);
    return false;
  });
  EXPECT_EQ(wishes.programs, 1U);
  ASSERT_TRUE(driven.runs_until([&] { return ran != Clock::time_point(); }));
  EXPECT_GE(ran - armed, 3ms);
  EXPECT_TRUE(far.armed());
}

// There is one OS timer: an earlier deadline takes the place of the one before, which wakes nobody
// any more (CONTRACT.md, line 53).
TYPED_TEST(Loops, AnEarlierDeadlineReplacesTheOneBefore) {
  Driven<TypeParam> driven({.service = {.rearm = Rearm::eager}});
  std::deque<typename Driven<TypeParam>::Timer> timers;
  for (int i = 0; i < 8; ++i) {
    timers.emplace_back(*driven.driver, [] {});
    driven.rearm(timers.back(), (12 - i) * 1ms);
  }
  const auto end = Clock::now() + 14ms;
  EXPECT_EQ(wishes.programs, timers.size());
  for (std::size_t i = 0; i + 1 < timers.size(); ++i) {
    timers[i].disarm();
  }
  ASSERT_TRUE(driven.runs_until([&] { return !timers.back().armed(); }));
  const auto wished = wishes.all();
  driven.loop.each_turn([&] { return Clock::now() < end; });
  driven.drain();
  EXPECT_EQ(wishes.all(), wished);
}

// Timers that move later, and others that are armed and disarmed beside them, ask nothing of the OS
// timer (CONTRACT.md, lines 24 and 46).
TYPED_TEST(Loops, ALaterDeadlineCostsNothing) {
  for (const Rearm rearm : {Rearm::lazy, Rearm::eager}) {
    Driven<TypeParam> driven({.service = {.rearm = rearm}});
    typename Driven<TypeParam>::Timer idle{*driven.driver, [] {}};
    typename Driven<TypeParam>::Timer request{*driven.driver, [] {}};
    driven.rearm(idle, 2h);
    driven.rearm(request, 1h);
    request.disarm();
    int turns = 0;
    std::size_t wished = 0;
    std::size_t settimes = 0;
    driven.loop.each_turn([&] {
      if (++turns == 3) {
        wished = wishes.all();
        settimes = timerfd_settimes;
      }
      driven.rearm(request, 1h + 1ms + turns * 1ms);
      request.disarm();
      driven.rearm(idle, 2h + turns * 1ms);
      return turns < 1000;
    });
    ASSERT_TRUE(driven.runs_until([&] { return turns == 1000; }));
    EXPECT_EQ(wishes.all(), wished);
    EXPECT_EQ(timerfd_settimes, settimes);
    driven.rearm(idle, 0ns); // earlier than any tick that may be programmed
    EXPECT_EQ(wishes.all(), wished + 1) << "the count sees nothing";
  }
}

// The OS timer is programmed again and again, and no timer is missed (CONTRACT.md, line 24).
TYPED_TEST(Loops, TimersOneAfterAnotherAllRun) {
  struct One {
    One(typename Driven<TypeParam>::Driver& driver, nanoseconds wanted)
        : timeout(wanted), timer{driver, [this] { ran = Clock::now(); }} {}
    nanoseconds timeout;
    Clock::time_point armed = Clock::now();
    Clock::time_point ran;
    typename Driven<TypeParam>::Timer timer;
  };
  Driven<TypeParam> driven;
  std::vector<std::unique_ptr<One>> all;
  for (const nanoseconds timeout : {0ms, 9ms, 1ms, 3ms, 3ms, 0ms, 7ms}) {
    all.push_back(std::make_unique<One>(*driven.driver, timeout));
    driven.rearm(all.back()->timer, timeout);
  }
  driven.drain();
  for (const auto& one : all) {
    EXPECT_NE(one->ran, Clock::time_point()) << one->timeout.count();
    EXPECT_GE(one->ran - one->armed, one->timeout);
  }
}

// A timer whose old deadline comes is filed anew and runs at the later one (CONTRACT.md, line 24).
TYPED_TEST(Loops, ATimerMovedLaterRunsAtItsLaterDeadline) {
  Driven<TypeParam> driven;
  Clock::time_point ran;
  typename Driven<TypeParam>::Timer timer{*driven.driver, [&ran] { ran = Clock::now(); }};
  driven.rearm(timer, 2ms);
  const auto moved = Clock::now();
  driven.rearm(timer, 8ms);
  driven.drain();
  EXPECT_GE(ran - moved, 8ms);
}

// What overflows never comes due, keeps the loop waiting, and hides no other timer (CONTRACT.md,
// lines 6 and 46).
TYPED_TEST(Loops, ADistantDeadlineNeverRuns) {
  for (const nanoseconds tick : {nanoseconds(1ms), nanoseconds(1us)}) {
    Driven<TypeParam> driven({.service = {.tick = tick}});
    int ran = 0;
    std::vector<std::unique_ptr<typename Driven<TypeParam>::Timer>> distant;
    for (const Nanoseconds endless :
         {Nanoseconds(std::chrono::hours::max()), Nanoseconds(nanoseconds::max() - 1ns),
          Nanoseconds(nanoseconds::max() - Clock::now().time_since_epoch()),
          Nanoseconds(std::chrono::hours(24 * 365 * 100)), Nanoseconds(std::chrono::hours(2000))}) {
      distant.push_back(
          std::make_unique<typename Driven<TypeParam>::Timer>(*driven.driver, [&ran] { ++ran; }));
      driven.rearm(*distant.back(), endless);
      int turns = 0;
      driven.loop.each_turn([&] { return ++turns < 3; });
      ASSERT_TRUE(driven.runs_until([&] { return turns == 3; }));
    }
    typename Driven<TypeParam>::Timer other{*driven.driver, [] {}};
    driven.rearm(other, 2ms);
    ASSERT_TRUE(driven.runs_until([&] { return !other.armed(); }));
    EXPECT_EQ(ran, 0);
    EXPECT_TRUE(driven.driver->busy());
    EXPECT_EQ(driven.driver->counters().live(), distant.size());
  }
}

// A disarmed or destroyed timer never runs, and then the loop ends (CONTRACT.md, lines 8 and 25).
TYPED_TEST(Loops, ADisarmedOrDestroyedTimerNeverRunsAndTheLoopEnds) {
  for (const Rearm rearm : {Rearm::lazy, Rearm::eager}) {
    Driven<TypeParam> driven({.service = {.rearm = rearm}});
    int ran = 0;
    typename Driven<TypeParam>::Timer disarmed{*driven.driver, [&ran] { ++ran; }};
    std::optional<typename Driven<TypeParam>::Timer> destroyed;
    destroyed.emplace(*driven.driver, [&ran] { ++ran; });
    driven.rearm(disarmed, 2ms);
    driven.rearm(*destroyed, 1ms);
    EXPECT_TRUE(disarmed.disarm());
    destroyed.reset();
    driven.drain();
    EXPECT_EQ(ran, 0);
    EXPECT_FALSE(driven.driver->busy());
    driven.rearm(disarmed, 1ms); // the loop may begin again
    driven.drain();
    EXPECT_EQ(ran, 1);
  }
}

// A storm of expiries is handled in passes, and other events have their turn between them
// (CONTRACT.md, lines 15, 30 and 46).
TYPED_TEST(Loops, AStormOfExpiriesLeavesRoomForOtherEvents) {
  constexpr std::size_t kBudget = 16;
  constexpr std::size_t kTimers = 500;
  struct Count {
    std::size_t ran = 0;
    std::size_t in_pass = 0;
    std::size_t longest = 0;
  } count;
  Driven<TypeParam> driven({.service = {}, .budget = kBudget});
  std::deque<typename Driven<TypeParam>::Timer> timers;
  for (std::size_t i = 0; i < kTimers; ++i) {
    timers.emplace_back(*driven.driver, [&count] {
      ++count.ran;
      count.longest = std::max(count.longest, ++count.in_pass);
    });
    driven.rearm(timers.back(), 1ms);
  }
  driven.loop.each_turn([&] {
    count.in_pass = 0;
    return count.ran < kTimers;
  });
  spin_until(Clock::now() + 3ms);
  const auto start = Clock::now();
  ASSERT_TRUE(driven.runs_until([&] { return count.ran == kTimers; }));
  // Loops differ in the order of timers and other events, so there may be two passes between two
  // events, but never three.
  EXPECT_LE(count.longest, 2 * kBudget);
  EXPECT_GE(wishes.soons, kTimers / kBudget - 1);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(kPatience_s) / 2);
}

// A backlog runs in the order of the deadlines, whatever the budget, and without waiting
// (CONTRACT.md, lines 15 and 46).
TYPED_TEST(Loops, ABacklogRunsInOrder) {
  struct One {
    One(typename Driven<TypeParam>::Driver& driver, std::vector<int>& where, int which)
        : log(where), id(which), timer{driver, [this] { log.push_back(id); }} {}
    std::vector<int>& log;
    int id;
    typename Driven<TypeParam>::Timer timer;
  };
  for (const std::size_t budget : {std::size_t{1}, std::size_t{3}, std::size_t{256}}) {
    Driven<TypeParam> driven({.service = {}, .budget = budget});
    std::vector<int> log;
    std::deque<One> timers;
    std::vector<int> expected;
    for (int i = 0; i < 10; ++i) {
      timers.emplace_back(*driven.driver, log, 9 - i);
      expected.push_back(i);
      driven.rearm(timers.back().timer, (10 - i) * 1ms);
    }
    spin_until(Clock::now() + 12ms);
    driven.drain();
    EXPECT_EQ(log, expected);
  }
}

// An action may arm its timer again, for now, and thus starves nobody (CONTRACT.md, line 13).
TYPED_TEST(Loops, AnActionMayArmItsTimerForNow) {
  Driven<TypeParam> driven;
  struct Again {
    Driven<TypeParam>& driven;
    int left = 5;
    typename Driven<TypeParam>::Timer timer{*driven.driver, [this] {
                                              if (--left > 0) {
                                                driven.rearm(timer, 0ms);
                                              }
                                            }};
  } again{driven};
  driven.rearm(again.timer, 1ms);
  int turns = 0;
  driven.loop.each_turn([&] {
    ++turns;
    return again.left > 0;
  });
  driven.drain();
  EXPECT_EQ(again.left, 0);
  EXPECT_GE(turns, 4);
}

// Where scripts/test has installed everything, no loop may be missing.
TEST(AllLoops, AreTested) {
  std::string missing;
#if !defined(TIMERS_TEST_LIBUV)
  missing += " libuv";
#endif
#if !defined(TIMERS_TEST_LIBEV)
  missing += " libev";
#endif
#if !defined(TIMERS_TEST_IO_URING)
  missing += " liburing";
#endif
#if !defined(TIMERS_TEST_ASIO)
  missing += " asio";
#endif
  if (!missing.empty()) {
    ASSERT_EQ(std::getenv("IDLEWHEEL_SKIP_NOTHING"), nullptr) << "not found:" << missing;
    GTEST_SKIP() << "not found:" << missing;
  }
}

} // namespace
} // namespace timers::test
