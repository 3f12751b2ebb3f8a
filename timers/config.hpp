// What is chosen when a facility is made.
#pragma once

#include <chrono>
#include <cstddef>

namespace timers {

// How a timer that moves is treated. `eager` moves its node in the backend every time, as the study
// measured. `lazy` only notes the new deadline (one store) and leaves the node filed until it comes
// due or must run earlier; a disarmed timer stays filed too, never more than one node per handle.
enum class Rearm { lazy, eager };

struct ServiceConfig {
  std::chrono::nanoseconds tick = std::chrono::milliseconds(1); // > 0
  Rearm rearm = Rearm::lazy;
  // The longest that will be asked for, >= 0; 0: not known. Matters to backends with a reach
  // (simple-wheel), which then have a slot for each of its ticks. Longer ones still work.
  std::chrono::nanoseconds longest_timeout{0};
  // Of a wheel with rounds (hashed-wheel, hashed-wheel-sorted): rounded up to a power of two; 0:
  // its own default.
  std::size_t slots = 0;
};

struct DriverConfig {
  ServiceConfig service;
  std::size_t budget = 256; // timers handled per slice; > 0
};

} // namespace timers
