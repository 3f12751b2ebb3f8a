// The control of the study: timers that never run. A server with these shows what everything but
// its timers costs. It is made as the drivers of asio/ are, but needs no Asio. Every operation does
// nothing and takes no memory but its objects'.
#pragma once

#include "timers/backend.hpp"
#include "timers/facility.hpp"

namespace timers {

class None {
public:
  struct Instant {};
  struct Timeout {};
  class Timer;

  static constexpr BackendInfo kInfo{
      .name = "none",
      .scheme = "-",
      .summary = "control: no timeouts at all, so connections may stay for ever",
      .peer_order = PeerOrder::any,
      .exact_next_deadline = false,
      .costs = {.arm = Cost::constant,
                .rearm = Cost::constant,
                .disarm = Cost::constant,
                .expire = Cost::constant},
      .bytes_per_timer = 0,
  };

  template <class Executor>
  explicit None(const Executor& /*executor*/, DriverConfig /*config*/ = {}) noexcept {}

  Instant now() const noexcept { return {}; }
  Timeout timeout(Nanoseconds /*duration*/) const noexcept { return {}; }
  const TimerCounters& counters() const noexcept { return counters_; }
  void stop() noexcept {}

private:
  TimerCounters counters_;
};

class None::Timer {
public:
  Timer(None& /*facility*/, Action /*action*/) noexcept {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void arm(Timeout /*timeout*/, Instant /*now*/) noexcept {}
  void rearm(Timeout /*timeout*/, Instant /*now*/) noexcept {}
  bool disarm() noexcept { return false; }
  bool armed() const noexcept { return false; }
};

static_assert(TimerFacility<None>);

} // namespace timers
