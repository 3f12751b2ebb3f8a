// An echo server on io_uring that closes a connection on which nothing came for ten seconds.
//   loop_io_uring [PORT] [IDLE_TIMEOUT_MS]      (default: 7777, on loopback, and 10000)
#include "echo.hpp"

#include <timers/hierarchical_wheel.hpp>
#include <timers/loops/io_uring.hpp>

#include <liburing.h>

#include <poll.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>

class IoUringLoop {
public:
  using Timers = timers::IoUringDriver<timers::HierarchicalWheel>;

  // The completion of a request may come after the end of the watch, so it bears a number that is
  // not used again, and no pointer.
  class Watch {
  public:
    Watch(IoUringLoop& loop, int descriptor, timers::Action action)
        : loop_(loop), id_(++loop.last_id_), descriptor_(descriptor), action_(action) {
      loop_.watches_.emplace(id_, this);
      poll();
    }
    ~Watch() {
      loop_.watches_.erase(id_);
      io_uring_sqe* const request = loop_.request(kIgnored);
      io_uring_prep_cancel64(request, id_, 0); // the poll would keep the socket open
      io_uring_sqe_set_data64(request, kIgnored);
    }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

    void poll() { io_uring_prep_poll_add(loop_.request(id_), descriptor_, POLLIN); }
    timers::Action action() const { return action_; }

  private:
    IoUringLoop& loop_;
    const std::uint64_t id_;
    const int descriptor_;
    const timers::Action action_;
  };

  Timers& timers() { return timers_; }

  void run() {
    while (!stopped_) {
      io_uring_submit_and_wait(&ring_.ring, 1);
      io_uring_cqe* completion = nullptr;
      while (io_uring_peek_cqe(&ring_.ring, &completion) == 0) {
        const std::uint64_t id = io_uring_cqe_get_data64(completion);
        const int result = completion->res;
        io_uring_cqe_seen(&ring_.ring, completion);
        complete(id, result);
      }
    }
  }
  void stop() { stopped_ = true; }

private:
  static constexpr std::uint64_t kIgnored = 0;
  static constexpr std::uint64_t kTimers = 1;

  struct Ring {
    Ring() {
      const int error = -io_uring_queue_init(256, &ring, 0);
      if (error > 0) {
        throw std::runtime_error(std::string("io_uring is not available: ") + std::strerror(error));
      }
    }
    ~Ring() { io_uring_queue_exit(&ring); }
    io_uring ring;
  };

  void complete(std::uint64_t id, int result) {
    if (id == kTimers) {
      timers_.on_completion(result);
    } else if (const auto watch = watches_.find(id); watch != watches_.end()) {
      timers::Action action = watch->second->action();
      action();
      if (const auto left = watches_.find(id); left != watches_.end()) {
        left->second->poll(); // the action has not destroyed it
      }
    }
  }

  io_uring_sqe* request(std::uint64_t id) {
    io_uring_sqe* request = io_uring_get_sqe(&ring_.ring);
    while (request == nullptr) {
      io_uring_submit(&ring_.ring);
      request = io_uring_get_sqe(&ring_.ring);
    }
    io_uring_sqe_set_data64(request, id);
    return request;
  }

  Ring ring_;
  std::map<std::uint64_t, Watch*> watches_;
  std::uint64_t last_id_ = kTimers;
  Timers timers_{{&ring_.ring, kTimers}};
  bool stopped_ = false;
};

int main(int argc, char** argv) { return echo::run<IoUringLoop>(argc, argv, "loop_io_uring"); }
