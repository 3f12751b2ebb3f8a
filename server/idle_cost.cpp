#include "server/idle_cost.hpp"

#include "server/quantity.hpp"
#include "timers/backends.hpp"
#include "timers/idle_wake_ups.hpp"
#include "timers/none.hpp"

#include <cmath>
#include <cstdint>

namespace server {
namespace {

timers::IdleTimers idle_timers(const Options& options) {
  return {.count = options.max_connections != 0 ? options.max_connections : kAssumedConnections,
          .timeout = options.idle_timeout};
}

double wake_ups(const Options& options, const timers::BackendInfo& backend,
                timers::Nanoseconds tick) {
  return timers::idle_wake_ups_per_second(backend, options.rearm, tick, idle_timers(options));
}

// The first of ten times, a hundred times… the tick that keeps the number small.
timers::Nanoseconds long_enough_tick(const Options& options, const timers::BackendInfo& backend) {
  timers::Nanoseconds tick = options.tick;
  while (wake_ups(options, backend, tick) > kManyIdleWakeUps) {
    tick = tick * 10;
  }
  return tick;
}

// Two digits are as much as an estimate has.
std::uint64_t rounded(double number) {
  const double unit = std::pow(10, std::floor(std::log10(number)) - 1);
  return static_cast<std::uint64_t>(std::round(number / unit) * unit);
}

} // namespace

std::optional<std::string> idle_cost_warning(const Options& options,
                                             const timers::BackendInfo& backend) {
  const double each_second = wake_ups(options, backend, options.tick);
  if (backend.name == timers::None::kInfo.name || each_second <= kManyIdleWakeUps) {
    return std::nullopt;
  }
  std::string line = "--tick " + format_duration(options.tick) + " with --timer-backend " +
                     std::string(backend.name) + ": " + std::to_string(idle_timers(options).count) +
                     " idle connections wake a thread up to " +
                     std::to_string(rounded(each_second)) + " times a second; take --tick " +
                     format_duration(long_enough_tick(options, backend)) + " or longer";
  if (backend.rounds()) {
    line += ", or --timer-backend " + std::string(timers::DefaultBackend::kInfo.name);
  }
  return line;
}

} // namespace server
