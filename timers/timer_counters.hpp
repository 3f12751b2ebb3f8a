// Counts of what the timers of a facility did.
#pragma once

#include "timers/histogram.hpp"

#include <cstdint>

namespace timers {

// What the timers of a service did since it began. All but `moved` and `late` count calls or runs.
struct TimerCounters {
  std::uint64_t armed = 0;    // a disarmed timer was armed
  std::uint64_t rearmed = 0;  // an armed timer was given another deadline
  std::uint64_t disarmed = 0; // an armed timer was disarmed, or destroyed
  std::uint64_t expired = 0;  // an action ran
  std::uint64_t moved = 0;    // a node was filed in the backend or moved there
  Histogram late;             // ns from the deadline to the last clock reading before the action

  // How many timers are armed now.
  std::uint64_t live() const noexcept { return armed - disarmed - expired; }

  // Adds what another service counted. O(1), 500 additions.
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
