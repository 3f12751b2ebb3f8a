// The control of the study: timers that never run. A server with these shows what everything but
// its timers costs. It belongs beside the drivers of asio/, but needs of Asio only the executor's
// type. Every operation does nothing and takes no memory but its objects'.
#pragma once

#include "timers/backend.hpp"
#include "timers/facility.hpp"

#include <boost/asio/io_context.hpp>

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
      .fifo = false,
      .exact_next_deadline = false,
      .costs = {.arm = Cost::constant,
                .rearm = Cost::constant,
                .disarm = Cost::constant,
                .expire = Cost::constant},
      .bytes_per_timer = 0,
  };

  explicit None(boost::asio::io_context::executor_type /*executor*/, DriverConfig /*config*/ = {}) {
  }

  Instant now() const noexcept { return {}; }
  Timeout timeout(std::chrono::nanoseconds /*duration*/) const noexcept { return {}; }
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
