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
};

struct DriverConfig {
  ServiceConfig service;
  std::size_t budget = 256; // timers handled per slice; > 0
};

} // namespace timers
