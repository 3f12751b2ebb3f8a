// LibevDriver: timers for a loop of libev.
//
//   timers::LibevDriver<timers::HierarchicalWheel> timers{EV_DEFAULT};
//
// driver.hpp says what the driver promises. An action must not throw: nothing may be thrown through
// the frames of libev, so an exception that leaves an action ends the program (std::terminate).
//
// libev waits in milliseconds, so a timer may run one millisecond later than its tick. To program
// the OS timer, which is rare under load, also updates the time of the loop (ev_now_update()). The
// loop must outlive the driver.
#pragma once

#include "timers/loops/driver.hpp"

#include <algorithm>
#include <chrono>

#include <ev.h>

namespace timers {

class LibevTimer {
public:
  using Loop = struct ev_loop*;

  LibevTimer(const LibevTimer&) = delete;
  LibevTimer& operator=(const LibevTimer&) = delete;

protected:
  LibevTimer(struct ev_loop* loop, Action wake) noexcept : loop_(loop), wake_(wake) {
    ev_timer_init(&timer_, on_timer, 0., 0.);
    timer_.data = this;
  }
  ~LibevTimer() { cancel(); }

  // libev adds the wait to the time of the loop, which is therefore read after ours: so rounding
  // alone wakes early.
  void program(std::chrono::steady_clock::time_point when) noexcept {
    const std::chrono::duration<double> wait = when - std::chrono::steady_clock::now();
    ev_now_update(loop_);
    start(std::max(wait.count(), 0.));
  }

  // libev runs a timer of no seconds in the next turn, for which it does not wait.
  void soon() noexcept { start(0.); }

  void cancel() noexcept { ev_timer_stop(loop_, &timer_); }

private:
  void start(double wait_s) noexcept {
    cancel();
    ev_timer_set(&timer_, wait_s, 0.);
    ev_timer_start(loop_, &timer_);
  }

  static void on_timer(struct ev_loop*, ev_timer* timer, int) noexcept {
    Action wake = static_cast<LibevTimer*>(timer->data)->wake_; // outlives the driver
    wake();
  }

  struct ev_loop* const loop_;
  Action wake_;
  ev_timer timer_;
};

template <TimerBackend Backend, TraceSink Trace = NoTrace>
using LibevDriver = LoopDriver<Backend, LibevTimer, Trace>;

} // namespace timers
