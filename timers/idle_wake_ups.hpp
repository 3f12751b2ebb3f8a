// How often a backend wakes the loop although no timer is due. Most backends do so a few times per
// timer and timeout, whatever the tick. A wheel with rounds does so for each occupied slot in each
// turn, so that a short tick can cost it a whole core.
#pragma once

#include "timers/backend.hpp"
#include "timers/config.hpp"
#include "timers/duration.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace timers {

struct IdleTimers {
  std::size_t count = 0; // armed timers, which mostly wait
  Nanoseconds timeout{}; // of each
};

// An upper estimate of the idle wake-ups per second of a service that holds these timers. It is
// close for wheels with rounds when the timers are spread over all slots.
inline double idle_wake_ups_per_second(const BackendInfo& backend, Rearm rearm, Nanoseconds tick,
                                       IdleTimers timers) {
  const auto seconds = [](Nanoseconds duration) {
    return std::chrono::duration<double>(duration).count();
  };
  if (timers.count == 0 || tick.count() <= 0 || timers.timeout.count() <= 0) {
    return 0;
  }
  const double tick_s = seconds(tick);
  const double timeout_s = std::max(seconds(timers.timeout), tick_s);
  const auto count = static_cast<double>(timers.count);
  // Once per timer and timeout, but what happens at one multiple of `ticks` is one wake-up.
  const auto once_per_timeout = [&](double ticks) {
    return std::min(count / timeout_s, 1 / (ticks * tick_s));
  };
  // At an old deadline of a timer that has moved.
  double wake_ups = rearm == Rearm::lazy || !backend.exact_next_deadline ? once_per_timeout(1) : 0;
  if (backend.level_factor > 1) { // on the way down from each level that the timeout needs
    const auto factor = static_cast<double>(backend.level_factor);
    for (double slot = factor; slot * tick_s <= timeout_s; slot *= factor) {
      wake_ups += once_per_timeout(slot);
    }
  }
  if (backend.ticks_per_turn > 0) {
    const auto turn = static_cast<double>(backend.ticks_per_turn);
    wake_ups += std::min(count, turn) / (turn * tick_s);
  }
  return wake_ups;
}

} // namespace timers
