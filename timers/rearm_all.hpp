// rearm_all(): moves many timers to the same timeout from now, such as those of all connections
// that one pass over a ready list has served.
//
// Timers that lie scattered over more memory than the caches hold cost a wait for memory each. So
// this fetches those of a few timers ahead while it moves one.
#pragma once

#include <cstddef>
#include <iterator>

namespace timers {

// `pointers` is an array, std::span, std::vector or the like of pointers to timers of one service
// or driver, none of them null. Does what a loop of rearm(timeout, now) does, in that order, with
// the same exceptions: after one, the timers before it have moved.
//
// kAhead is how many timers ahead it fetches. Measured with 1 000 000 HierarchicalWheel timers in
// random order, in ns per timer, on an AMD EPYC with 32 MiB of third-level cache:
//
//           loop    4    8   16 ahead
//   lazy      55   50   47   37
//   eager    420  132  128  110
//
// It does not pay for timers that the caches hold: with 1000 of them a lazy loop takes 4 ns per
// timer and this 5 or 6.
template <std::size_t kAhead = 8, class Pointers, class Timeout, class Instant>
void rearm_all(const Pointers& pointers, Timeout timeout, Instant now) {
  const auto* const timer = std::data(pointers);
  const std::size_t count = std::size(pointers);
  for (std::size_t i = 0; i < count; ++i) {
    if (i + kAhead < count) {
      // A timer is larger than a cache line, or lies across two.
      const auto* const begin = reinterpret_cast<const std::byte*>(timer[i + kAhead]);
      __builtin_prefetch(begin, 1);
      __builtin_prefetch(begin + sizeof(*timer[0]) - 1, 1);
    }
    timer[i]->rearm(timeout, now);
  }
}

} // namespace timers
