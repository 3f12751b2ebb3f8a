// TimerfdDriver: timers for a loop on epoll, poll or select, which waits for a descriptor of this.
//
//   timers::TimerfdDriver<timers::HierarchicalWheel> timers;
//   epoll_event wanted{.events = EPOLLIN, .data = {.fd = timers.descriptor()}};
//   epoll_ctl(epoll, EPOLL_CTL_ADD, timers.descriptor(), &wanted);
//   ...
//   if (event.data.fd == timers.descriptor()) {
//     timers.on_readable();
//   }
//
// driver.hpp says what the driver promises. What an action throws leaves on_readable().
//
// A pass costs one system call, timerfd_settime(). The descriptor is not read: to program the timer
// anew makes it unreadable, also for a set that is edge-triggered.
#pragma once

#include "timers/loops/driver.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <system_error>

#include <sys/timerfd.h>
#include <unistd.h>

namespace timers {

class TimerfdTimer {
public:
  using Loop = NoLoop;

  TimerfdTimer(const TimerfdTimer&) = delete;
  TimerfdTimer& operator=(const TimerfdTimer&) = delete;

  // A descriptor that becomes readable when a pass is needed. The driver closes it in the end; that
  // takes it out of an epoll set.
  int descriptor() const noexcept { return descriptor_; }

  // Runs a pass. Call it when the descriptor is readable; at another time it does no harm. An
  // action may throw, and may destroy the driver.
  void on_readable() {
    Action wake = wake_; // outlives the driver
    wake();
  }

protected:
  // Throws std::system_error when there is no descriptor left.
  TimerfdTimer(NoLoop, Action wake)
      : wake_(wake), descriptor_(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) {
    if (descriptor_ < 0) {
      fail(std::system_error(errno, std::generic_category(), "timerfd_create"));
    }
  }
  ~TimerfdTimer() { close(descriptor_); }

  void program(std::chrono::steady_clock::time_point when) noexcept {
    set(std::max(when.time_since_epoch(), kPast));
  }
  void soon() noexcept { set(kPast); }
  void cancel() noexcept { set(std::chrono::nanoseconds::zero()); }

private:
  static constexpr std::chrono::nanoseconds kPast{1};

  // Zero is never.
  void set(std::chrono::nanoseconds at) noexcept {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(at);
    const itimerspec value{
        .it_interval = {},
        .it_value = {.tv_sec = seconds.count(), .tv_nsec = (at - seconds).count()}};
    timerfd_settime(descriptor_, TFD_TIMER_ABSTIME, &value, nullptr);
  }

  Action wake_;
  const int descriptor_;
};

template <TimerBackend Backend, TraceSink Trace = NoTrace>
using TimerfdDriver = LoopDriver<Backend, TimerfdTimer, Trace>;

} // namespace timers
