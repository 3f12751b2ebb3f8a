// The event loops that timers/loops/ has drivers for, as its tests use them.
#pragma once

#include "timers/backends.hpp"
#include "timers/facility.hpp"
#include "timers/loops/driver.hpp"
#include "timers/loops/timerfd.hpp"
#include "timers/testing/testing.hpp"

#if defined(TIMERS_TEST_LIBUV)
#include "timers/loops/libuv.hpp"
#endif
#if defined(TIMERS_TEST_LIBEV)
#include "timers/loops/libev.hpp"
#endif
#if defined(TIMERS_TEST_IO_URING)
#include "timers/loops/io_uring.hpp"
#endif
#if defined(TIMERS_TEST_ASIO)
#include "timers/loops/asio.hpp"
#endif

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace timers::test {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

inline constexpr unsigned kPatience_s = 30; // no test takes longer

// How often a driver asked its OS timer for a wake-up.
struct Wishes {
  std::size_t programs = 0;
  std::size_t soons = 0;
  std::size_t cancels = 0;
  std::size_t all() const { return programs + soons + cancels; }
};
inline Wishes wishes;

// An OS timer, and counts what the driver asks of it.
template <class OsTimer> class Counted : public OsTimer {
protected:
  using OsTimer::OsTimer;

  void program(Clock::time_point when) {
    ++wishes.programs;
    OsTimer::program(when);
  }
  void soon() {
    ++wishes.soons;
    OsTimer::soon();
  }
  void cancel() {
    ++wishes.cancels;
    OsTimer::cancel();
  }
};

template <class OsTimer> using DriverOn = LoopDriver<DefaultBackend, Counted<OsTimer>>;

// Each class below is a loop. It has:
//   OsTimer            of that loop
//   kMayThrow          whether what an action throws leaves the loop
//   unavailable()      why this machine cannot run it; empty if it can
//   handle()           what the driver is made of
//   turn(driver)       has a turn, and waits for an event if there is none; false when the loop is
//                      out of work. The driver may be gone
//   each_turn(event)   has an event of the loop's own in each turn, until that returns false
using Event = std::function<bool()>;

// A descriptor that is always readable.
class Readable {
public:
  ~Readable() { close(descriptor); }
  const int descriptor = eventfd(1, EFD_CLOEXEC);
};

class EpollLoop {
public:
  using OsTimer = TimerfdTimer;
  static constexpr bool kMayThrow = true;
  static constexpr const char* kName = "epoll";

  explicit EpollLoop(std::uint32_t flags = 0) : flags_(flags) {}
  ~EpollLoop() { close(epoll_); }

  static std::string unavailable() { return {}; }
  NoLoop handle() { return {}; }

  template <class Driver> bool turn(std::unique_ptr<Driver>& driver) {
    if (driver && watched_ != driver->descriptor()) {
      watched_ = driver->descriptor();
      add(watched_, flags_);
    }
    if (!(driver && driver->busy()) && !event_) {
      return false;
    }
    std::array<epoll_event, 2> events{};
    const int ready = epoll_wait(epoll_, events.data(), 2, -1);
    for (int i = 0; i < ready; ++i) {
      handle_event(driver, events[static_cast<std::size_t>(i)].data.fd);
    }
    return true;
  }

  void each_turn(Event event) {
    event_ = std::move(event);
    add(readable_.descriptor, 0);
  }

private:
  template <class Driver> void handle_event(std::unique_ptr<Driver>& driver, int descriptor) {
    if (descriptor != readable_.descriptor) {
      if (driver) {
        driver->on_readable();
      }
    } else if (!event_()) {
      epoll_ctl(epoll_, EPOLL_CTL_DEL, descriptor, nullptr);
      event_ = nullptr;
    }
  }

  void add(int descriptor, std::uint32_t flags) {
    epoll_event wanted{.events = EPOLLIN | flags, .data = {.fd = descriptor}};
    ASSERT_EQ(epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &wanted), 0);
  }

  const std::uint32_t flags_;
  const int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  int watched_ = -1;
  Readable readable_;
  Event event_;
};

