// Periodic timers, for every backend of the list in both ways to re-arm, with a clock moved by hand
// (CONTRACT.md, lines 46 to 48), and once with the driver. In the last test but one random
// operations are compared with a plain model.
#include "timers/periodic_timer.hpp"

#include "timers/asio/driver.hpp"
#include "timers/hierarchical_wheel.hpp"
#include "timers/testing/testing.hpp"

#include <boost/asio/io_context.hpp>

#include <random>
#include <stdexcept>

namespace timers::test {
namespace {

using namespace std::chrono_literals;

using Periodic = PeriodicTimer<AnyFacility>;

static_assert(TickingFacility<AnyFacility>);
static_assert(TickingFacility<AsioDriver<HierarchicalWheel>>);
static_assert(TickingFacility<timers::TimerService<HierarchicalWheel>>);

constexpr nanoseconds kTick = 1ms;

// The first tick that begins at `time` or later.
Tick tick_after(nanoseconds time) {
  return static_cast<Tick>(time / kTick + (time % kTick > 0ns ? 1 : 0));
}

// A rig, a periodic timer in it, and what that did: in which tick, and how many it had missed.
class PeriodicTimers : public ::testing::TestWithParam<ServiceKind> {
protected:
  using Run = std::pair<Tick, std::uint64_t>;

  // An action is one pointer, so it is this one. What a test wants to happen too is `then`.
  void make() {
    timer = std::make_unique<Periodic>(facility, [this] {
      runs.emplace_back(rig.service().now().floor, timer->missed());
      if (then) {
        then();
      }
    });
  }
  void SetUp() override { make(); }

  void start(Nanoseconds period) { timer->start(period, facility.now()); }
  void run_at(nanoseconds time) {
    rig.move_to(time);
    EXPECT_EQ(rig.pass(), Pass::done);
  }
  // Lets a pass run in each tick.
  void run_through(Tick first, Tick last) {
    for (Tick tick = first; tick <= last; ++tick) {
      run_at(static_cast<std::int64_t>(tick) * kTick);
    }
  }

