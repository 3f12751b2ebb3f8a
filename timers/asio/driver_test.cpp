// The driver on a real io_context: waking in time, system calls and the end (CONTRACT.md, lines 24
// and 25). Every backend of the list runs behind AsioDriver, and AsioBaseline too where the line
// applies to it. "Not before" is exact; "after" is asked in seconds, because a machine may be
// busy.
#include "timers/asio/driver.hpp"

#include "timers/asio/baseline.hpp"
#include "timers/backends.hpp"
#include "timers/none.hpp"
#include "timers/testing/testing.hpp"
#include "timers/testing/timerfd_settimes.hpp"

#include <boost/asio/steady_timer.hpp>

#include <deque>
#include <stdexcept>
#include <thread>

namespace timers::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
namespace asio = boost::asio;

constexpr nanoseconds kPatience = 10s; // no wait is longer

class LoopTimer {
public:
  virtual ~LoopTimer() = default;
  virtual void rearm(Nanoseconds timeout) = 0;
  virtual bool disarm() = 0;
  virtual bool armed() const = 0;
};
using LoopTimerPtr = std::unique_ptr<LoopTimer>;

// A facility on its io_context, of whatever kind.
class AnyLoop {
public:
  virtual ~AnyLoop() = default;
  virtual LoopTimerPtr timer(std::function<void()> action) = 0;
  virtual const TimerCounters& counters() const = 0;
  virtual void stop() = 0;
};

template <class Facility> class LoopOf : public AnyLoop {
public:
  LoopOf(asio::io_context& io, DriverConfig config) : facility_(io.get_executor(), config) {}

  LoopTimerPtr timer(std::function<void()> action) override {
    return std::make_unique<TimerOf>(facility_, std::move(action));
  }
  const TimerCounters& counters() const override { return facility_.counters(); }
  void stop() override { facility_.stop(); }

private:
  class TimerOf : public LoopTimer {
  public:
    TimerOf(Facility& facility, std::function<void()> action)
        : facility_(facility), action_(std::move(action)),
          timer_(facility, [this] { run_copy(action_); }) {}
    void rearm(Nanoseconds timeout) override {
      timer_.rearm(facility_.timeout(timeout), facility_.now());
    }
    bool disarm() override { return timer_.disarm(); }
    bool armed() const override { return timer_.armed(); }

  private:
    Facility& facility_;
    std::function<void()> action_;
    typename Facility::Timer timer_;
  };

  Facility facility_;
};

struct LoopKind {
  const BackendInfo& info;
  Rearm rearm;
  std::unique_ptr<AnyLoop> (*make)(asio::io_context& io, DriverConfig config);
};

template <class Facility> LoopKind loop_kind(const BackendInfo& info, Rearm rearm) {
  return {info, rearm, [](asio::io_context& io, DriverConfig config) -> std::unique_ptr<AnyLoop> {
            return std::make_unique<LoopOf<Facility>>(io, config);
          }};
}

// Every backend of the list behind AsioDriver.
std::vector<LoopKind> driver_kinds() {
  std::vector<LoopKind> kinds;
  for_each_backend(AllBackends(), [&]<class Backend>() {
    kinds.push_back(loop_kind<AsioDriver<Backend>>(Backend::kInfo, Rearm::lazy));
    kinds.push_back(loop_kind<AsioDriver<Backend>>(Backend::kInfo, Rearm::eager));
  });
  return kinds;
}

// Those and Asio's own timers.
std::vector<LoopKind> loop_kinds() {
  std::vector<LoopKind> kinds = driver_kinds();
  kinds.push_back(loop_kind<AsioBaseline>(AsioBaseline::kInfo, Rearm::lazy));
  kinds.push_back(loop_kind<AsioBaseline>(AsioBaseline::kInfo, Rearm::eager));
  return kinds;
}

void PrintTo(const LoopKind& kind, std::ostream* out) { *out << test_id(kind.info, kind.rearm); }

std::string loop_id(const ::testing::TestParamInfo<LoopKind>& test) {
  return test_id(test.param.info, test.param.rearm);
}

