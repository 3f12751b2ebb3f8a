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
  std::size_t max_connections = 0;
  timers::Rearm rearm = timers::Rearm::lazy;
};

std::optional<std::string> warning(const timers::BackendInfo& backend, const Flags& flags) {
  Options options;
  options.timer_backend = backend.name;
  options.tick = flags.tick;
  options.idle_timeout = flags.idle_timeout;
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
            "to 240000 times a second; take --tick 1ms or longer, or --timer-backend "
            "hierarchical-wheel");
}

TEST(IdleCost, DependsOnTheTickAndTheConnections) {
  const auto& wheel = timers::HashedWheel::kInfo;
  EXPECT_TRUE(warning(wheel, {.tick = 100us}));
  EXPECT_FALSE(warning(wheel, {.tick = 125us}));
  EXPECT_FALSE(warning(wheel, {.tick = 100us, .max_connections = 500}));
  EXPECT_THAT(*warning(wheel, {.tick = 250us, .max_connections = 10'000}),
              HasSubstr(": 10000 idle connections"));
  EXPECT_FALSE(warning(wheel, {.tick = 1us, .idle_timeout = 0ns})) << "no idle timers";
}

// With a very short idle timeout the timers of every backend come round that often.
TEST(IdleCost, DependsOnTheTimeout) {
  const auto line = warning(timers::HierarchicalWheel::kInfo, {.tick = 1us, .idle_timeout = 100ms});
  ASSERT_TRUE(line);
  EXPECT_THAT(*line, HasSubstr("or longer"));
  EXPECT_THAT(*line, ::testing::Not(HasSubstr(", or --timer-backend")));
}

} // namespace
} // namespace server
