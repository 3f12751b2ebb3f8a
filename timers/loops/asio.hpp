// StandaloneAsioDriver: timers for an io_context of standalone Asio, which comes without Boost and
// whose names are in the namespace `asio`. For Boost.Asio there is asio/driver.hpp.
//
//   asio::io_context io{1};
//   timers::StandaloneAsioDriver<timers::HierarchicalWheel> timers{io.get_executor()};
//
// driver.hpp says what the driver promises. What an action throws leaves io_context::run().
#pragma once

#include "timers/loops/driver.hpp"

#include <chrono>
#include <memory>
#include <system_error>

#include <asio/basic_waitable_timer.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>

namespace timers {

class StandaloneAsioTimer {
public:
  using Loop = ::asio::io_context::executor_type;

  StandaloneAsioTimer(const StandaloneAsioTimer&) = delete;
  StandaloneAsioTimer& operator=(const StandaloneAsioTimer&) = delete;

protected:
  StandaloneAsioTimer(Loop executor, Action wake)
      : timer_(executor), wake_(std::make_shared<Action>(wake)) {}
  ~StandaloneAsioTimer() = default;

  void program(std::chrono::steady_clock::time_point when) {
    timer_.expires_at(when);
    timer_.async_wait([wake = std::weak_ptr(wake_)](std::error_code error) {
      if (!error) {
        call(wake);
      }
    });
  }

  void soon() {
    ::asio::post(timer_.get_executor(), [wake = std::weak_ptr(wake_)] { call(wake); });
  }

  void cancel() { timer_.cancel(); }

private:
  // A handler that Asio has queued cannot be recalled, so the driver may be gone. It may also go
  // during the call, and the action must not go with it.
  static void call(const std::weak_ptr<Action>& wake) {
    if (const auto kept = wake.lock()) {
      (*kept)();
    }
  }

  ::asio::basic_waitable_timer<std::chrono::steady_clock,
                               ::asio::wait_traits<std::chrono::steady_clock>, Loop>
      timer_;
  std::shared_ptr<Action> wake_;
};

template <TimerBackend Backend, TraceSink Trace = NoTrace>
using StandaloneAsioDriver = LoopDriver<Backend, StandaloneAsioTimer, Trace>;

} // namespace timers