class LoopContract : public ::testing::TestWithParam<LoopKind> {
protected:
  const LoopKind& kind = GetParam();
};
INSTANTIATE_TEST_SUITE_P(, LoopContract, ::testing::ValuesIn(loop_kinds()), loop_id);

// Those and the control, which runs nothing.
std::vector<LoopKind> facility_kinds() {
  std::vector<LoopKind> kinds = loop_kinds();
  kinds.push_back(loop_kind<timers::None>(timers::None::kInfo, Rearm::lazy));
  return kinds;
}

class FacilityContract : public LoopContract {};
INSTANTIATE_TEST_SUITE_P(, FacilityContract, ::testing::ValuesIn(facility_kinds()), loop_id);

class DriverContract : public LoopContract {};
INSTANTIATE_TEST_SUITE_P(, DriverContract, ::testing::ValuesIn(driver_kinds()), loop_id);

// An io_context and a facility on it.
class Loop {
public:
  explicit Loop(const LoopKind& kind, std::size_t budget = 256, nanoseconds tick = 1ms)
      : facility_(
            kind.make(io, {.service = {.tick = tick, .rearm = kind.rearm}, .budget = budget})) {}

  AnyLoop& facility() { return *facility_; }
  void destroy_facility() { facility_.reset(); }
  LoopTimerPtr timer(std::function<void()> action) { return facility_->timer(std::move(action)); }

  // Runs the loop until it is out of work; says whether that came in time.
  bool drains() {
    io.restart();
    io.run_for(kPatience);
    return io.stopped();
  }
  // Runs the loop until `done` or out of work; says whether it is done.
  bool runs_until(const std::function<bool()>& done) {
    io.restart();
    const auto limit = Clock::now() + kPatience;
    while (!done() && Clock::now() < limit && io.run_one_until(limit) > 0) {
    }
    return done();
  }

  asio::io_context io{1};

private:
  std::unique_ptr<AnyLoop> facility_;
};

// A timer runs in the loop, and not before its deadline (CONTRACT.md, lines 1 and 24).
TEST_P(LoopContract, RunsNotBeforeItsDeadlineAndThen) {
  Loop loop(kind);
  Clock::time_point ran;
  const LoopTimerPtr timer = loop.timer([&] { ran = Clock::now(); });
  const auto armed = Clock::now();
  timer->rearm(7ms + 300us);
  ASSERT_TRUE(loop.runs_until([&] { return !timer->armed(); }));
  EXPECT_GE(ran - armed, 7ms + 300us);
  EXPECT_EQ(loop.facility().counters().expired, 1U);
}

// An action that arms an earlier timer has the loop wake up for it in time (CONTRACT.md, line 24).
TEST_P(LoopContract, AnEarlierDeadlineArmedFromTheLoopWakesItInTime) {
  Loop loop(kind);
  const LoopTimerPtr far = loop.timer([] {});
  Clock::time_point armed;
  Clock::time_point ran;
  const LoopTimerPtr near = loop.timer([&] { ran = Clock::now(); });
  far->rearm(1h);
  loop.io.poll();
  asio::post(loop.io, [&] {
    armed = Clock::now();
    near->rearm(5ms);
  });
  ASSERT_TRUE(loop.runs_until([&] { return ran != Clock::time_point(); }));
  EXPECT_GE(ran - armed, 5ms);
  EXPECT_TRUE(far->armed());
}

// The loop wakes up where the timer was, and must sleep on to where it is (CONTRACT.md, line 24).
TEST_P(LoopContract, ATimerMovedLaterRunsAtItsLaterDeadline) {
  Loop loop(kind);
  std::vector<Clock::time_point> runs;
  const LoopTimerPtr timer = loop.timer([&] { runs.push_back(Clock::now()); });
  timer->rearm(2ms);
  const auto moved = Clock::now();
  timer->rearm(20ms);
  ASSERT_TRUE(loop.drains());
  ASSERT_EQ(runs.size(), 1U);
  EXPECT_GE(runs.front() - moved, 20ms);
}