class EdgeTriggeredLoop : public EpollLoop {
public:
  static constexpr const char* kName = "edge_triggered_epoll";
  EdgeTriggeredLoop() : EpollLoop(EPOLLET) {}
};

#if defined(TIMERS_TEST_LIBUV)
class LibuvLoop {
public:
  using OsTimer = LibuvTimer;
  static constexpr bool kMayThrow = false;
  static constexpr const char* kName = "libuv";

  LibuvLoop() {
    uv_loop_init(&loop_);
    uv_poll_init(&loop_, &poll_, readable_.descriptor);
    poll_.data = this;
  }
  ~LibuvLoop() {
    uv_close(reinterpret_cast<uv_handle_t*>(&poll_), nullptr);
    uv_run(&loop_, UV_RUN_DEFAULT);
    EXPECT_EQ(uv_loop_close(&loop_), 0) << "the driver has left a handle";
  }

  static std::string unavailable() { return {}; }
  uv_loop_t* handle() { return &loop_; }
  template <class Driver> bool turn(std::unique_ptr<Driver>&) {
    return uv_run(&loop_, UV_RUN_ONCE) != 0;
  }
  void each_turn(Event event) {
    event_ = std::move(event);
    uv_poll_start(&poll_, UV_READABLE, [](uv_poll_t* poll, int, int) {
      if (!static_cast<LibuvLoop*>(poll->data)->event_()) {
        uv_poll_stop(poll);
      }
    });
  }

private:
  Readable readable_;
  uv_loop_t loop_;
  uv_poll_t poll_;
  Event event_;
};
#endif

#if defined(TIMERS_TEST_LIBEV)
class LibevLoop {
public:
  using OsTimer = LibevTimer;
  static constexpr bool kMayThrow = false;
  static constexpr const char* kName = "libev";

  LibevLoop() { io_.data = this; }
  ~LibevLoop() {
    ev_io_stop(loop_, &io_);
    ev_loop_destroy(loop_);
  }

  static std::string unavailable() { return {}; }
  struct ev_loop* handle() {
    return loop_;
  }
  template <class Driver> bool turn(std::unique_ptr<Driver>&) { return ev_run(loop_, EVRUN_ONCE); }
  void each_turn(Event event) {
    event_ = std::move(event);
    ev_io_init(&io_, on_io, readable_.descriptor, EV_READ);
    ev_io_start(loop_, &io_);
  }

private:
  static void on_io(struct ev_loop* loop, ev_io* io, int) {
    if (!static_cast<LibevLoop*>(io->data)->event_()) {
      ev_io_stop(loop, io);
    }
  }

  Readable readable_;
  struct ev_loop* loop_ = ev_loop_new(EVFLAG_AUTO);
  ev_io io_{};
  Event event_;
};
#endif

#if defined(TIMERS_TEST_IO_URING)
class IoUringTestLoop {
public:
  using OsTimer = IoUringTimer;
  static constexpr bool kMayThrow = true;
  static constexpr const char* kName = "io_uring";

  // Room for two requests, so that the queue is full now and then.
  IoUringTestLoop() : failed_(io_uring_queue_init(2, &ring_, 0)) {}
  ~IoUringTestLoop() {
    if (failed_ == 0) {
      io_uring_queue_exit(&ring_);
    }
  }

  static std::string unavailable() {
    const IoUringTestLoop loop;
    return loop.failed_ == 0 ? "" : "io_uring is not available";
  }
  IoUringLoop handle() { return {&ring_, kTimers}; }

