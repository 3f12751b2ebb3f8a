// What the timers of a facility did.
#pragma once

#include "timers/histogram.hpp"

#include <cstdint>

namespace timers {

// What the timers of a service did, all since it began. Counts of calls, except `moved`.
struct TimerCounters {
  std::uint64_t armed = 0;    // a disarmed timer was armed
  std::uint64_t rearmed = 0;  // an armed timer was given another deadline
  std::uint64_t disarmed = 0; // an armed timer was disarmed, or destroyed
  std::uint64_t expired = 0;  // an action ran
  std::uint64_t moved = 0;    // a node was filed in the backend or moved there
  Histogram late;             // from deadline to the last clock reading before the action ran

  std::uint64_t live() const noexcept { return armed - disarmed - expired; }

  // Adds what another service counted.
  void merge(const TimerCounters& other) noexcept {
    armed += other.armed;
    rearmed += other.rearmed;
    disarmed += other.disarmed;
    expired += other.expired;
    moved += other.moved;
    late.merge(other.late);
  }
};

} // namespace timers
