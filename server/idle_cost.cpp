#include "server/idle_cost.hpp"

#include "server/quantity.hpp"
#include "timers/backends.hpp"
#include "timers/idle_wake_ups.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>

namespace server {
namespace {

std::size_t connections(const Options& options) {
  return options.max_connections != 0 ? options.max_connections : kAssumedConnections;
}

// The timers that idle connections leave in the structure. With lazy re-arming the request timer of
// the last request stays there until its time is over.
timers::IdleTimers idle_timers(const Options& options) {
  timers::IdleTimers all{.count = 0, .timeout = timers::kForever};
  const auto add = [&](timers::Nanoseconds timeout) {
    if (timeout.count() != 0) {
      all.count += connections(options);
      all.timeout = std::min<std::chrono::nanoseconds>(all.timeout, timeout);
    }
  };
  add(options.idle_timeout);
  if (options.rearm == timers::Rearm::lazy) {
    add(options.request_timeout);
  }
  return all;
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

// Where a wheel has no rounds, a timer of an idle connection causes a few wake-ups before it
// expires and closes the connection, and no more.
std::optional<std::string> idle_cost_warning(const Options& options,
                                             const timers::BackendInfo& backend) {
  const double each_second = backend.rounds() ? wake_ups(options, backend, options.tick) : 0;
  if (each_second <= kManyIdleWakeUps) {
    return std::nullopt;
  }
  return "--tick " + format_duration(options.tick) + " with --timer-backend " +
         std::string(backend.name) + ": " + std::to_string(connections(options)) +
         " idle connections wake a thread up to " + std::to_string(rounded(each_second)) +
         " times a second; take --tick " + format_duration(long_enough_tick(options, backend)) +
         " or longer, or --timer-backend " + std::string(timers::DefaultBackend::kInfo.name);
}

} // namespace server