// The OS timer is programmed again and again, over the edges of slots and levels, and none is
// missed (CONTRACT.md, line 24).
TEST_P(LoopContract, TimersOneAfterAnotherAllRun) {
  Loop loop(kind);
  std::vector<LoopTimerPtr> timers;
  std::vector<nanoseconds> early;
  const auto start = Clock::now();
  int ran = 0;
  for (const nanoseconds timeout : {0ms, 1ms, 3ms, 20ms, 63ms, 64ms, 66ms}) {
    timers.push_back(loop.timer([&, timeout] {
      ++ran;
      if (Clock::now() - start < timeout) {
        early.push_back(timeout);
      }
    }));
    timers.back()->rearm(timeout);
  }
  ASSERT_TRUE(loop.drains());
  EXPECT_EQ(ran, 7);
  EXPECT_TRUE(early.empty());
}

// A timeout that overflows, of whatever type, never comes due, and others do beside it
// (CONTRACT.md, line 6).
TEST_P(LoopContract, ADurationThatOverflowsNanosecondsNeverRuns) {
  for (const nanoseconds tick : {nanoseconds(1ms), nanoseconds(1us)}) {
    Loop loop(kind, 256, tick);
    int ran = 0;
    std::vector<LoopTimerPtr> timers;
    for (const Nanoseconds endless :
         {Nanoseconds(std::chrono::hours::max()), Nanoseconds(std::chrono::hours::max() / 10),
          Nanoseconds(nanoseconds::max()), Nanoseconds(std::chrono::duration<double>(1e300)),
          Nanoseconds(std::chrono::duration<std::uint64_t>(std::uint64_t{1} << 62))}) {
      timers.push_back(loop.timer([&] { ++ran; }));
      timers.back()->rearm(endless);
      timers.back()->rearm(endless);
    }
    const LoopTimerPtr other = loop.timer([] {});
    other->rearm(3ms);
    ASSERT_TRUE(loop.runs_until([&] { return !other->armed(); }));
    loop.io.poll();
    EXPECT_EQ(ran, 0);
    EXPECT_EQ(loop.facility().counters().live(), timers.size());
  }
}

TEST_P(LoopContract, AnActionMayArmItsTimerAgain) {
  Loop loop(kind);
  int left = 4;
  LoopTimerPtr timer;
  timer = loop.timer([&] {
    if (--left > 0) {
      timer->rearm(1ms);
    }
  });
  timer->rearm(1ms);
  ASSERT_TRUE(loop.drains());
  EXPECT_EQ(left, 0);
  EXPECT_EQ(loop.facility().counters().expired, 4U);
  EXPECT_EQ(loop.facility().counters().live(), 0U);
}

// A timer that was disarmed or destroyed never runs, and nothing runs after the end (CONTRACT.md,
// lines 8 and 25).
TEST_P(LoopContract, ADisarmedOrDestroyedTimerNeverRuns) {
  Loop loop(kind);
  int ran = 0;
  const LoopTimerPtr disarmed = loop.timer([&] { ++ran; });
  LoopTimerPtr destroyed = loop.timer([&] { ++ran; });
  EXPECT_FALSE(disarmed->disarm());
  disarmed->rearm(2ms);
  destroyed->rearm(2ms);
  EXPECT_TRUE(disarmed->disarm());
  destroyed.reset();
  EXPECT_FALSE(disarmed->disarm());
  ASSERT_TRUE(loop.drains());
  EXPECT_EQ(ran, 0);
  EXPECT_EQ(loop.facility().counters().disarmed, 2U);
}