  const ServiceKind& kind = GetParam();
  Rig rig{kind};
  AnyFacility facility{rig.service()};
  std::vector<Run> runs;
  std::function<void()> then;
  std::unique_ptr<Periodic> timer;
};
INSTANTIATE_TEST_SUITE_P(, PeriodicTimers, ::testing::ValuesIn(service_kinds()), service_id);

// It runs in the first tick at or after start + k * period and in no tick before, although the
// period is no whole number of ticks; after hours too (CONTRACT.md, line 46).
TEST_P(PeriodicTimers, DoNotDriftAndAreNeverEarly) {
  for (const nanoseconds period : {nanoseconds(16'667us), 1'000'001ns, 7'999'999ns}) {
    Rig one(kind);
    AnyFacility its_facility(one.service());
    int ran = 0;
    Periodic each(its_facility, [&ran] { ++ran; });
    one.move_to(50'300us);
    each.start(period, its_facility.now());
    const nanoseconds start = 51ms; // the start is rounded up
    for (const std::int64_t first : {1, 1'000'000}) {
      one.move_to(start + first * period - period / 2);
      one.pass();
      ran = 0;
      for (std::int64_t k = first; k < first + 1500; ++k) {
        const nanoseconds due = static_cast<std::int64_t>(tick_after(start + k * period)) * kTick;
        one.move_to(due - 1ns);
        one.pass();
        ASSERT_EQ(ran, k - first) << period.count() << " ns, early at " << k;
        one.move_to(due);
        one.pass();
        ASSERT_EQ(ran, k - first + 1) << period.count() << " ns, late at " << k;
        ASSERT_EQ(each.missed(), 0U);
      }
    }
  }
}

// Late runs do not move the others (CONTRACT.md, line 46).
TEST_P(PeriodicTimers, StayOnTheirGridWhenRunsAreLate) {
  start(10ms);
  run_at(13ms);
  run_at(20ms);
  run_at(29ms);
  run_at(30ms);
  EXPECT_EQ(runs, (std::vector<Run>{{13, 0}, {20, 0}, {30, 0}}));
}

// One run stands for all that came meanwhile, and knows how many, also after hours in which nothing
// ran (CONTRACT.md, line 47).
TEST_P(PeriodicTimers, RunOnceForAllThatTheyMissed) {
  start(10ms);
  run_at(35ms);
  run_at(39ms);
  run_at(40ms);
  run_at(49'999'999ns);
  EXPECT_EQ(runs, (std::vector<Run>{{35, 2}, {40, 0}}));
  run_at(5h);
  run_at(5h);
  run_at(5h + 9ms);
  run_at(5h + 10ms);
  const Tick five_hours = 5 * 3'600'000;
  EXPECT_EQ(runs, (std::vector<Run>{
                      {35, 2}, {40, 0}, {five_hours, five_hours / 10 - 5}, {five_hours + 10, 0}}));
  timer->start(10ms, facility.now());
  EXPECT_EQ(timer->missed(), 0U);
}

// What passes while an action runs counts as missed by the next run (CONTRACT.md, line 47).
TEST_P(PeriodicTimers, CountWhatPassesDuringTheirAction) {
  then = [&] { rig.move_by(25ms); };
  start(10ms);
  run_at(10ms); // until 35 ms, by when those at 20 and 30 have come
  then = nullptr;
  run_at(36ms);
  run_at(40ms);
  EXPECT_EQ(runs, (std::vector<Run>{{10, 0}, {36, 1}, {40, 0}}));
}

// Several occurrences of one tick have one run; none is lost or counted twice (CONTRACT.md, line
// 47).
TEST_P(PeriodicTimers, MayHaveAPeriodBelowATick) {
  start(300us);
  run_through(1, 60);
  ASSERT_EQ(runs.size(), 60U);
  std::uint64_t occurrences = 0;
  for (const auto& [tick, missed] : runs) {
    occurrences += 1 + missed;
    EXPECT_EQ(occurrences, tick * 1000 / 300);
  }
}

TEST_P(PeriodicTimers, StopInTheirOwnActionAndOutside) {
  start(10ms);
  EXPECT_TRUE(timer->running());
  then = [&] {
    EXPECT_TRUE(timer->running());
    if (runs.size() == 2) {
      EXPECT_TRUE(timer->stop());
      EXPECT_FALSE(timer->stop());
    }
  };
  run_through(1, 60);
  EXPECT_EQ(runs, (std::vector<Run>{{10, 0}, {20, 0}}));
  EXPECT_FALSE(timer->running());
  start(10ms); // at 60
  rig.move_to(75ms);
  EXPECT_TRUE(timer->stop()) << "due";
  run_through(75, 100);
  EXPECT_EQ(runs.size(), 2U);
}

// (CONTRACT.md, line 48)
TEST_P(PeriodicTimers, MayBeDestroyedInTheirOwnAction) {
  then = [&] {
    if (runs.size() == 2) {
      timer.reset();
    }
  };
  start(10ms);
  run_through(1, 60);
  EXPECT_EQ(runs, (std::vector<Run>{{10, 0}, {20, 0}}));
  then = [&] { rig.destroy_service(); };
  make();
  start(10ms); // at 60
  rig.move_to(70ms);
  EXPECT_EQ(rig.pass(), Pass::destroyed);
  EXPECT_FALSE(timer->running());
}

// (CONTRACT.md, line 48)
TEST_P(PeriodicTimers, GoOnWhenTheirActionThrows) {
  then = [&] { throw std::runtime_error("an action"); };
  start(10ms);
  rig.move_to(10ms);
  EXPECT_THROW(rig.pass(), std::runtime_error);
  then = nullptr;
  run_through(10, 20);
  EXPECT_EQ(runs, (std::vector<Run>{{10, 0}, {20, 0}}));
}

// A new period counts from the latest occurrence, however late its run was (CONTRACT.md, line 48).
TEST_P(PeriodicTimers, ChangeTheirPeriodFromTheLatestOccurrence) {
  start(10ms);
  run_at(7ms);
  timer->change_period(15ms); // from the start
  run_through(8, 15);
  then = [&] {
    if (runs.size() == 2) {
      timer->change_period(4ms); // from 30, although it is 33: at 34
    }
  };
  run_at(33ms);
  run_at(34ms);
  rig.move_to(37ms);
  timer->change_period(1ms); // those at 35, 36 and 37 have passed
  run_at(37ms);
  run_at(38ms);
  EXPECT_EQ(runs, (std::vector<Run>{{15, 0}, {33, 0}, {34, 0}, {37, 2}, {38, 0}}));
  timer->stop();
  timer->change_period(1ms);
  EXPECT_FALSE(timer->running());
}

TEST_P(PeriodicTimers, MayStartAnewInTheirAction) {
  then = [&] { start(nanoseconds(runs.size() * 5ms)); };
  start(10ms);
  run_through(1, 40);
  EXPECT_EQ(runs, (std::vector<Run>{{10, 0}, {15, 0}, {25, 0}, {40, 0}}));
}

// (CONTRACT.md, line 48)
TEST_P(PeriodicTimers, RefuseAPeriodThatIsNotLongerThanZero) {
  EXPECT_THROW(start(0s), std::invalid_argument);
  EXPECT_THROW(start(-1s), std::invalid_argument);
  EXPECT_FALSE(timer->running());
  EXPECT_THROW(timer->change_period(0s), std::invalid_argument);
  start(10ms);
  EXPECT_THROW(start(0s), std::invalid_argument);
  EXPECT_THROW(timer->change_period(-1ns), std::invalid_argument);
  run_through(1, 20);
  EXPECT_EQ(runs, (std::vector<Run>{{10, 0}, {20, 0}}));
}

// What lies beyond 292 years after the start, or the end of the clock, never occurs (CONTRACT.md,
// line 48).
TEST_P(PeriodicTimers, EndWithTime) {
  const nanoseconds end = kForever / kTick * kTick;
  const nanoseconds half = (end / 2 / kTick + 1) * kTick;
  start(half);
  run_at(half - kTick);
  EXPECT_TRUE(runs.empty());
  run_at(half);
  EXPECT_EQ(runs.size(), 1U);
  Periodic longest(facility, [this] { runs.clear(); });
  longest.start(std::chrono::hours::max(), facility.now());
  Periodic past_the_end(facility, [this] { runs.clear(); });
  past_the_end.start(end - half, facility.now());
  past_the_end.change_period(kForever);
  run_at(end - kTick);
  run_at(end);
  EXPECT_EQ(runs.size(), 1U);
  EXPECT_TRUE(timer->running());
  EXPECT_TRUE(longest.running());
  EXPECT_TRUE(past_the_end.stop());
}

// The plain model of a periodic timer: occurrences are added up one by one.
struct Model {
  bool running = false;
  nanoseconds start{};
  nanoseconds latest{};
  nanoseconds period{};
  Tick deadline = 0;

  // `earliest`: the first tick in which a pass may still come.
  void follow(Tick earliest) {
    running = true;
    deadline = std::max(tick_after(start + latest + period), earliest);
  }
};

// Random operations on three timers, half of them in their actions, do what the model says
// (CONTRACT.md, lines 46 to 48).
TEST_P(PeriodicTimers, EqualTheModelUnderRandomOperations) {
  constexpr std::array<nanoseconds, 6> kPeriods = {300us, 1ms, 16'667us, 10ms, 64ms, 1'234'567ns};
  for (unsigned seed = 1; seed <= 25; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    Rig one(kind);
    AnyFacility its_facility(one.service());
    std::array<Model, 3> models;
    std::array<std::unique_ptr<Periodic>, 3> timers;
    Tick earliest = 0; // in which a timer that is armed now may run
    const auto operate = [&](std::size_t i) {
      const nanoseconds period = kPeriods[random() % kPeriods.size()];
      Model& model = models[i];
      switch (random() % 3) {
      case 0:
        timers[i]->start(period, its_facility.now());
        model.start = static_cast<std::int64_t>(tick_after(one.elapsed())) * kTick;
        model.latest = 0ns;
        model.period = period;
        model.follow(earliest);
        break;
      case 1:
        ASSERT_EQ(timers[i]->stop(), model.running);
        model.running = false;
        break;
      default:
        timers[i]->change_period(period);
        if (model.running) {
          model.period = period;
          model.follow(earliest);
        }
      }
    };
    const auto on_run = [&](std::size_t i) {
      Model& model = models[i];
      const Tick tick = one.service().now().floor;
      ASSERT_TRUE(model.running);
      ASSERT_LE(model.deadline, tick) << "early";
      std::uint64_t occurrences = 0;
      while (model.start + model.latest + model.period <= static_cast<std::int64_t>(tick) * kTick) {
        model.latest += model.period;
        ++occurrences;
      }
      ASSERT_EQ(timers[i]->missed() + 1, occurrences);
      model.follow(earliest);
      if (random() % 2 == 0) {
        operate(i);
      }
    };
    using OnRun = decltype(on_run);
    struct Context {
      const OnRun& on_run;
      std::size_t which;
    };
    std::array<Context, 3> contexts{{{on_run, 0}, {on_run, 1}, {on_run, 2}}};
    for (std::size_t i = 0; i < timers.size(); ++i) {
      timers[i] = std::make_unique<Periodic>(
          its_facility, [context = &contexts[i]] { context->on_run(context->which); });
    }
    for (int step = 0; step < 400 && !HasFatalFailure(); ++step) {
      earliest = 0;
      if (random() % 4 == 0) {
        operate(random() % timers.size());
      }
      one.move_by(nanoseconds(random() % (random() % 16 == 0 ? 500'000'000 : 4'000'000)));
      const Tick tick = one.service().now().floor;
      earliest = tick + 1;
      one.pass();
      for (std::size_t i = 0; i < timers.size(); ++i) {
        ASSERT_EQ(timers[i]->running(), models[i].running);
        ASSERT_FALSE(models[i].running && models[i].deadline <= tick)
            << "timer " << i << " is late";
      }
    }
  }
}

// An io_context runs it, and runs out when it destroys itself.
TEST(PeriodicTimerOfADriver, RunsAndEnds) {
  boost::asio::io_context io{1};
  using Driver = AsioDriver<HierarchicalWheel>;
  Driver driver{io.get_executor()};
  struct Owner {
    void run() {
      occurrences += 1 + timer->missed();
      if (occurrences >= 5) {
        ended = std::chrono::steady_clock::now();
        timer.reset();
      }
    }
    std::uint64_t occurrences = 0;
    std::chrono::steady_clock::time_point ended;
    std::unique_ptr<PeriodicTimer<Driver>> timer;
  } owner;
  owner.timer = std::make_unique<PeriodicTimer<Driver>>(driver, [&owner] { owner.run(); });
  const auto begin = std::chrono::steady_clock::now();
  owner.timer->start(2ms, driver.now());
  EXPECT_EQ(driver.tick(), 1ms);
  io.run();
  EXPECT_GE(owner.occurrences, 5U);
  EXPECT_GE(owner.ended - begin, owner.occurrences * 2ms);
}

} // namespace
} // namespace timers::test
