// The estimate is compared with counts: a loop on a clock moved by hand sleeps from one
// next_deadline() to the next, with every backend of the list as it is.
#include "timers/idle_wake_ups.hpp"

#include "timers/backends.hpp"
#include "timers/testing/testing.hpp"

#include <memory>
#include <random>

namespace timers::test {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kTimers = 200;
constexpr nanoseconds kTimeout = 120s;
constexpr nanoseconds kArming = 1s; // all timers are armed within this time, at any phase

struct Count {
  std::uint64_t idle_wake_ups = 0;
  double seconds = 0;
};

// Arms the timers, moves each later once, and counts while all of them wait: to the end of the
// timeout, or for four turns of a wheel with rounds.
template <class Backend> Count count_wake_ups(Rearm rearm, nanoseconds tick) {
  std::uint64_t clock_ns = 0;
  using Service = timers::TimerService<Backend, VirtualClock>;
  Service service({.tick = tick, .rearm = rearm, .longest_timeout = kTimeout},
                  VirtualClock{&clock_ns});
  std::vector<std::unique_ptr<typename Service::Timer>> timers;
  std::mt19937_64 random(1);
  const auto timeout = service.timeout(kTimeout);
  for (const nanoseconds begin : {nanoseconds(0), kArming}) {
    for (std::size_t i = 0; i < kTimers; ++i) {
      const auto step = static_cast<std::uint64_t>(kArming.count()) / kTimers;
      clock_ns = static_cast<std::uint64_t>(begin.count()) + i * step + random() % step;
      if (begin == 0ns) {
        timers.push_back(std::make_unique<typename Service::Timer>(service, [] {}));
      }
      timers[i]->rearm(timeout, service.now());
    }
  }
  const nanoseconds start = 2 * kArming;
  const nanoseconds four_turns =
      static_cast<std::int64_t>(4 * Backend::kInfo.ticks_per_turn) * tick;
  const nanoseconds window =
      Backend::kInfo.rounds() && four_turns < kTimeout - kArming ? four_turns : kTimeout - kArming;
  Count count{.seconds = std::chrono::duration<double>(window).count()};
  clock_ns = static_cast<std::uint64_t>(start.count());
  service.run_due();
  const Tick end = service.timeout(start + window);
  while (service.next_deadline() < end) {
    clock_ns = service.next_deadline() * static_cast<std::uint64_t>(tick.count());
    const std::uint64_t expired = service.counters().expired;
    service.run_due();
    count.idle_wake_ups += service.counters().expired == expired ? 1U : 0U;
  }
  return count;
}

class IdleWakeUps : public ::testing::TestWithParam<nanoseconds> {};
INSTANTIATE_TEST_SUITE_P(, IdleWakeUps, ::testing::Values(1us, 10us, 122us, 1ms, 10ms, 100ms),
                         [](const auto& test) {
                           return std::to_string(test.param.count()) + "ns";
                         });

TEST_P(IdleWakeUps, AreNoMoreThanTheEstimate) {
  for_each_backend(AllBackends(), [&]<class Backend>() {
    if (BackendWithReach<Backend> && GetParam() < 100us) {
      return; // it takes too many slots, or refuses them
    }
    for (const Rearm rearm : {Rearm::lazy, Rearm::eager}) {
      const Count count = count_wake_ups<Backend>(rearm, GetParam());
      const double estimate =
          count.seconds * idle_wake_ups_per_second(Backend::kInfo, rearm, GetParam(),
                                                   {.count = kTimers, .timeout = kTimeout});
      EXPECT_LE(static_cast<double>(count.idle_wake_ups), 1.05 * estimate + 2)
          << Backend::kInfo.name << ' ' << to_string(rearm);
      if (Backend::kInfo.rounds() && GetParam() <= 1ms) { // else the timers share few slots
        EXPECT_GE(static_cast<double>(count.idle_wake_ups), 0.8 * estimate - 2)
            << Backend::kInfo.name << ' ' << to_string(rearm);
      }
    }
  });
}

TEST(IdleWakeUpsPerSecond, GrowWithAShortTickOnlyForAWheelWithRounds) {
  for_each_backend(AllBackends(), []<class Backend>() {
    const auto at = [](nanoseconds tick) {
      return idle_wake_ups_per_second(Backend::kInfo, Rearm::lazy, tick,
                                      {.count = 1000, .timeout = kTimeout});
    };
    EXPECT_EQ(at(1us) > 1000, Backend::kInfo.rounds()) << Backend::kInfo.name;
    EXPECT_LT(at(1ms), 300) << Backend::kInfo.name;
  });
  EXPECT_NEAR(idle_wake_ups_per_second(HashedWheel::kInfo, Rearm::eager, 1us, {1000, kTimeout}),
              1000 / 0.004096, 20);
  EXPECT_NEAR(idle_wake_ups_per_second(HashedWheel::kInfo, Rearm::eager, 1ms, {20'000, kTimeout}),
              1000 + 20'000 / 120, 1);
}

TEST(IdleWakeUpsPerSecond, AreNoneWithoutTimers) {
  EXPECT_EQ(idle_wake_ups_per_second(HashedWheel::kInfo, Rearm::lazy, 1us, {0, kTimeout}), 0);
  EXPECT_EQ(idle_wake_ups_per_second(HashedWheel::kInfo, Rearm::lazy, 1us, {1000, 0s}), 0);
  EXPECT_LT(idle_wake_ups_per_second(HierarchicalWheel::kInfo, Rearm::lazy, 1ns, {1000, kForever}),
            1e-3);
}

} // namespace
} // namespace timers::test
