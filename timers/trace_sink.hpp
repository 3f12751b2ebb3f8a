// What a service tells about its operations, to whoever wants to know: nobody, or a file
// (trace.hpp).
#pragma once

#include "timers/backend.hpp"

#include <concepts>
#include <cstdint>

namespace timers {

enum class TraceOperation : std::uint8_t { arm, rearm, disarm, expire };

// Sees a service's operations. TimerId is what each timer keeps for it; at() is called with each
// reading of the clock, rounded down and up.
template <class T>
concept TraceSink = std::copyable<T> &&
    requires(T trace, TraceOperation operation, typename T::TimerId& timer, Tick tick) {
  trace.at(tick, tick);
  trace.record(operation, timer, tick);
};

struct NoTrace {
  struct TimerId {};
  void at(Tick /*floor*/, Tick /*ceil*/) noexcept {}
  void record(TraceOperation /*operation*/, TimerId& /*timer*/, Tick /*deadline*/) noexcept {}
};

} // namespace timers
