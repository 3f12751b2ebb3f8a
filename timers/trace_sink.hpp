// What a service reports about its operations, and to whom: to nobody (NoTrace), or to a file
// (trace.hpp).
#pragma once

#include "timers/backend.hpp"

#include <concepts>
#include <cstdint>

namespace timers {

enum class TraceOperation : std::uint8_t { arm, rearm, disarm, expire };

// A TraceSink sees the operations of a service. Each timer keeps a TimerId for it. at() is called
// with each reading of the clock, rounded down and up to ticks.
template <class T>
concept TraceSink = std::copyable<T> &&
    requires(T trace, TraceOperation operation, typename T::TimerId& timer, Tick tick) {
  trace.at(tick, tick);
  trace.record(operation, timer, tick);
};

// Sees nothing and costs nothing.
struct NoTrace {
  struct TimerId {};
  void at(Tick /*floor*/, Tick /*ceil*/) noexcept {}
  void record(TraceOperation /*operation*/, TimerId& /*timer*/, Tick /*deadline*/) noexcept {}
};

} // namespace timers
