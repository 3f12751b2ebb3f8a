// What the user of a timer facility chooses when it is made.
#pragma once

#include "timers/duration.hpp"

#include <chrono>
#include <cstddef>
#include <string_view>

namespace timers {

// What re-arming does. `eager` moves the timer's node in the backend every time, as the 2014 study
// did. `lazy` takes a few stores to note the new deadline; the structure is not touched. The node
// stays filed where it is, until it comes due or must run earlier. Under `lazy` a disarmed timer
// stays filed too, but never more than one node per timer.
enum class Rearm { lazy, eager };

// As users type it.
constexpr std::string_view to_string(Rearm rearm) noexcept {
  return rearm == Rearm::lazy ? "lazy" : "eager";
}

struct ServiceConfig {
  Nanoseconds tick = std::chrono::milliseconds(1); // > 0
  Rearm rearm = Rearm::lazy;
  // The longest timeout that will be used; 0 means not known. Only a backend with a limit
  // (simple-wheel) reads it: it then has a slot for each tick. Longer timeouts still work.
  Nanoseconds longest_timeout{};
};

struct DriverConfig {
  ServiceConfig service;
  std::size_t budget = 256; // how many timers a pass handles before other handlers run; > 0
};

} // namespace timers