// A timer that another disarms or destroys never runs, although the handlers of both may be in
// Asio's queue already (CONTRACT.md, lines 8 and 11).
TEST_P(LoopContract, WhicheverRunsFirstDisarmsOrDestroysTheOther) {
  for (const bool destroys : {false, true}) {
    Loop loop(kind);
    int ran = 0;
    std::vector<LoopTimerPtr> timers(2);
    for (std::size_t i = 0; i < 2; ++i) {
      timers[i] = loop.timer([&, i] {
        ++ran;
        if (destroys) {
          timers[1 - i].reset();
        } else {
          timers[1 - i]->disarm();
        }
      });
      timers[i]->rearm(1ms);
    }
    spin_until(Clock::now() + 5ms); // both come due before the loop looks
    ASSERT_TRUE(loop.drains());
    EXPECT_EQ(ran, 1);
  }
}

// A timer that another moves waits for its new deadline, although the handlers of both may be in
// Asio's queue already (CONTRACT.md, line 9).
TEST_P(LoopContract, WhicheverRunsFirstMovesTheOther) {
  Loop loop(kind);
  Clock::time_point moved;
  std::vector<Clock::time_point> runs;
  std::vector<LoopTimerPtr> timers(2);
  for (std::size_t i = 0; i < 2; ++i) {
    timers[i] = loop.timer([&, i] {
      runs.push_back(Clock::now());
      if (runs.size() == 1) {
        moved = Clock::now();
        timers[1 - i]->disarm();
        timers[1 - i]->rearm(10ms);
      }
    });
    timers[i]->rearm(1ms);
  }
  spin_until(Clock::now() + 5ms);
  ASSERT_TRUE(loop.drains());
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_GE(runs[1] - moved, 10ms);
}

// An action that throws keeps no other timer from running (CONTRACT.md, line 14).
TEST_P(LoopContract, AnActionThatThrowsLeavesTheOthersToRun) {
  Loop loop(kind);
  int ran = 0;
  std::vector<LoopTimerPtr> timers;
  for (int i = 0; i < 3; ++i) {
    timers.push_back(loop.timer([&] {
      if (++ran == 1) {
        throw std::runtime_error("an action");
      }
    }));
    timers.back()->rearm(1ms);
  }
  EXPECT_THROW(loop.io.run_for(kPatience), std::runtime_error);
  ASSERT_TRUE(loop.drains());
  EXPECT_EQ(ran, 3);
}

// After stop() the loop ends although timers are armed (CONTRACT.md, line 25).
TEST_P(FacilityContract, StoppedWithTimersArmedTheIoContextDrains) {
  Loop loop(kind);
  int ran = 0;
  std::vector<LoopTimerPtr> timers;
  for (const nanoseconds timeout : {nanoseconds(1h), nanoseconds(30min), nanoseconds(2h)}) {
    timers.push_back(loop.timer([&] { ++ran; }));
    timers.back()->rearm(timeout);
  }
  loop.io.poll();
  loop.facility().stop();
  const auto start = Clock::now();
  ASSERT_TRUE(loop.drains());
  timers.front()->rearm(1ms); // may still be armed, and does not run
  timers.back()->disarm();
  timers.back()->rearm(0ms);
  ASSERT_TRUE(loop.drains());
  EXPECT_LT(Clock::now() - start, kPatience);
  EXPECT_EQ(ran, 0);
}

// The loop ends as a server ends: stop(), then the connections go, each with its timers
// (CONTRACT.md, line 25).
TEST_P(LoopContract, StoppedAndWithoutTimersTheIoContextDrains) {
  Loop loop(kind);
  std::deque<LoopTimerPtr> timers;
  int ran = 0;
  for (int i = 0; i < 50; ++i) {
    timers.push_back(loop.timer([&] { ++ran; }));
    timers.back()->rearm(i % 2 == 0 ? nanoseconds(1h) : nanoseconds(30min));
  }
  loop.io.poll();
  loop.facility().stop();
  timers.clear();
  const auto start = Clock::now();
  ASSERT_TRUE(loop.drains());
  EXPECT_LT(Clock::now() - start, kPatience);
  EXPECT_EQ(ran, 0);
}

