// What a server needs of its timers, whatever stands behind them. Three things satisfy it: a
// backend with one OS timer (asio/driver.hpp), a timer of Asio for each timer (asio/baseline.hpp),
// and nothing at all (none.hpp).
#pragma once

#include "timers/action.hpp"
#include "timers/config.hpp"
#include "timers/duration.hpp"
#include "timers/timer_counters.hpp"

#include <concepts>

namespace timers {

// The functions mean what they mean in TimerService and its Timer (timer_service.hpp). After stop()
// the facility no longer keeps the io_context busy. Timers may outlive the facility: its
// destruction disarms them. A facility is made of an executor and a DriverConfig.
template <class F>
concept TimerFacility = std::constructible_from<typename F::Timer, F&, Action> &&
    requires(F& facility, const F& same, typename F::Timer& timer, typename F::Timeout timeout,
             typename F::Instant now) {
  { facility.now() } -> std::same_as<typename F::Instant>;
  { same.timeout(Nanoseconds()) } -> std::same_as<typename F::Timeout>;
  { same.counters() } -> std::same_as<const TimerCounters&>;
  facility.stop();
  timer.arm(timeout, now);
  timer.rearm(timeout, now);
  { timer.disarm() } -> std::same_as<bool>;
  { timer.armed() } -> std::same_as<bool>;
};

} // namespace timers
