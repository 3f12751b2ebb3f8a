#include "server/idle_cost.hpp"

#include "timers/asio/baseline.hpp"
#include "timers/backends.hpp"
#include "timers/none.hpp"

#include <gmock/gmock.h>

#include <chrono>
#include <optional>
#include <string>

namespace server {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

struct Flags {
  std::chrono::nanoseconds tick = 1ms;
  std::chrono::nanoseconds idle_timeout = 120s;
  std::chrono::nanoseconds request_timeout = 30s;
  std::size_t max_connections = 0;
  timers::Rearm rearm = timers::Rearm::lazy;
};

std::optional<std::string> warning(const timers::BackendInfo& backend, const Flags& flags) {
  Options options;
  options.timer_backend = backend.name;
  options.tick = flags.tick;
  options.idle_timeout = flags.idle_timeout;
  options.request_timeout = flags.request_timeout;
  options.max_connections = flags.max_connections;
  options.rearm = flags.rearm;
  return idle_cost_warning(options, backend);
}

TEST(IdleCost, OfTheDefaultTickIsNoWarningWithAnyBackend) {
  for (const timers::Rearm rearm : {timers::Rearm::lazy, timers::Rearm::eager}) {
    timers::for_each_backend(timers::AllBackends{}, [&]<class Backend>() {
      EXPECT_EQ(warning(Backend::kInfo, {.rearm = rearm}), std::nullopt) << Backend::kInfo.name;
      EXPECT_EQ(warning(Backend::kInfo, {.max_connections = 20'000, .rearm = rearm}), std::nullopt)
          << Backend::kInfo.name;
    });
  }
}

TEST(IdleCost, OfAShortTickIsAWarningForTheWheelWithRoundsAlone) {
  timers::for_each_backend(timers::AllBackends{}, []<class Backend>() {
    const auto line = warning(Backend::kInfo, {.tick = 1us});
    EXPECT_EQ(line.has_value(), Backend::kInfo.rounds()) << line.value_or("");
  });
  EXPECT_EQ(warning(timers::AsioBaseline::kInfo, {.tick = 1us}), std::nullopt);
  EXPECT_EQ(warning(timers::None::kInfo, {.tick = 1ns, .idle_timeout = 1ns}), std::nullopt);
}

TEST(IdleCost, IsSaidWithWhatToChange) {
  EXPECT_EQ(warning(timers::HashedWheel::kInfo, {.tick = 1us}),
            "--tick 1us with --timer-backend hashed-wheel: 1000 idle connections wake a thread up "
            "to 490000 times a second; take --tick 1ms or longer, or --timer-backend "
            "hierarchical-wheel");
}

TEST(IdleCost, DependsOnTheTickAndTheConnections) {
  const auto& wheel = timers::HashedWheel::kInfo;
  EXPECT_TRUE(warning(wheel, {.tick = 240us}));
  EXPECT_FALSE(warning(wheel, {.tick = 260us}));
  EXPECT_FALSE(warning(wheel, {.tick = 100us, .max_connections = 250}));
  EXPECT_TRUE(warning(wheel, {.tick = 1us, .max_connections = 5}));
  EXPECT_THAT(*warning(wheel, {.tick = 250us, .max_connections = 10'000}),
              HasSubstr(": 10000 idle connections"));
}

// A request timer that was disarmed stays in the structure if re-arming is lazy.
TEST(IdleCost, IsThatOfTheTimersThatAreOn) {
  const auto& wheel = timers::HashedWheel::kInfo;
  EXPECT_FALSE(warning(wheel, {.tick = 1us, .idle_timeout = 0ns, .request_timeout = 0ns}));
  EXPECT_TRUE(warning(wheel, {.tick = 1us, .idle_timeout = 0ns}));
  EXPECT_FALSE(warning(wheel, {.tick = 1us, .idle_timeout = 0ns, .rearm = timers::Rearm::eager}));
  EXPECT_FALSE(warning(wheel, {.tick = 240us, .request_timeout = 0ns}));
  EXPECT_TRUE(warning(wheel, {.tick = 100us, .request_timeout = 0ns}));
}

// They expire, and their connections are closed.
TEST(IdleCost, OfShortTimeoutsIsNoWarningWithoutRounds) {
  for (const auto timeout : {1ms, 100ms, 400ms}) {
    EXPECT_FALSE(warning(timers::HierarchicalWheel::kInfo, {.tick = 1us, .idle_timeout = timeout}));
    EXPECT_FALSE(warning(timers::OrderedList::kInfo, {.tick = 1us, .idle_timeout = timeout}));
  }
}

} // namespace
} // namespace server
