// IoUringDriver: timers for a loop on io_uring, with liburing 2.3 or newer and Linux 5.11 or newer.
//
//   timers::IoUringDriver<timers::HierarchicalWheel> timers{{&ring, kTimers}};
//   ...
//   io_uring_submit_and_wait(&ring, 1);
//   ... // for each completion:
//   if (io_uring_cqe_get_data64(cqe) == kTimers) {
//     timers.on_completion(cqe->res);
//   }
//
// `kTimers` is a number that no other request of the ring has as its user_data. driver.hpp says
// what the driver promises. What an action throws leaves on_completion().
//
// To program the OS timer takes no system call of its own: the request goes with the loop's next
// submission. So the loop must submit before it waits. The ring must be one without
// IORING_SETUP_SQPOLL, whose thread reads requests at a time of its own.
//
// The ring must outlive the driver. After the driver, a few more completions with its user_data may
// come; ignore them. A second driver on the ring needs a user_data of its own.
#pragma once

#include "timers/loops/driver.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <system_error>

#include <liburing.h>

namespace timers {

struct IoUringLoop {
  io_uring* ring;
  std::uint64_t user_data;
};

class IoUringTimer {
public:
  using Loop = IoUringLoop;

  IoUringTimer(const IoUringTimer&) = delete;
  IoUringTimer& operator=(const IoUringTimer&) = delete;

  // Takes the result of a completion that has the driver's user_data, and runs a pass when the OS
  // timer has expired. The completion may have been marked as seen. An action may throw, and may
  // destroy the driver.
  void on_completion(int result) {
    if (result == -ETIME) { // other results are those of updates and removals
      pending_ = false;
      Action wake = wake_; // outlives the driver
      wake();
    }
  }

protected:
  IoUringTimer(IoUringLoop loop, Action wake) noexcept : loop_(loop), wake_(wake) {}

  // Submits at once, because requests that are not submitted refer to at_.
  ~IoUringTimer() {
    cancel();
    io_uring_submit(loop_.ring);
  }

  // Throws std::system_error when the submission queue is full and the kernel takes nothing from
  // it.
  void program(std::chrono::steady_clock::time_point when) {
    const auto at = std::max(when.time_since_epoch(), std::chrono::nanoseconds::zero());
    const auto seconds = std::chrono::floor<std::chrono::seconds>(at);
    io_uring_sqe* const request = next_request();
    if (request == nullptr) {
      fail(std::system_error(EBUSY, std::generic_category(), "io_uring_get_sqe"));
    }
    at_ = {.tv_sec = seconds.count(), .tv_nsec = (at - seconds).count()};
    if (pending_) {
      // When it has expired already, this fails, and the completion that is on its way wakes.
      io_uring_prep_timeout_update(request, &at_, loop_.user_data, IORING_TIMEOUT_ABS);
    } else {
      io_uring_prep_timeout(request, &at_, 0, IORING_TIMEOUT_ABS);
    }
    io_uring_sqe_set_data64(request, loop_.user_data);
    pending_ = true;
  }

  void soon() { program({}); }

  void cancel() noexcept {
    io_uring_sqe* const request = pending_ ? next_request() : nullptr;
    if (request != nullptr) {
      io_uring_prep_timeout_remove(request, loop_.user_data, 0);
      io_uring_sqe_set_data64(request, loop_.user_data);
      pending_ = false;
    }
  }

private:
  // nullptr when there is no room.
  io_uring_sqe* next_request() noexcept {
    io_uring_sqe* const request = io_uring_get_sqe(loop_.ring);
    return request != nullptr || io_uring_submit(loop_.ring) < 0 ? request
                                                                 : io_uring_get_sqe(loop_.ring);
  }

  const IoUringLoop loop_;
  Action wake_;
  bool pending_ = false;      // a timeout is with the kernel, or will be at the next submission
  __kernel_timespec at_ = {}; // the kernel reads it at the submission
};

template <TimerBackend Backend, TraceSink Trace = NoTrace>
using IoUringDriver = LoopDriver<Backend, IoUringTimer, Trace>;

} // namespace timers
