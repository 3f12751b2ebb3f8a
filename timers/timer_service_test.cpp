// The contract at the service, for every backend of the list in both ways to re-arm, with a clock
// moved by hand. Each test says its property and the line of timers/CONTRACT.md that promises it:
// lines 1 to 7 are about when timers run, 8 to 12 about their handles, 13 to 15 about actions that
// use timers, 16 to 19 about order and cost.
#include "timers/testing/testing.hpp"

#include "timers/ordered_list.hpp"
#include "timers/simple_wheel.hpp"
#include "timers/timer_service.hpp"

#include <array>
#include <limits>
#include <mutex>
#include <new>
#include <stdexcept>
#include <thread>

namespace timers::test {
namespace {

using namespace std::chrono_literals;

class TimerContract : public ::testing::TestWithParam<ServiceKind> {
protected:
  const ServiceKind& kind = GetParam();
};
INSTANTIATE_TEST_SUITE_P(, TimerContract, ::testing::ValuesIn(service_kinds()), service_id);

constexpr nanoseconds kTick = 1ms;

// Where a clock may start: around zero, at the ends of its range, and far from both.
constexpr std::uint64_t kLargestReading = std::numeric_limits<std::int64_t>::max();
constexpr std::array<std::uint64_t, 9> kStarts = {0,
                                                  1,
                                                  999'999,
                                                  123'456'789'012'345'678,
                                                  0 - std::uint64_t{10'000'000},
                                                  0 - std::uint64_t{123'456'789'012'345'678},
                                                  kLargestReading - 100'000'000,
                                                  kLargestReading,
                                                  kLargestReading + 1}; // the smallest reading

// Whole ticks that a duration touches, rounded up.
constexpr Tick ticks_up(nanoseconds duration) {
  return static_cast<Tick>((duration + kTick - 1ns) / kTick);
}

// A timer never runs early, to the nanosecond, for each phase of arming within a tick and each
// fraction of a timeout (CONTRACT.md, line 1).
TEST_P(TimerContract, NeverEarlyForEveryPhaseAndFraction) {
  for (const nanoseconds phase : {0ns, 1ns, 499999ns, 500000ns, 999999ns}) {
    for (const nanoseconds whole : {0ms, 1ms, 2ms, 63ms, 64ms, 65ms, 4096ms}) {
      for (const nanoseconds fraction : {0ns, 1ns, 500000ns, 999999ns}) {
        const nanoseconds timeout = whole + fraction;
        Rig rig(kind);
        const TimerPtr timer = rig.timer(1);
        rig.move_to(50 * kTick + phase);
        rig.arm(timer, timeout);
        const nanoseconds due =
            static_cast<std::int64_t>(ticks_up(50 * kTick + phase) + ticks_up(timeout)) * kTick;
        ASSERT_GE(due, rig.elapsed() + timeout) << "the test itself is early";
        ASSERT_LT(due, rig.elapsed() + timeout + 2 * kTick);
        if (due > rig.elapsed()) {
          rig.move_to(due - 1ns);
          EXPECT_EQ(rig.pass(), Pass::done);
          ASSERT_TRUE(rig.log.empty()) << "phase " << phase.count() << ' ' << timeout.count();
        }
        rig.move_to(due);
        rig.pass();
        ASSERT_EQ(rig.log.size(), 1U) << "phase " << phase.count() << ' ' << timeout.count();
      }
    }
  }
}

// A timer runs in the first pass at its deadline and not before, at every edge that nanoseconds
// can name (CONTRACT.md, lines 1, 2 and 6).
TEST_P(TimerContract, NeverEarlyAtAnySlotLevelOrPowerOfTwoEdge) {
  constexpr Ticks kRange = Ticks{1} << 43; // 278 years of milliseconds
  for (const Tick phase : {Tick{0}, Tick{1}, Tick{62}, Tick{63}, Tick{64}, Tick{4095}}) {
    Rig rig(kind);
    rig.move_to_tick(phase);
    rig.pass();
    for (const Ticks distance : edge_distances(kRange)) {
      const auto one_ms = static_cast<std::int64_t>(distance) * 1ms;
      Rig fresh(kind);
      fresh.move_to_tick(phase);
      fresh.pass();
      const TimerPtr timer = fresh.timer(1);
      fresh.arm(timer, one_ms);
      if (distance > 0) {
        fresh.move_to_tick(phase + distance - 1);
        fresh.pass();
        ASSERT_TRUE(fresh.log.empty()) << phase << ' ' << distance;
      }
      fresh.move_to_tick(phase + distance);
      fresh.pass();
      ASSERT_EQ(fresh.log, (std::vector<LogEntry>{{phase + distance, 1}}));
    }
  }
}

// A jump of any size runs each due timer exactly once (CONTRACT.md, line 3).
TEST_P(TimerContract, AJumpOfAnySizeRunsEachDueTimerExactlyOnce) {
  for (const nanoseconds jump :
       {nanoseconds(1ms), nanoseconds(63ms), nanoseconds(64ms), nanoseconds(65ms),
        nanoseconds(4097ms), nanoseconds(std::chrono::hours(24 * 365)),
        static_cast<std::int64_t>(Ticks{1} << 32) * kTick, kForever / kTick * kTick - kTick}) {
    Rig rig(kind);
    std::vector<TimerPtr> timers;
    for (const nanoseconds timeout : {jump / 2, jump - kTick, jump, jump + kTick}) {
      timers.push_back(rig.timer(static_cast<int>(timers.size())));
      rig.arm(timers.back(), timeout);
    }
    rig.move_to(jump);
    EXPECT_EQ(rig.pass(), Pass::done);
    EXPECT_EQ(rig.pass(), Pass::done);
    ASSERT_EQ(rig.ids().size(), 3U) << jump.count();
    EXPECT_TRUE(timers[3]->armed());
    rig.move_by(kTick);
    rig.pass();
    auto ids = rig.ids();
    std::sort(ids.begin(), ids.end());
    EXPECT_EQ(ids, (std::vector{0, 1, 2, 3}));
  }
}

// A clock that steps back makes nothing run early and loses nothing (CONTRACT.md, line 4).
TEST_P(TimerContract, AClockThatStepsBackRunsNothingEarlyAndLosesNothing) {
  Rig rig(kind);
  const TimerPtr before = rig.timer(1);
  const TimerPtr after = rig.timer(2);
  rig.move_to(1000ms);
  rig.arm(before, 100ms);
  rig.move_to(400ms);
  EXPECT_EQ(rig.service().now().floor, Tick{1000});
  rig.pass();
  rig.arm(after, 50ms); // 50 ms after the latest reading
  rig.move_to(700ms);
  rig.pass();
  rig.move_to(1049ms);
  rig.pass();
  EXPECT_TRUE(rig.log.empty());
  rig.move_to(1050ms);
  rig.pass();
  rig.move_to(20ms);
  rig.pass();
  rig.move_to(1100ms);
  rig.pass();
  EXPECT_EQ(rig.log, (std::vector<LogEntry>{{1050, 2}, {1100, 1}}));
}

// Timeouts beyond the reach of a structure are still exact, over several rounds of it
// (CONTRACT.md, line 6).
TEST_P(TimerContract, TimeoutsBeyondTheReachAreExact) {
  for (const Ticks timeout : {kServiceReach - 1, kServiceReach, kServiceReach + 1, Ticks{127},
                              Ticks{128}, Ticks{129}, 3 * kServiceReach, Ticks{10'000}}) {
    Rig rig(kind);
    rig.move_to_tick(1000); // with no pass before: the backend has not heard of this
    const TimerPtr timer = rig.timer(1);
    rig.arm(timer, static_cast<std::int64_t>(timeout) * kTick);
    for (Tick next = rig.service().next_deadline(); next < 1000 + timeout;
         next = rig.service().next_deadline()) {
      rig.move_to_tick(next);
      rig.pass();
      ASSERT_TRUE(rig.log.empty()) << timeout;
      ASSERT_LT(next, rig.service().next_deadline()) << "a wake-up that gets nowhere";
    }
    rig.move_to_tick(1000 + timeout);
    rig.pass();
    EXPECT_EQ(rig.log, (std::vector<LogEntry>{{1000 + timeout, 1}})) << timeout;
  }
}

// A fault that was found (CONTRACT.md, line 22): an action that armed a timer beyond the reach had
// the structure advanced past the tick of the pass, which then met timers that it could neither
// run nor file.
TEST_P(TimerContract, ATimerOutOfReachArmedByAnActionDoesNotMoveThePassOn) {
  Rig rig(kind);
  const TimerPtr far = rig.timer(1);
  const TimerPtr next = rig.timer(2);
  const TimerPtr first = rig.timer([&] {
    rig.move_to(20ms);
    rig.arm(far, 1000ms);
  });
  rig.arm(first, 10ms);
  rig.arm(next, 15ms);
  rig.move_to(10ms);
  EXPECT_EQ(rig.pass(), Pass::done);
  EXPECT_TRUE(rig.log.empty());
  EXPECT_EQ(rig.pass(), Pass::done);
  EXPECT_EQ(rig.ids(), std::vector{2});
}

TEST_P(TimerContract, SlackPicksTheRoundestTickInIt) {
  Rig rig(kind);
  rig.move_to(5 * kTick);
  const std::vector<std::pair<Ticks, Tick>> expected = {{0, 65},  {1, 66},  {3, 68},   {7, 72},
                                                        {14, 72}, {15, 80}, {100, 128}};
  std::vector<TimerPtr> timers;
  for (const auto& [slack, tick] : expected) {
    timers.push_back(rig.timer(static_cast<int>(slack)));
    rig.rearm(timers.back(), 60ms, slack);
  }
  for (Tick now = 6; now < 200; ++now) {
    rig.move_to_tick(now);
    rig.pass();
  }
  ASSERT_EQ(rig.log.size(), expected.size());
  for (const LogEntry& run : rig.log) {
    const auto slack = static_cast<Ticks>(run.timer);
    const auto at = std::find_if(expected.begin(), expected.end(),
                                 [&](const auto& each) { return each.first == slack; });
    EXPECT_EQ(run.tick, at->second) << "slack " << slack;
  }
}

// The timer runs in the pass of that tick, and none in the pass before.
void expect_first_to_run_at(Rig& rig, Tick tick, int id) {
  rig.move_to_tick(tick - 1);
  rig.pass();
  EXPECT_TRUE(rig.log.empty());
  rig.move_to_tick(tick);
  rig.pass();
  EXPECT_EQ(rig.log, (std::vector<LogEntry>{{tick, id}}));
}

TEST_P(TimerContract, ATimeoutChangesFromWhenItWasArmed) {
  Rig rig(kind);
  const TimerPtr longer = rig.timer(1);
  const TimerPtr shorter = rig.timer(2);
  const TimerPtr passed = rig.timer(3);
  const TimerPtr disarmed = rig.timer(4);
  rig.move_to_tick(10);
  for (const TimerPtr* timer : {&longer, &shorter, &passed, &disarmed}) {
    rig.arm(*timer, 50ms);
  }
  disarmed->disarm();
  rig.move_to_tick(30);
  rig.change_timeout(longer, 70ms);
  rig.change_timeout(shorter, 25ms);
  rig.change_timeout(passed, 5ms);
  rig.change_timeout(disarmed, 5ms);
  for (Tick now = 30; now < 100; ++now) {
    rig.move_to_tick(now);
    rig.pass();
  }
  EXPECT_EQ(rig.log, (std::vector<LogEntry>{{30, 3}, {35, 2}, {80, 1}}));
}

// A lazy re-arm is what the next change counts from, with its timeout.
TEST_P(TimerContract, ATimeoutChangesFromWhenItWasRearmed) {
  Rig rig(kind);
  const TimerPtr timer = rig.timer(1);
  rig.arm(timer, 50ms);
  rig.move_to_tick(10);
  rig.rearm(timer, 80ms); // for 90
  rig.change_timeout(timer, 60ms);
  expect_first_to_run_at(rig, 70, 1);
}

TEST_P(TimerContract, ATimeoutOfForEverChangesFromNow) {
  Rig rig(kind);
  const TimerPtr timer = rig.timer(1);
  rig.move_to_tick(7);
  timer->rearm(kLatest, rig.service().now(), 0);
  rig.move_to_tick(20);
  rig.change_timeout(timer, 30ms);
  expect_first_to_run_at(rig, 50, 1);
}

std::vector<LogEntry> short_run(const ServiceKind& kind, std::uint64_t start_ns) {
  Rig rig(kind, start_ns);
  std::vector<TimerPtr> timers;
  for (int id = 0; id < 8; ++id) {
    timers.push_back(rig.timer(id));
    rig.arm(timers.back(), (id * 37 + 1) * 1ms + id * 1ns);
  }
  for (int step = 0; step < 60; ++step) {
    rig.move_by(7ms + 313us);
    rig.pass();
    if (step % 5 == 0) {
      rig.rearm(timers[static_cast<std::size_t>(step) % 8], step * 1ms);
    }
  }
  EXPECT_GT(rig.log.size(), 12U);
  return rig.log;
}

// Results are the same wherever the clock starts: below zero, across zero, and across the largest
// value of the clock (CONTRACT.md, line 5).
TEST_P(TimerContract, ResultsDoNotDependOnWhereTheClockStarts) {
  const std::vector<LogEntry> expected = short_run(kind, 0);
  for (const std::uint64_t start : kStarts) {
    EXPECT_EQ(short_run(kind, start), expected) << "from " << start;
  }
}

// A timeout of zero or less runs in the next pass, not inside arm() (CONTRACT.md, line 6).
TEST_P(TimerContract, TimeoutZeroAndLessRunOnTheNextPassNotInsideArm) {
  Rig rig(kind);
  const TimerPtr zero = rig.timer(0);
  const TimerPtr negative = rig.timer(1);
  rig.move_to(5ms);
  rig.arm(zero, 0ns);
  rig.arm(negative, nanoseconds::min());
  EXPECT_TRUE(rig.log.empty());
  rig.pass();
  EXPECT_EQ(rig.log.size(), 2U);
  rig.move_to(8ms + 1ns); // between ticks: the next edge, not the last
  rig.arm(zero, 0ns);
  rig.pass();
  EXPECT_EQ(rig.log.size(), 2U);
  rig.move_to(9ms);
  rig.pass();
  EXPECT_EQ(rig.log.back(), (LogEntry{9, 0}));
}

// A timer that an action arms for now waits for the next tick, however many passes come before
// (CONTRACT.md, line 6).
TEST_P(TimerContract, TimeoutZeroArmedByAnActionDoesNotRunInThatPass) {
  Rig rig(kind);
  const TimerPtr other = rig.timer(2);
  const TimerPtr first = rig.timer([&] {
    rig.note(1);
    rig.arm(other, 0ns);
  });
  rig.arm(first, 3ms);
  rig.move_to(3ms);
  EXPECT_EQ(rig.pass(), Pass::done);
  EXPECT_EQ(rig.pass(), Pass::done);
  EXPECT_EQ(rig.ids(), std::vector{1});
  rig.move_to(4ms);
  rig.pass();
  EXPECT_EQ(rig.log, (std::vector<LogEntry>{{3, 1}, {4, 2}}));
}

// A timeout that overflows means never (CONTRACT.md, line 6).
TEST_P(TimerContract, ATimeoutThatOverflowsSaturatesToNever) {
  Rig rig(kind, 0, 1ns);
  rig.move_to(10s);
  const TimerPtr largest = rig.timer(1);
  largest->arm(std::numeric_limits<Ticks>::max(), rig.service().now());
  const TimerPtr in_ns = rig.timer(2);
  rig.arm(in_ns, kForever);
  EXPECT_TRUE(largest->armed());
  EXPECT_LE(rig.service().next_deadline(), kLatest);
  rig.move_to(kForever);
  rig.pass();
  EXPECT_TRUE(rig.log.empty());
  EXPECT_TRUE(largest->armed());
  EXPECT_EQ(rig.service().time_of(kLatest), kForever);
  EXPECT_TRUE(largest->disarm());
}

// A timeout of more than 292 years, of whatever type, and one that is not a number: the timer never
// runs, also in services whose clock starts near an end of its range (CONTRACT.md, lines 5 and 6).
TEST_P(TimerContract, ADurationThatOverflowsNanosecondsNeverRuns) {
  const std::vector<Nanoseconds> endless = {
      std::chrono::hours::max(),
      std::chrono::hours::max() / 10,
      std::chrono::seconds::max(),
      std::chrono::years(293),
      nanoseconds::max(),
      std::chrono::duration<std::uint64_t>(std::uint64_t{1} << 62),
      std::chrono::duration<double>(1e300),
      std::chrono::duration<float>(std::numeric_limits<float>::infinity()),
      std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN())};
  for (const std::uint64_t start : kStarts) {
    for (const nanoseconds tick : {1ns, 1'000'000ns}) {
      Rig rig(kind, start, tick);
      std::vector<TimerPtr> timers;
      for (const Nanoseconds duration : endless) {
        timers.push_back(rig.timer(static_cast<int>(timers.size())));
        rig.arm(timers.back(), duration);
        rig.rearm(timers.back(), duration);
        rig.change_timeout(timers.back(), duration);
      }
      for (const nanoseconds later : {nanoseconds(1ms), nanoseconds(24h * 365), kForever}) {
        rig.move_to(later);
        rig.pass();
        ASSERT_TRUE(rig.log.empty()) << "from " << start << ", tick " << tick.count();
        rig.service().time_of(rig.service().next_deadline());
      }
      // As far again, which is nearly back to the start for a clock of 64 bits.
      rig.move_to_tick(kLatest / static_cast<std::uint64_t>(tick.count()));
      rig.pass();
      EXPECT_TRUE(rig.log.empty()) << "from " << start << ", tick " << tick.count();
      EXPECT_EQ(rig.service().counters().live(), endless.size());
    }
  }
}

// Whole and floating durations of any unit are rounded up to a tick (CONTRACT.md, lines 1 and 6).
TEST_P(TimerContract, ADurationOfAnyTypeIsExact) {
  const std::vector<std::pair<Nanoseconds, Tick>> cases = {
      {std::chrono::duration<std::uint8_t, std::milli>(255), 255},
      {std::chrono::duration<unsigned>(2), 2000},
      {std::chrono::duration<std::int64_t, std::pico>(1), 1},
      {std::chrono::duration<std::int64_t, std::pico>(1'000'000'001), 2},
      {std::chrono::duration<double>(0.1), 100},
      {std::chrono::duration<float>(0.25F), 250},
      {std::chrono::duration<long double, std::milli>(2.5L), 3},
      {std::chrono::days(1), 86'400'000},
      {std::chrono::duration<double>(-1.5), 0},
      {std::chrono::hours::min(), 0}};
  for (const auto& [duration, ticks] : cases) {
    Rig rig(kind);
    const TimerPtr timer = rig.timer(1);
    rig.arm(timer, duration);
    if (ticks > 0) {
      rig.move_to_tick(ticks - 1);
      rig.pass();
      ASSERT_TRUE(rig.log.empty()) << ticks;
    }
    rig.move_to_tick(ticks);
    rig.pass();
    EXPECT_EQ(rig.log, (std::vector<LogEntry>{{ticks, 1}}));
  }
}

// A driver programs its OS timer for time_of(), which is right wherever the clock starts, below
// zero too (CONTRACT.md, lines 5 and 7).
TEST_P(TimerContract, ATickBeginsAtItsDistanceFromTheStartOfTheClock) {
  for (const std::uint64_t start : kStarts) {
    Rig rig(kind, start);
    const nanoseconds first(static_cast<std::int64_t>(start));
    EXPECT_EQ(rig.service().time_of(0), first);
    const bool room = first < kForever - 2h;
    EXPECT_EQ(rig.service().time_of(3'600'000), room ? first + 1h : kForever) << start;
    EXPECT_EQ(rig.service().time_of(kLatest), kForever);
    EXPECT_EQ(rig.service().time_of(kNever), kForever);
    rig.move_to(5ms);
    const TimerPtr timer = rig.timer(1);
    rig.arm(timer, 60ms);
    const nanoseconds wake = rig.service().time_of(rig.service().next_deadline());
    EXPECT_GE(wake, first) << start;
    EXPECT_LE(wake, room ? first + 65ms : kForever) << start;
  }
}

// A driver that only sleeps to next_deadline(), and hears of earlier ones, reaches every timer
// (CONTRACT.md, line 7).
TEST_P(TimerContract, SleepingToNextDeadlineReachesEveryTimer) {
  Rig rig(kind);
  AnyService& service = rig.service();
  std::vector<TimerPtr> timers;
  std::vector<LogEntry> expected;
  for (int id = 0; id < 60; ++id) {
    const auto deadline = static_cast<Tick>(id * id * id % 5003 + 1);
    timers.push_back(rig.timer(id));
    rig.arm(timers.back(), static_cast<std::int64_t>(deadline) * kTick);
    expected.push_back({deadline, id});
  }
  // A wheel with rounds wakes up for each occupied slot and turn, others at most once a level.
  const std::size_t bound = kind.info.rounds() ? (5003 / kSmallSlots + 1) * kSmallSlots : 60 * 11;
  std::size_t wake_ups = 0;
  while (service.next_deadline() != kNever) {
    ASSERT_LT(++wake_ups, bound);
    rig.move_to_tick(service.next_deadline());
    rig.pass();
  }
  std::sort(expected.begin(), expected.end());
  std::sort(rig.log.begin(), rig.log.end());
  EXPECT_EQ(rig.log, expected);
}

// The driver hears of each deadline that is earlier than what it is programmed for, and of no
// other (CONTRACT.md, line 7).
TEST_P(TimerContract, TellsOfEarlierDeadlinesOnly) {
  Rig rig(kind);
  AnyService& service = rig.service();
  int told = 0;
  std::function<void()> wake = [&] {
    ++told;
    service.expect_wake(service.next_deadline());
  };
  service.on_earlier_deadline(&wake);
  const TimerPtr near = rig.timer(1);
  const TimerPtr far = rig.timer(2);
  rig.arm(far, 60ms);
  EXPECT_EQ(told, 1);
  rig.rearm(far, 63ms);
  rig.rearm(far, 60ms);
  EXPECT_EQ(told, 1);
  rig.arm(near, 61ms);
  EXPECT_EQ(told, 1);
  rig.rearm(near, 10ms);
  EXPECT_EQ(told, 2);
  near->disarm();
  rig.arm(near, 10ms);
  EXPECT_EQ(told, 2);
  rig.rearm(far, 5ms);
  EXPECT_EQ(told, 3);
  service.expect_wake(kNever);
  rig.arm(rig.timer(3), 1h); // and disarms it at once
  EXPECT_EQ(told, 4);
}

// Within a pass it hears of none, because it asks for the next deadline afterwards (CONTRACT.md,
// line 7).
TEST_P(TimerContract, DoesNotTellOfDeadlinesWithinAPass) {
  Rig rig(kind);
  int told = 0;
  std::function<void()> wake = [&] { ++told; };
  rig.service().on_earlier_deadline(&wake);
  const TimerPtr other = rig.timer(2);
  const TimerPtr first = rig.timer([&] { rig.arm(other, 1ms); });
  rig.arm(first, 10ms);
  rig.service().expect_wake(kNever);
  told = 0;
  rig.move_to(10ms);
  rig.pass();
  EXPECT_EQ(told, 0);
  EXPECT_EQ(rig.service().next_deadline(), Tick{11});
}

// A timer may be disarmed in any state, and disarm() says whether it was armed (CONTRACT.md, line
// 8).
TEST_P(TimerContract, DisarmIsIdempotentAndSaysWhetherTheTimerWasArmed) {
  Rig rig(kind);
  TimerPtr self;
  bool armed_in_action = true;
  bool disarmed_in_action = true;
  self = rig.timer([&] {
    armed_in_action = self->armed();
    disarmed_in_action = self->disarm();
  });
  EXPECT_FALSE(self->disarm()) << "idle";
  rig.arm(self, 5ms);
  EXPECT_TRUE(self->disarm()) << "armed";
  EXPECT_FALSE(self->disarm());
  rig.move_to(50ms);
  rig.pass();
  EXPECT_TRUE(armed_in_action) << "it ran though it was disarmed";
  rig.arm(self, 5ms);
  rig.move_to(60ms);
  rig.pass();
  EXPECT_FALSE(armed_in_action);
  EXPECT_FALSE(disarmed_in_action) << "running";
  EXPECT_FALSE(self->disarm()) << "fired";
  rig.arm(self, 5ms);
  rig.move_to(80ms);
  EXPECT_TRUE(self->disarm()) << "due";
  rig.pass();
  const TimerCounters& counters = rig.service().counters();
  EXPECT_EQ(counters.armed, 3U);
  EXPECT_EQ(counters.disarmed, 2U);
  EXPECT_EQ(counters.expired, 1U);
  EXPECT_EQ(counters.live(), 0U);
}

// Whichever of a batch runs first disarms all the others, and none of them runs (CONTRACT.md, line
// 8).
TEST_P(TimerContract, ATimerDisarmedByAnotherActionOfTheSameBatchNeverRuns) {
  for (const nanoseconds apart : {0ms, 1ms, 70ms}) {
    Rig rig(kind);
    std::vector<TimerPtr> timers;
    int ran = 0;
    for (int i = 0; i < 5; ++i) {
      timers.push_back(rig.timer([&] {
        ++ran;
        for (const TimerPtr& timer : timers) {
          timer->disarm();
        }
      }));
      rig.arm(timers.back(), 10ms + i * apart);
    }
    rig.move_to(1s);
    rig.pass();
    rig.move_to(2s);
    rig.pass();
    EXPECT_EQ(ran, 1);
    EXPECT_EQ(rig.service().counters().live(), 0U);
  }
}

// Re-arming arms a timer that was disarmed or has run, as when a read finishes in the turn in
// which its timer ran (CONTRACT.md, line 9).
TEST_P(TimerContract, RearmOnADisarmedOrFiredTimerArmsIt) {
  Rig rig(kind);
  const TimerPtr timer = rig.timer(1);
  rig.rearm(timer, 5ms); // idle
  EXPECT_TRUE(timer->armed());
  rig.move_to(5ms);
  rig.pass();
  rig.rearm(timer, 5ms); // fired
  timer->disarm();
  rig.rearm(timer, 7ms); // disarmed
  rig.move_to(12ms);
  rig.pass();
  EXPECT_EQ(rig.log, (std::vector<LogEntry>{{5, 1}, {12, 1}}));
  EXPECT_EQ(rig.service().counters().armed, 3U);
  EXPECT_EQ(rig.service().counters().rearmed, 0U);
}

// After many re-arms, further away, nearer, and while it is due already, a timer runs once
// (CONTRACT.md, line 9).
TEST_P(TimerContract, ManyRearmsLeaveOnePendingInstance) {
  Rig rig(kind);
  const TimerPtr timer = rig.timer(1);
  for (int i = 0; i < 300; ++i) {
    rig.rearm(timer, (i * 31 % 97 + 1) * 1ms);
    rig.move_by(i % 3 == 0 ? 1ms : 0ms);
  }
  rig.move_by(200ms);
  rig.rearm(timer, 40ms); // due, and not asked yet
  const Tick deadline = rig.service().now().floor + 40;
  rig.pass();
  EXPECT_TRUE(rig.log.empty());
  rig.move_to_tick(deadline);
  rig.pass();
  rig.move_by(10s);
  rig.pass();
  EXPECT_EQ(rig.log, (std::vector<LogEntry>{{deadline, 1}}));
  EXPECT_EQ(rig.service().next_deadline(), kNever);
}

// Lengthened and shortened, disarmed and armed again, across slot and level edges, a timer runs at
// its last deadline only, lazily and eagerly (CONTRACT.md, line 10).
TEST_P(TimerContract, AMovedTimerRunsAtItsLastDeadlineOnly) {
  constexpr std::array<int, 9> kTimeouts = {0, 1, 2, 40, 63, 64, 65, 300, 5000};
  for (const int first : kTimeouts) {
    for (const int second : kTimeouts) {
      for (const bool disarmed_between : {false, true}) {
        Rig rig(kind);
        rig.move_to(60ms);
        const TimerPtr timer = rig.timer(1);
        rig.arm(timer, (first + 2) * 1ms);
        rig.move_by(1ms);
        if (disarmed_between) {
          timer->disarm();
          rig.pass();
        }
        rig.rearm(timer, second * 1ms);
        const Tick deadline = 61U + static_cast<Tick>(second);
        for (Tick now = 61; now < deadline; now = std::min(deadline, now + 13)) {
          rig.move_to_tick(now);
          rig.pass();
        }
        ASSERT_TRUE(rig.log.empty()) << first << ' ' << second;
        rig.move_to_tick(deadline);
        rig.pass();
        rig.move_to_tick(20000);
        rig.pass();
        ASSERT_EQ(rig.log, (std::vector<LogEntry>{{deadline, 1}})) << first << ' ' << second;
      }
    }
  }
}

// A timer that is destroyed while armed or due never runs (CONTRACT.md, line 11).
TEST_P(TimerContract, ATimerDestroyedWhileArmedOrDueNeverRuns) {
  Rig rig(kind);
  TimerPtr armed = rig.timer(1);
  TimerPtr due = rig.timer(2);
  TimerPtr moved = rig.timer(3);
  TimerPtr disarmed = rig.timer(4);
  for (const TimerPtr* timer : {&armed, &due, &moved, &disarmed}) {
    rig.arm(*timer, 10ms);
  }
  rig.rearm(moved, 30ms);
  disarmed->disarm();
  armed.reset();
  moved.reset();
  disarmed.reset();
  EXPECT_EQ(rig.service().check(), "");
  rig.move_to(20ms);
  due.reset();
  rig.pass();
  rig.move_to(20s);
  rig.pass();
  EXPECT_TRUE(rig.log.empty());
  EXPECT_EQ(rig.service().next_deadline(), kNever);
  EXPECT_EQ(rig.service().counters().disarmed, 4U);
}

// A timer may be destroyed in its own action, also after it has armed itself anew (CONTRACT.md,
// line 11).
TEST_P(TimerContract, ATimerMayBeDestroyedInItsOwnAction) {
  for (const bool rearmed : {false, true}) {
    Rig rig(kind);
    const TimerPtr bystander = rig.timer(2);
    TimerPtr self;
    self = rig.timer([&, rearmed] {
      rig.note(1);
      if (rearmed) {
        rig.arm(self, 0ns);
      }
      self.reset();
    });
    rig.arm(self, 10ms);
    rig.arm(bystander, 10ms);
    rig.move_to(10ms);
    rig.pass();
    rig.move_to(20ms);
    rig.pass();
    auto ids = rig.ids();
    std::sort(ids.begin(), ids.end());
    EXPECT_EQ(ids, (std::vector{1, 2}));
  }
}

// Whichever runs first destroys all the others; some are due with it, some not yet (CONTRACT.md,
// line 11).
TEST_P(TimerContract, ATimerMayBeDestroyedInTheActionOfAnother) {
  for (std::size_t survivor = 0; survivor < 6; ++survivor) {
    Rig rig(kind);
    std::vector<TimerPtr> timers(6);
    int ran = 0;
    for (std::size_t i = 0; i < timers.size(); ++i) {
      timers[i] = rig.timer([&, i] {
        ++ran;
        for (std::size_t other = 0; other < timers.size(); ++other) {
          if (other != i) {
            timers[other].reset();
          }
        }
        rig.arm(timers[i], 5ms); // the structure is whole
      });
      rig.arm(timers[i], i == survivor ? 10ms : 10ms + static_cast<int>(i) * 13ms);
    }
    rig.move_to(50ms);
    rig.pass();
    EXPECT_EQ(ran, 1);
    rig.move_to(55ms);
    rig.pass();
    EXPECT_EQ(ran, 2);
    EXPECT_EQ(rig.service().counters().live(), 1U);
  }
}

// A new timer in the memory of a dead one has nothing of it (CONTRACT.md, line 11).
TEST_P(TimerContract, ANewTimerInTheMemoryOfADeadOneIsItsOwn) {
  Rig rig(kind);
  std::optional<TimerPtr> place;
  for (int generation = 0; generation < 300; ++generation) {
    place.reset();
    place.emplace(rig.timer(generation));
    rig.arm(*place, generation % 2 == 0 ? 5ms : 500ms);
    if (generation % 3 == 0) {
      rig.move_by(1ms);
      rig.pass();
    }
  }
  EXPECT_TRUE(rig.log.empty());
  rig.move_by(500ms);
  rig.pass();
  EXPECT_EQ(rig.ids(), std::vector{299});
}

// Timers that outlive their service may only be destroyed, whether armed, disarmed, moved or fired
// (CONTRACT.md, line 11).
TEST_P(TimerContract, TimersOutliveTheirService) {
  Rig rig(kind);
  std::vector<TimerPtr> timers;
  for (int id = 0; id < 6; ++id) {
    timers.push_back(rig.timer(id));
    rig.arm(timers.back(), id * 100ms);
  }
  rig.pass();
  rig.rearm(timers[3], 10s);
  timers[4]->disarm();
  rig.move_to(100ms); // due, and not handed out
  rig.destroy_service();
  for (const TimerPtr& timer : timers) {
    EXPECT_FALSE(timer->armed());
  }
  timers.clear();
  EXPECT_EQ(rig.ids(), std::vector{0});
}

// Actions that arm themselves and each other for now run once per tick (CONTRACT.md, line 13).
TEST_P(TimerContract, RearmingForNowCannotStarveTheLoop) {
  Rig rig(kind);
  constexpr int kTimers = 20;
  std::vector<TimerPtr> timers;
  int ran = 0;
  for (int i = 0; i < kTimers; ++i) {
    timers.push_back(rig.timer([&] {
      ASSERT_LT(++ran, 10000) << "a pass without end";
      for (const TimerPtr& timer : timers) {
        rig.rearm(timer, 0ns);
      }
    }));
    rig.arm(timers.back(), 1ms);
  }
  for (int tick = 1; tick <= 40; ++tick) {
    const int before = ran;
    rig.move_to(tick * 1ms);
    EXPECT_EQ(rig.pass(), Pass::done);
    EXPECT_GT(ran, before);
    EXPECT_LE(ran - before, kTimers);
    const int after = ran;
    rig.pass();
    EXPECT_EQ(ran, after) << "the tick is over";
  }
}

// A clock that moves on while actions run does not lengthen the pass (CONTRACT.md, line 13).
TEST_P(TimerContract, APassIsOfTheTickInWhichItBegan) {
  Rig rig(kind);
  TimerPtr self;
  self = rig.timer([&] {
    rig.note(1);
    rig.move_by(10ms);
    rig.arm(self, 1ms);
  });
  const TimerPtr later = rig.timer(2);
  rig.arm(self, 5ms);
  rig.arm(later, 6ms);
  rig.move_to(5ms);
  rig.pass();
  EXPECT_EQ(rig.ids(), std::vector{1});
  rig.pass();
  EXPECT_EQ(rig.ids(), (std::vector{1, 2}));
}

// An action may destroy the service (CONTRACT.md, line 13).
TEST_P(TimerContract, AnActionMayDestroyTheService) {
  for (const bool throws : {false, true}) {
    Rig rig(kind);
    std::vector<TimerPtr> timers;
    int ran = 0;
    for (int i = 0; i < 4; ++i) {
      timers.push_back(rig.timer([&] {
        ++ran;
        rig.destroy_service();
        if (throws) {
          throw std::runtime_error("and goes");
        }
      }));
      rig.arm(timers.back(), 10ms + i * 70ms);
    }
    rig.move_to(100ms);
    if (throws) {
      EXPECT_THROW(rig.pass(), std::runtime_error);
    } else {
      EXPECT_EQ(rig.pass(), Pass::destroyed);
    }
    EXPECT_EQ(ran, 1);
  }
}

// A pass inside a pass does nothing (CONTRACT.md, line 13).
TEST_P(TimerContract, APassInsideAPassDoesNothing) {
  Rig rig(kind);
  const TimerPtr other = rig.timer(2);
  const TimerPtr first = rig.timer([&] {
    const std::size_t before = rig.log.size();
    EXPECT_EQ(rig.service().run_due(kNoBudget), Pass::backlog);
    EXPECT_EQ(rig.log.size(), before);
    rig.note(1);
  });
  rig.arm(first, 5ms);
  rig.arm(other, 6ms);
  rig.move_to(10ms);
  EXPECT_EQ(rig.pass(), Pass::done);
  EXPECT_EQ(rig.ids(), (std::vector{1, 2}));
}

// An action that throws does not run again, and the other due timers still run (CONTRACT.md, line
// 14).
TEST_P(TimerContract, AnActionThatThrowsDoesNotRunTwiceAndTheOthersStillRun) {
  for (const nanoseconds apart : {0ms, 1ms, 70ms}) {
    Rig rig(kind);
    std::vector<TimerPtr> timers;
    for (int id = 0; id < 7; ++id) {
      timers.push_back(rig.timer([&, id] {
        rig.note(id);
        if (id % 3 == 0) {
          throw std::runtime_error("an action");
        }
      }));
      rig.arm(timers.back(), 10ms + id * apart);
    }
    rig.move_to(1s);
    for (int i = 0; i < 3; ++i) {
      EXPECT_THROW(rig.pass(), std::runtime_error);
      EXPECT_EQ(rig.service().check(), "");
    }
    EXPECT_EQ(rig.pass(), Pass::done);
    auto ids = rig.ids();
    std::sort(ids.begin(), ids.end());
    EXPECT_EQ(ids, (std::vector{0, 1, 2, 3, 4, 5, 6}));
    rig.arm(timers[0], 0ns); // outside a pass again, so for this very tick
    EXPECT_THROW(rig.pass(), std::runtime_error);
  }
}

// A pass handles no more timers than its budget, and later passes lose none: in one slot, in
// several, over levels, whether time moves on between passes or not (CONTRACT.md, line 15).
TEST_P(TimerContract, APassHandlesNoMoreThanItsBudgetAndNothingIsLost) {
  constexpr int kTimers = 50;
  for (const nanoseconds apart : {0ms, 1ms, 3ms, 100ms}) {
    for (const nanoseconds meanwhile : {nanoseconds(0), nanoseconds(1ms)}) {
      Rig rig(kind);
      std::vector<TimerPtr> timers;
      for (int id = 0; id < kTimers; ++id) {
        timers.push_back(rig.timer(id));
        rig.arm(timers.back(), 10ms + id * apart);
      }
      rig.move_to(10s);
      EXPECT_EQ(rig.service().run_due(0), Pass::backlog);
      for (std::size_t passes = 1; rig.log.size() < kTimers; ++passes) {
        rig.pass(7);
        ASSERT_EQ(rig.log.size(), std::min<std::size_t>(7 * passes, kTimers));
        rig.move_by(meanwhile);
      }
      EXPECT_EQ(rig.pass(7), Pass::done);
      auto ids = rig.ids();
      if (kind.info.peer_order != PeerOrder::any || apart > 0ns) {
        EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
      }
      std::sort(ids.begin(), ids.end());
      EXPECT_EQ(std::unique(ids.begin(), ids.end()) - ids.begin(), kTimers);
    }
  }
}

// What a pass left behind may be disarmed, moved and added to (CONTRACT.md, line 15).
TEST_P(TimerContract, ABacklogMayBeDisarmedMovedAndAddedTo) {
  Rig rig(kind);
  std::vector<TimerPtr> timers;
  for (int id = 0; id < 10; ++id) {
    timers.push_back(rig.timer(id));
    rig.arm(timers.back(), 10ms + id * 1ms);
  }
  rig.move_to(100ms);
  EXPECT_EQ(rig.pass(3), Pass::backlog);
  EXPECT_EQ(rig.ids(), (std::vector{0, 1, 2}));
  EXPECT_LE(rig.service().next_deadline(), Tick{100});
  timers[5]->disarm();
  timers[7].reset();
  rig.rearm(timers[4], 50ms);
  rig.rearm(timers[0], 0ns);
  EXPECT_EQ(rig.service().check(), "");
  while (rig.pass(2) == Pass::backlog) {
  }
  auto ids = rig.ids();
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(ids, (std::vector{0, 0, 1, 2, 3, 6, 8, 9}));
  rig.move_to(150ms);
  rig.pass();
  EXPECT_EQ(rig.log.back(), (LogEntry{150, 4}));
}

// A timer that was moved lazily and is only filed again counts against the budget (CONTRACT.md,
// line 15).
TEST_P(TimerContract, FilingAgainCountsAgainstTheBudget) {
  Rig rig(kind);
  std::vector<TimerPtr> timers;
  for (int id = 0; id < 10; ++id) {
    timers.push_back(rig.timer(id));
    rig.arm(timers.back(), 10ms);
    rig.rearm(timers.back(), 100ms);
  }
  const std::uint64_t moved = rig.service().counters().moved;
  rig.move_to(50ms);
  const Pass outcome = rig.pass(4);
  EXPECT_EQ(outcome, kind.lazy() ? Pass::backlog : Pass::done);
  EXPECT_EQ(rig.service().counters().moved - moved, kind.lazy() ? 4U : 0U);
  while (rig.pass(4) == Pass::backlog) {
  }
  EXPECT_TRUE(rig.log.empty());
  rig.move_to(100ms);
  rig.pass();
  EXPECT_EQ(rig.log.size(), 10U);
}

// Earlier deadlines run first, and equal ones in arm order where claimed (CONTRACT.md, line 16).
TEST_P(TimerContract, EarlierDeadlinesRunFirstAndPeersInArmOrderWhereClaimed) {
  Rig rig(kind);
  std::vector<TimerPtr> timers;
  for (int id = 0; id < 30; ++id) {
    timers.push_back(rig.timer(id));
    rig.move_to(id * 1ms);
    rig.arm(timers.back(), (90 - id + id % 3) * 1ms); // for ticks 90, 91 and 92
  }
  rig.move_to(300ms);
  rig.pass();
  const std::vector<int> ids = rig.ids();
  ASSERT_EQ(ids.size(), 30U);
  for (std::size_t i = 1; i < ids.size(); ++i) {
    EXPECT_LE(ids[i - 1] % 3, ids[i] % 3);
    if (kind.info.peer_order != PeerOrder::any && ids[i - 1] % 3 == ids[i] % 3) {
      EXPECT_LT(ids[i - 1], ids[i]);
    }
  }
}

// A re-armed timer goes behind its peers. Eager only: a lazy timer that is filed again may change
// places within its tick (CONTRACT.md, line 16).
TEST_P(TimerContract, ARefreshedTimerGoesBehindItsPeersWhereClaimed) {
  Rig rig(kind);
  const TimerPtr first = rig.timer(1);
  const TimerPtr second = rig.timer(2);
  rig.arm(first, 100ms);
  rig.arm(second, 100ms);
  rig.rearm(first, 100ms);
  rig.move_to(100ms);
  rig.pass();
  std::vector<int> ids = rig.ids();
  if (kind.lazy() || kind.info.peer_order != PeerOrder::moved) {
    std::sort(ids.rbegin(), ids.rend()); // not claimed: only both
  }
  EXPECT_EQ(ids, (std::vector{2, 1}));
}

// A disarmed timer leaves at most one filed node when lazy, and none when eager (CONTRACT.md, line
// 18).
TEST_P(TimerContract, DisarmedTimersLeaveAtMostOneNodeEach) {
  Rig rig(kind);
  std::vector<TimerPtr> timers;
  for (int id = 0; id < 10; ++id) {
    timers.push_back(rig.timer(id));
  }
  for (int round = 0; round < 200; ++round) {
    for (const TimerPtr& timer : timers) {
      rig.arm(timer, (round * 7 % 50 + 10) * 1ms);
      timer->disarm();
    }
  }
  std::size_t filed = 0;
  rig.move_to(1s);
  while (rig.pass(1) == Pass::backlog) {
    ASSERT_LE(++filed, timers.size());
  }
  EXPECT_EQ(filed, kind.lazy() ? timers.size() : 0U);
  EXPECT_TRUE(rig.log.empty());
  EXPECT_EQ(rig.service().next_deadline(), kNever);
}

TEST_P(TimerContract, CountersSayWhatHappened) {
  Rig rig(kind);
  const TimerCounters& counters = rig.service().counters();
  {
    const TimerPtr timer = rig.timer(1);
    rig.arm(timer, 10ms);
    rig.rearm(timer, 20ms);
    rig.rearm(timer, 30ms);
    EXPECT_EQ(counters.live(), 1U);
    rig.move_to(40ms + 250us);
    rig.pass();
    EXPECT_EQ(counters.late.max(), 10ms + 250us);
    rig.arm(timer, 10ms);
  } // destroyed while armed
  EXPECT_EQ(counters.armed, 2U);
  EXPECT_EQ(counters.rearmed, 2U);
  EXPECT_EQ(counters.disarmed, 1U);
  EXPECT_EQ(counters.expired, 1U);
  EXPECT_EQ(counters.moved, kind.lazy() ? 2U : 4U);
  EXPECT_EQ(counters.late.count(), 1U);
  EXPECT_EQ(counters.live(), 0U);
}

// The following tests are about the service alone. Their backend writes down what it is asked to
// do, and can be told to fail.
struct Asked {
  std::string operation;
  Tick deadline;
  Ticks timeout;
  bool operator==(const Asked&) const = default;
};

void PrintTo(const Asked& asked, std::ostream* out) {
  *out << asked.operation << ' ' << asked.deadline << " for " << asked.timeout;
}

class Recorder : private OrderedList {
public:
  using OrderedList::advance;
  using OrderedList::check;
  using OrderedList::kInfo;
  using OrderedList::next_deadline;
  using OrderedList::Node;
  using OrderedList::pop_expired;

  static inline std::vector<Asked> asked;
  static inline bool fails = false;

  void arm(Node& node, Tick deadline, Ticks timeout) {
    fail_if_told();
    asked.push_back({"arm", deadline, timeout});
    OrderedList::arm(node, deadline, timeout);
  }
  void rearm(Node& node, Tick deadline, Ticks timeout) {
    fail_if_told();
    asked.push_back({"rearm", deadline, timeout});
    OrderedList::rearm(node, deadline, timeout);
  }
  void disarm(Node& node) noexcept {
    asked.push_back({"disarm", node.deadline, 0});
    OrderedList::disarm(node);
  }

private:
  static void fail_if_told() {
    if (fails) {
      throw std::bad_alloc();
    }
  }
};

class TimerService : public ::testing::Test {
protected:
  void SetUp() override {
    Recorder::asked.clear();
    Recorder::fails = false;
  }
  void TearDown() override { Recorder::fails = false; }

  static ServiceKind kind(Rearm rearm) { return service_kind<Recorder>(rearm); }
};

using AskedList = std::vector<Asked>;

TEST_F(TimerService, ALazyMoveToLaterAsksNothingOfTheBackend) {
  Rig rig(kind(Rearm::lazy));
  const TimerPtr timer = rig.timer(1);
  rig.arm(timer, 10ms);
  for (int i = 0; i < 100; ++i) {
    rig.rearm(timer, 20ms);
    timer->disarm();
    rig.rearm(timer, 15ms);
    rig.rearm(timer, 10ms); // back to where it is filed
  }
  EXPECT_EQ(Recorder::asked, (AskedList{{"arm", 10, 10}}));
}

TEST_F(TimerService, ALazyMoveToEarlierThanFiledMovesTheNode) {
  Rig rig(kind(Rearm::lazy));
  const TimerPtr timer = rig.timer(1);
  rig.arm(timer, 20ms);
  rig.rearm(timer, 30ms);
  rig.rearm(timer, 10ms);
  timer->disarm();
  rig.rearm(timer, 5ms);
  EXPECT_EQ(Recorder::asked, (AskedList{{"arm", 20, 20}, {"rearm", 10, 10}, {"rearm", 5, 5}}));
}

TEST_F(TimerService, FilingAgainKeepsTheTimeout) {
  Rig rig(kind(Rearm::lazy));
  const TimerPtr timer = rig.timer(1);
  rig.arm(timer, 20ms);
  rig.move_to(3ms);
  rig.rearm(timer, 40ms);
  rig.move_to(20ms);
  rig.pass();
  EXPECT_EQ(Recorder::asked, (AskedList{{"arm", 20, 20}, {"arm", 43, 40}}));
}

TEST_F(TimerService, ALazyTimerDisarmedForGoodIsNotFiledAgain) {
  Rig rig(kind(Rearm::lazy));
  const TimerPtr timer = rig.timer(1);
  rig.arm(timer, 20ms);
  rig.rearm(timer, 40ms);
  timer->disarm();
  rig.move_to(20ms);
  rig.pass();
  EXPECT_EQ(Recorder::asked, (AskedList{{"arm", 20, 20}}));
  EXPECT_EQ(rig.service().next_deadline(), kNever);
}

TEST_F(TimerService, EagerMovesTheNodeEveryTime) {
  Rig rig(kind(Rearm::eager));
  const TimerPtr timer = rig.timer(1);
  rig.arm(timer, 10ms);
  rig.rearm(timer, 10ms);
  rig.rearm(timer, 30ms);
  timer->disarm();
  rig.arm(timer, 5ms);
  EXPECT_EQ(Recorder::asked, (AskedList{{"arm", 10, 10},
                                        {"rearm", 10, 10},
                                        {"rearm", 30, 30},
                                        {"disarm", 30, 0},
                                        {"arm", 5, 5}}));
}

TEST_F(TimerService, WhenTheBackendCannotFileNothingHasChanged) {
  for (const Rearm rearm : {Rearm::lazy, Rearm::eager}) {
    Rig rig(kind(rearm));
    const TimerPtr idle = rig.timer(1);
    const TimerPtr armed = rig.timer(2);
    rig.arm(armed, 20ms);
    Recorder::fails = true;
    EXPECT_THROW(rig.arm(idle, 10ms), std::bad_alloc);
    EXPECT_THROW(rig.rearm(armed, 10ms), std::bad_alloc);
    Recorder::fails = false;
    EXPECT_FALSE(idle->armed());
    EXPECT_EQ(rig.service().counters().live(), 1U);
    EXPECT_EQ(rig.service().counters().moved, 1U);
    rig.move_to(19ms);
    rig.pass();
    EXPECT_TRUE(rig.log.empty());
    rig.move_to(20ms);
    rig.pass();
    EXPECT_EQ(rig.ids(), std::vector{2});
  }
}

// A fault that was found (CONTRACT.md, line 22): a rearm() that only stores took a timer that was
// no longer filed for one that is.
TEST_F(TimerService, ATimerThatCannotBeFiledAgainIsDisarmed) {
  Rig rig(kind(Rearm::lazy));
  const TimerPtr timer = rig.timer(1);
  rig.arm(timer, 10ms);
  rig.rearm(timer, 20ms);
  rig.move_to(10ms);
  Recorder::fails = true;
  EXPECT_THROW(rig.pass(), std::bad_alloc);
  Recorder::fails = false;
  EXPECT_FALSE(timer->armed());
  EXPECT_EQ(rig.service().counters().live(), 0U);
  rig.rearm(timer, 20ms);
  rig.move_to(30ms);
  rig.pass();
  EXPECT_EQ(rig.ids(), std::vector{1});
}

// What an action captured must stay readable to its end, though its timer is gone.
TEST_F(TimerService, AnActionOutlivesItsTimer) {
  using Service = timers::TimerService<OrderedList, VirtualClock>;
  std::uint64_t clock_ns = 0;
  Service service({}, VirtualClock{&clock_ns});
  struct Owner {
    std::unique_ptr<Service::Timer> timer;
    int ran = 0;
  } owner;
  owner.timer = std::make_unique<Service::Timer>(service, [&owner] {
    owner.timer.reset();
    ++owner.ran;
  });
  owner.timer->arm(0, service.now());
  EXPECT_EQ(service.run_due(), Pass::done);
  EXPECT_EQ(owner.ran, 1);
}

// Set up in one thread, run in another, torn down in the first after the join, in any order
// (CONTRACT.md, line 32).
TEST_P(TimerContract, IsSetUpRunAndTornDownByDifferentThreads) {
  for (const bool service_goes_first : {false, true}) {
    Rig rig(kind);
    const TimerPtr due = rig.timer(1);
    TimerPtr armed = rig.timer(2);
    TimerPtr disarmed = rig.timer(3);
    rig.arm(due, 1ms);
    rig.arm(armed, 1h);
    rig.arm(disarmed, 1h);
    std::thread([&] {
      rig.move_to(1ms);
      rig.pass();
      disarmed->disarm(); // a lazy one stays filed
      rig.rearm(armed, 2h);
    }).join();
    EXPECT_EQ(rig.ids(), std::vector{1});
    if (service_goes_first) {
      rig.destroy_service();
    }
    EXPECT_EQ(armed->disarm(), !service_goes_first);
    armed.reset();
    disarmed.reset();
  }
}

// Two threads take turns, ordered by a mutex (CONTRACT.md, line 32).
TEST_P(TimerContract, IsHandedOverBetweenThreadsByAMutex) {
  Rig rig(kind);
  std::mutex mutex;
  const auto take_turns = [&](int id) {
    for (int turn = 0; turn < 50; ++turn) {
      const std::lock_guard lock(mutex);
      const TimerPtr timer = rig.timer(id);
      rig.arm(timer, 1ms);
      rig.move_by(2ms);
      rig.pass();
    }
  };
  std::thread first(take_turns, 1);
  std::thread second(take_turns, 2);
  first.join();
  second.join();
  EXPECT_EQ(rig.log.size(), 100U);
}

#if !defined(NDEBUG)
// While an action runs, another thread uses the service (CONTRACT.md, line 32).
void use_during_an_action(const std::function<void(Rig&, const TimerPtr&)>& use) {
  Rig rig(service_kinds().front());
  const TimerPtr other = rig.timer(2);
  rig.arm(other, 1h);
  const TimerPtr timer = rig.timer([&] { std::thread([&] { use(rig, other); }).join(); });
  rig.arm(timer, 0ms);
  rig.pass();
}

TEST(TimerServiceDeathTest, StopsWhenTwoThreadsUseItAtOnce) {
  constexpr const char* kMessage = "two threads use a timer service at once";
  EXPECT_DEATH(use_during_an_action([](Rig& rig, auto&) { rig.service().now(); }), kMessage);
  EXPECT_DEATH(use_during_an_action([](Rig&, auto& other) { other->rearm(1, {}, 0); }), kMessage);
  EXPECT_DEATH(use_during_an_action([](Rig&, auto& other) { other->rearm(1, {}, 7); }), kMessage);
  EXPECT_DEATH(use_during_an_action([](Rig&, auto& other) { other->disarm(); }), kMessage);
  EXPECT_DEATH(use_during_an_action([](Rig& rig, auto&) { rig.pass(); }), kMessage);
  EXPECT_DEATH(use_during_an_action([](Rig& rig, auto&) { rig.destroy_service(); }), kMessage);
}

// The check is over when the action is, also when that destroys the service or throws.
TEST(TimerServiceDeathTest, AnotherThreadMayComeAfterAnActionThatThrew) {
  Rig rig(service_kinds().front());
  const TimerPtr timer = rig.timer([] { throw std::runtime_error("an action"); });
  rig.arm(timer, 0ms);
  EXPECT_THROW(rig.pass(), std::runtime_error);
  std::thread([&] { rig.pass(); }).join();
}
#endif

TEST_F(TimerService, ATickMustBeLongerThanZero) {
  EXPECT_THROW(Rig(kind(Rearm::lazy), 0, 0ns), std::invalid_argument);
  EXPECT_THROW(Rig(kind(Rearm::lazy), 0, -1ns), std::invalid_argument);
  EXPECT_NO_THROW(Rig(kind(Rearm::lazy), 0, 1ns));
}

// A turn of a wheel of 2^17 slots then takes 131 us. A timer beyond it is filed again once in a
// turn, and runs (CONTRACT.md, lines 6 and 7).
TEST(SimpleWheelOfNanoseconds, WakesUpOnceInATurnForALongTimer) {
  for (const Rearm rearm : {Rearm::lazy, Rearm::eager}) {
    std::uint64_t clock_ns = 0;
    using Service = timers::TimerService<SimpleWheel, VirtualClock>;
    Service service({.tick = 1ns, .rearm = rearm}, VirtualClock{&clock_ns});
    bool ran = false;
    Service::Timer timer(service, [&ran] { ran = true; });
    constexpr Ticks kTimeout = 1'000'000'000;
    timer.arm(service.timeout(1s), service.now());
    Ticks wake_ups = 0;
    for (; !ran && wake_ups <= kTimeout / SimpleWheel::kDefaultReach; ++wake_ups) {
      clock_ns = service.next_deadline();
      service.run_due();
    }
    EXPECT_TRUE(ran);
    EXPECT_EQ(clock_ns, kTimeout);
  }
}

TEST(SimpleWheelOfNanoseconds, RefusesATimeoutThatNeedsTooManySlots) {
  using Service = timers::TimerService<SimpleWheel>;
  EXPECT_THROW(Service({.tick = 1ns, .longest_timeout = 1s}), std::length_error);
  EXPECT_THROW(Service({.tick = 1ms, .longest_timeout = std::chrono::hours::max()}),
               std::length_error);
  EXPECT_NO_THROW(Service({.tick = 1ns, .longest_timeout = 1ms}));
}

TEST_F(TimerService, TimeoutsRoundUpToTicks) {
  Rig rig(kind(Rearm::lazy), 0, 10ms);
  const AnyService& service = rig.service();
  EXPECT_EQ(service.timeout(0ns), Ticks{0});
  EXPECT_EQ(service.timeout(-5s), Ticks{0});
  EXPECT_EQ(service.timeout(nanoseconds::min()), Ticks{0});
  EXPECT_EQ(service.timeout(1ns), Ticks{1});
  EXPECT_EQ(service.timeout(10ms), Ticks{1});
  EXPECT_EQ(service.timeout(10ms + 1ns), Ticks{2});
  EXPECT_EQ(service.timeout(kForever - 1ns), Ticks{922'337'203'686});
  EXPECT_EQ(service.timeout(kForever), kLatest);
}

TEST_F(TimerService, NowRoundsDownToSayWhatIsDueAndUpForDeadlines) {
  Rig rig(kind(Rearm::lazy), 777, 10ms);
  AnyService& service = rig.service();
  const auto now = [&](nanoseconds elapsed) {
    rig.move_to(elapsed);
    const Instant instant = service.now();
    return std::pair(instant.floor, instant.ceil);
  };
  EXPECT_EQ(now(0ns), std::pair(Tick{0}, Tick{0}));
  EXPECT_EQ(now(1ns), std::pair(Tick{0}, Tick{1}));
  EXPECT_EQ(now(10ms - 1ns), std::pair(Tick{0}, Tick{1}));
  EXPECT_EQ(now(10ms), std::pair(Tick{1}, Tick{1}));
  EXPECT_EQ(now(5ms), std::pair(Tick{1}, Tick{1}));
  EXPECT_EQ(now(10ms + 1ns), std::pair(Tick{1}, Tick{2}));
}

TEST_F(TimerService, TimeOfATickIsWhenItBeginsAndSaturates) {
  Rig rig(kind(Rearm::lazy), 777, 10ms);
  const AnyService& service = rig.service();
  EXPECT_EQ(service.time_of(0), 777ns);
  EXPECT_EQ(service.time_of(3), 30ms + 777ns);
  EXPECT_EQ(service.time_of(kLatest), kForever);
  Rig late(kind(Rearm::lazy), static_cast<std::uint64_t>(kForever.count()) - 5, 1ns);
  EXPECT_EQ(late.service().time_of(5), kForever);
  EXPECT_EQ(late.service().time_of(6), kForever);
}

// The clock may step back even to before the service began (CONTRACT.md, line 4).
TEST_P(TimerContract, AClockThatStepsBackBehindItsStartRunsNothing) {
  Rig rig(kind, 1'000'000'000);
  const TimerPtr timer = rig.timer(1);
  rig.arm(timer, 50ms);
  rig.move_to(-10ms);
  EXPECT_EQ(rig.service().now().floor, Tick{0});
  rig.pass();
  EXPECT_TRUE(rig.log.empty());
  rig.move_to(50ms);
  rig.pass();
  EXPECT_EQ(rig.log, (std::vector<LogEntry>{{50, 1}}));
}

// A timeout that overflows waits for ever, although the sum would wrap to a deadline that is later
// than the one it had, or to "disarmed" (CONTRACT.md, line 6).
TEST_P(TimerContract, AnOverdueTimerMovedByATimeoutThatOverflowsWaitsForEver) {
  constexpr Tick kNow = 100;
  for (const Ticks timeout : {kLatest - kNow, kNever - kNow, kNever}) {
    Rig rig(kind);
    const TimerPtr timer = rig.timer(1);
    rig.arm(timer, 5ms);
    rig.move_to_tick(kNow);
    timer->rearm(timeout, rig.service().now(), 0);
    rig.pass();
    EXPECT_TRUE(rig.log.empty()) << timeout;
    EXPECT_TRUE(timer->armed()) << timeout;
  }
}

// A destroyed timer is not written to, whether a wheel has moved it down or it ran; an address
// sanitizer sees it (CONTRACT.md, line 11).
TEST_P(TimerContract, ADestroyedTimerIsForgottenWhateverItWentThrough) {
  for (const nanoseconds until : {70ms, 100ms}) {
    Rig rig(kind);
    TimerPtr gone = rig.timer(1);
    rig.arm(gone, 100ms);
    rig.move_to(until);
    rig.pass();
    gone.reset();
    std::vector<TimerPtr> others;
    for (int id = 0; id < 100; ++id) {
      others.push_back(rig.timer(id));
      rig.arm(others.back(), 10ms);
    }
    EXPECT_EQ(rig.service().check(), "");
  }
}

} // namespace
} // namespace timers::test