  template <class Driver> bool turn(std::unique_ptr<Driver>& driver) {
    if (!(driver && driver->busy()) && !event_) {
      return false;
    }
    io_uring_submit_and_wait(&ring_, 1);
    io_uring_cqe* completion = nullptr;
    while (io_uring_peek_cqe(&ring_, &completion) == 0) {
      const auto user_data = io_uring_cqe_get_data64(completion);
      const int result = completion->res;
      io_uring_cqe_seen(&ring_, completion);
      if (user_data == kEvent) {
        poll_if(event_());
        break; // one event, and then the next submission
      }
      if (driver) {
        driver->on_completion(result);
      }
    }
    return true;
  }

  void each_turn(Event event) {
    event_ = std::move(event);
    poll_if(true);
  }

private:
  static constexpr std::uint64_t kTimers = 1;
  static constexpr std::uint64_t kEvent = 2;

  void poll_if(bool wanted) {
    if (!wanted) {
      event_ = nullptr;
      return;
    }
    io_uring_sqe* request = io_uring_get_sqe(&ring_);
    if (request == nullptr) {
      io_uring_submit(&ring_);
      request = io_uring_get_sqe(&ring_);
    }
    ASSERT_NE(request, nullptr);
    io_uring_prep_poll_add(request, readable_.descriptor, 1 /* POLLIN */);
    io_uring_sqe_set_data64(request, kEvent);
  }

  Readable readable_;
  io_uring ring_{};
  const int failed_;
  Event event_;
};
#endif

#if defined(TIMERS_TEST_ASIO)
class AsioLoop {
public:
  using OsTimer = StandaloneAsioTimer;
  static constexpr bool kMayThrow = true;
  static constexpr const char* kName = "asio";

  static std::string unavailable() { return {}; }
  ::asio::io_context::executor_type handle() { return io_.get_executor(); }
  template <class Driver> bool turn(std::unique_ptr<Driver>&) {
    io_.restart();
    return io_.run_one() > 0;
  }
  void each_turn(Event event) {
    ::asio::post(io_, [this, event = std::move(event)] {
      if (event()) {
        each_turn(event);
      }
    });
  }

private:
  ::asio::io_context io_{1};
};
#endif

// A loop and a driver on it.
template <class Loop> class Driven {
public:
  using Driver = DriverOn<typename Loop::OsTimer>;
  using Timer = typename Driver::Timer;

  explicit Driven(DriverConfig config = {}) {
    driver = std::make_unique<Driver>(loop.handle(), config);
  }
  ~Driven() { driver.reset(); }

  void rearm(Timer& timer, Nanoseconds timeout) {
    timer.rearm(driver->timeout(timeout), driver->now());
  }
  bool turn() { return loop.turn(driver); }
  // Runs the loop until `done` or out of work; says whether it is done.
  template <class Done> bool runs_until(Done done) {
    while (!done() && turn()) {
    }
    return done();
  }
  // Runs the loop until it is out of work.
  void drain() {
    while (turn()) {
    }
  }

  Loop loop;
  std::unique_ptr<Driver> driver;
};

template <class Loop> class Loops : public ::testing::Test {
protected:
  void SetUp() override {
    const std::string why = Loop::unavailable();
    if (!why.empty()) {
      GTEST_SKIP() << why;
    }
    wishes = {};
    alarm(kPatience_s); // a wake-up that was lost would have the loop wait for ever
  }
  void TearDown() override { alarm(0); }
};

using LoopKinds = ::testing::Types<EpollLoop, EdgeTriggeredLoop
#if defined(TIMERS_TEST_LIBUV)
                                   ,
                                   LibuvLoop
#endif
#if defined(TIMERS_TEST_LIBEV)
                                   ,
                                   LibevLoop
#endif
#if defined(TIMERS_TEST_IO_URING)
                                   ,
                                   IoUringTestLoop
#endif
#if defined(TIMERS_TEST_ASIO)
                                   ,
                                   AsioLoop
#endif
                                   >;

struct LoopNames {
  template <class Loop> static std::string GetName(int) { return Loop::kName; }
};

} // namespace timers::test