// Timers may outlive their facility, whatever their state: they are disarmed, and then destroyed
// (CONTRACT.md, line 31).
TEST_P(FacilityContract, TimersMayOutliveTheFacility) {
  Loop loop(kind);
  int ran = 0;
  std::vector<LoopTimerPtr> timers;
  for (int i = 0; i < 5; ++i) {
    timers.push_back(loop.timer([&] { ++ran; }));
  }
  timers[0]->rearm(1h);
  timers[1]->rearm(0ms); // its handler may be queued
  timers[2]->rearm(1h);
  timers[2]->disarm();
  timers[3]->rearm(1ms);
  timers[3]->rearm(2h); // lazily: filed at another place than where it is due
  loop.io.poll();
  ran = 0;
  loop.destroy_facility();
  for (const LoopTimerPtr& timer : timers) {
    EXPECT_FALSE(timer->armed());
    EXPECT_FALSE(timer->disarm());
  }
  ASSERT_TRUE(loop.drains()) << "a timer without a facility keeps the loop busy";
  EXPECT_EQ(ran, 0);
  timers.pop_back();
  timers.clear();
  ASSERT_TRUE(loop.drains());
}

// The action of a timer may destroy the facility, with other timers due and a pass to follow
// (CONTRACT.md, lines 13, 25 and 31).
TEST_P(LoopContract, AnActionMayDestroyTheFacilityBeforeItsTimers) {
  for (const nanoseconds timeout : {0ms, 1ms}) {
    for (const std::size_t budget : {std::size_t{1}, std::size_t{256}}) {
      Loop loop(kind, budget);
      int ran = 0;
      std::vector<LoopTimerPtr> timers;
      for (int i = 0; i < 3; ++i) {
        timers.push_back(loop.timer([&] {
          ++ran;
          loop.destroy_facility();
        }));
        timers.back()->rearm(timeout);
      }
      timers.push_back(loop.timer([&] { ++ran; }));
      timers.back()->rearm(1h);
      ASSERT_TRUE(loop.drains());
      EXPECT_EQ(ran, 1);
      EXPECT_FALSE(timers.back()->armed());
    }
  }
}

// The facility may go while handlers are still in Asio's queue (CONTRACT.md, line 25).
TEST_P(LoopContract, TheIoContextMayOutliveTheFacility) {
  Loop loop(kind);
  int ran = 0;
  LoopTimerPtr timer = loop.timer([&] { ++ran; });
  timer->rearm(0ms);
  timer->rearm(1ms);
  timer.reset();
  loop.destroy_facility();
  ASSERT_TRUE(loop.drains());
  EXPECT_EQ(ran, 0);
}

// Set up in one thread, run in another, torn down in the first after the join, in any order
// (CONTRACT.md, line 32).
TEST_P(FacilityContract, IsSetUpRunAndTornDownByDifferentThreads) {
  for (const bool facility_goes_first : {false, true}) {
    Loop loop(kind);
    std::vector<LoopTimerPtr> timers;
    for (int i = 0; i < 3; ++i) {
      timers.push_back(loop.timer([] {}));
    }
    timers[0]->rearm(1ms);
    timers[1]->rearm(1h);
    std::thread([&] {
      loop.runs_until([&] { return !timers[0]->armed(); });
      timers[2]->rearm(2h);
      timers[1]->disarm();
    }).join();
    EXPECT_FALSE(timers[0]->armed());
    if (facility_goes_first) {
      loop.destroy_facility();
    }
    timers.clear();
  }
}

// An idle timer that each request moves later costs no system call, by count (CONTRACT.md, line
// 24).
TEST_P(DriverContract, ALaterDeadlineCostsNoSystemCall) {
  Loop loop(kind);
  std::vector<LoopTimerPtr> timers;
  for (int i = 0; i < 20; ++i) {
    timers.push_back(loop.timer([] {}));
    timers.back()->rearm(1h);
  }
  loop.io.poll();
  const std::size_t before = timerfd_settimes;
  for (int i = 0; i < 2000; ++i) {
    timers[static_cast<std::size_t>(i) % timers.size()]->rearm(1h + i * 1ms);
    loop.io.poll();
  }
  EXPECT_EQ(timerfd_settimes - before, 0U);
  timers.front()->rearm(0ns); // earlier than any tick that may be programmed
  loop.io.poll();
  EXPECT_GE(timerfd_settimes - before, 1U) << "the count sees nothing";
}

