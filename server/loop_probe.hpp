// Measures how long a worker's loop keeps events waiting. While there is traffic, a kernel timer
// expires every 100 ms. The delay of its handler is how long any event that became ready at that
// moment had to wait. Without traffic nothing runs.
//
// The timer is not one of Asio's. Asio programs the kernel whenever its earliest timer changes. A
// timer of Asio's that is always the earliest would spare the backend `asio` a system call per
// request, and so change what is measured.
#pragma once

#include "timers/histogram.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/basic_stream_descriptor.hpp>

#include <sys/timerfd.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>

namespace server {

class LoopProbe {
public:
  // The probe does nothing when it is not enabled, or when the process has no descriptor left for
  // it.
  LoopProbe(boost::asio::io_context& io, bool enabled) : timer_(io) {
    const int descriptor =
        enabled ? timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC) : -1;
    if (descriptor >= 0) {
      timer_.assign(descriptor);
      idle_ = true;
    }
  }

  // To be called when the loop has handled input. Costs a branch, and at most ten times a second a
  // few system calls. Throws std::bad_alloc.
  void note_activity() {
    active_ = true;
    if (idle_) {
      probe();
    }
  }

  // How late the handler ran, each time.
  const timers::Histogram& stalls() const noexcept { return stalls_; }

private:
  using Clock = std::chrono::steady_clock;
  static constexpr auto kPeriod = std::chrono::milliseconds(100);

  void probe() {
    active_ = false;
    due_ = Clock::now() + kPeriod;
    itimerspec once{};
    once.it_value.tv_nsec = std::chrono::nanoseconds(kPeriod).count();
    timerfd_settime(timer_.native_handle(), 0, &once, nullptr);
    timer_.async_wait(Timer::wait_read, [this](boost::system::error_code cancelled) {
      if (!cancelled) {
        on_due();
      }
    });
    idle_ = false;
  }

  void on_due() {
    std::uint64_t expiries = 0; // reading it makes the descriptor unreadable until the next expiry
    [[maybe_unused]] const auto size = read(timer_.native_handle(), &expiries, sizeof expiries);
    stalls_.record(Clock::now() - due_);
    idle_ = true; // before probe(), which may throw for lack of memory
    if (active_) {
      probe();
    }
  }

  using Timer = boost::asio::posix::basic_stream_descriptor<boost::asio::io_context::executor_type>;

  Timer timer_;
  Clock::time_point due_;
  timers::Histogram stalls_;
  bool active_ = false;
  bool idle_ = false; // enabled, and the next activity starts the timer
};

} // namespace server
