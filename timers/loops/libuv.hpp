// LibuvDriver: timers for a loop of libuv.
//
//   timers::LibuvDriver<timers::HierarchicalWheel> timers{uv_default_loop()};
//
// driver.hpp says what the driver promises. An action must not throw: nothing may be thrown through
// the frames of libuv, so an exception that leaves an action ends the program (std::terminate).
//
// libuv counts in milliseconds, so a timer may run one millisecond later than its tick. To program
// the OS timer, which is rare under load, also updates the time of the loop (uv_update_time()).
//
// When the driver is destroyed, its handles are closed. As for any handle of libuv, the loop must
// run once more before uv_loop_close().
#pragma once

#include "timers/loops/driver.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>

#include <uv.h>

namespace timers {

class LibuvTimer {
public:
  using Loop = uv_loop_t*;

  LibuvTimer(const LibuvTimer&) = delete;
  LibuvTimer& operator=(const LibuvTimer&) = delete;

protected:
  LibuvTimer(uv_loop_t* loop, Action wake) : loop_(loop), handles_(new Handles{{}, {}, wake}) {
    uv_timer_init(loop, &handles_->timer);
    uv_idle_init(loop, &handles_->idle);
    handles_->timer.data = handles_;
    handles_->idle.data = handles_;
  }
  ~LibuvTimer() {
    uv_close(reinterpret_cast<uv_handle_t*>(&handles_->timer), on_close);
    uv_close(reinterpret_cast<uv_handle_t*>(&handles_->idle), on_close);
  }

  // libuv counts from a time of the loop that is rounded down, so this may wake early, by less than
  // a millisecond. Then the next wait is a whole one.
  void program(std::chrono::steady_clock::time_point when) noexcept {
    uv_idle_stop(&handles_->idle);
    const auto wait = when - std::chrono::steady_clock::now();
    const auto wait_ms = std::chrono::ceil<std::chrono::milliseconds>(wait).count();
    uv_update_time(loop_);
    uv_timer_start(&handles_->timer, on_timer,
                   static_cast<std::uint64_t>(std::max<std::int64_t>(wait_ms, 0)), 0);
  }

  // An idle handle runs once in each turn of the loop, which then does not wait. A timer of no
  // milliseconds would run again within the same turn, in libuv 1.44.
  void soon() noexcept {
    uv_timer_stop(&handles_->timer);
    uv_idle_start(&handles_->idle, on_idle);
  }

  void cancel() noexcept {
    uv_timer_stop(&handles_->timer);
    uv_idle_stop(&handles_->idle);
  }

private:
  // They outlive the driver, until libuv has closed both.
  struct Handles {
    uv_timer_t timer;
    uv_idle_t idle;
    Action wake;
    int open = 2;
  };

  static void on_timer(uv_timer_t* timer) noexcept { static_cast<Handles*>(timer->data)->wake(); }
  static void on_idle(uv_idle_t* idle) noexcept {
    uv_idle_stop(idle);
    static_cast<Handles*>(idle->data)->wake();
  }
  static void on_close(uv_handle_t* handle) noexcept {
    auto* const handles = static_cast<Handles*>(handle->data);
    if (--handles->open == 0) {
      delete handles;
    }
  }

  uv_loop_t* const loop_;
  Handles* const handles_;
};

template <TimerBackend Backend, TraceSink Trace = NoTrace>
using LibuvDriver = LoopDriver<Backend, LibuvTimer, Trace>;

} // namespace timers