// Nor does a request timer that is armed and disarmed beside it (CONTRACT.md, line 24).
TEST_P(DriverContract, ArmingAndDisarmingCostsNoSystemCallInTheLongRun) {
  Loop loop(kind);
  const LoopTimerPtr idle = loop.timer([] {});
  const LoopTimerPtr request = loop.timer([] {});
  idle->rearm(2h);
  request->rearm(1h);
  request->disarm();
  loop.io.poll();
  const std::size_t before = timerfd_settimes;
  for (int i = 0; i < 2000; ++i) {
    request->rearm(1h + 1ms + i * 1ms);
    request->disarm();
    idle->rearm(2h);
    loop.io.poll();
  }
  EXPECT_EQ(timerfd_settimes - before, 0U);
}

// Two timers have expired when the loop looks, but the end comes first: neither runs (CONTRACT.md,
// line 25).
TEST_P(LoopContract, NothingRunsAfterTheEndThoughItsHandlerIsQueued) {
  for (const bool destroys : {false, true}) {
    Loop loop(kind);
    int ran = 0;
    LoopTimerPtr timer = loop.timer([&] { ++ran; });
    asio::steady_timer end(loop.io, Clock::now());
    end.async_wait([&](boost::system::error_code) {
      if (destroys) {
        timer.reset();
        loop.destroy_facility();
      } else {
        loop.facility().stop();
      }
    });
    timer->rearm(0ms);
    spin_until(Clock::now() + 4ms);
    ASSERT_TRUE(loop.drains());
    EXPECT_EQ(ran, 0);
  }
}

// The driver may go while its next pass is queued (CONTRACT.md, lines 15 and 25).
TEST_P(DriverContract, TheDriverMayGoBetweenTwoPasses) {
  Loop loop(kind, 1);
  int ran = 0;
  std::vector<LoopTimerPtr> timers;
  for (int i = 0; i < 3; ++i) {
    timers.push_back(loop.timer([&] {
      ++ran;
      asio::post(loop.io, [&] {
        timers.clear();
        loop.destroy_facility();
      });
    }));
    timers.back()->rearm(0ms);
  }
  ASSERT_TRUE(loop.drains());
  EXPECT_EQ(ran, 1);
}

// A storm of expiries is handled in passes, and other handlers have their turn between them
// (CONTRACT.md, lines 15 and 30).
TEST_P(DriverContract, AStormOfExpiriesLeavesRoomForOtherHandlers) {
  constexpr std::size_t kBudget = 16;
  constexpr int kTimers = 500;
  Loop loop(kind, kBudget);
  std::size_t in_pass = 0;
  std::size_t longest = 0;
  int ran = 0;
  std::vector<LoopTimerPtr> timers;
  for (int i = 0; i < kTimers; ++i) {
    timers.push_back(loop.timer([&] {
      ++ran;
      longest = std::max(longest, ++in_pass);
    }));
    timers.back()->rearm(1ms);
  }
  std::function<void()> other = [&] {
    in_pass = 0;
    if (ran < kTimers) {
      asio::post(loop.io, other);
    }
  };
  asio::post(loop.io, other);
  ASSERT_TRUE(loop.runs_until([&] { return ran == kTimers; }));
  EXPECT_LE(longest, kBudget);
}

TEST(None, NeverRunsAndKeepsNothingBusy) {
  asio::io_context io{1};
  LoopOf<timers::None> none(io, {});
  int ran = 0;
  const LoopTimerPtr timer = none.timer([&] { ++ran; });
  timer->rearm(0ms);
  EXPECT_FALSE(timer->armed());
  EXPECT_FALSE(timer->disarm());
  io.run_for(kPatience);
  EXPECT_TRUE(io.stopped());
  EXPECT_EQ(ran, 0);
  EXPECT_EQ(none.counters().armed, 0U);
}

} // namespace
} // namespace timers::test
