// The drivers of this folder, each on a real loop (CONTRACT.md, line 53). What needs no loop is
// tested on an OS timer that the test wakes by hand. "Not before" is exact; "after" is asked in
// seconds, because a machine may be busy.
#include "timers/loops/driver.hpp"

#include "timers/backends.hpp"
#include "timers/facility.hpp"
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

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <deque>
#include <new>
#include <stdexcept>
#include <thread>

namespace {
std::size_t timerfd_settimes = 0;
} // namespace

// Stands before libc's in this program, counts, and does the same.
extern "C" int timerfd_settime(int fd, int flags, const itimerspec* value,
                               itimerspec* old) noexcept {
  ++timerfd_settimes;
  return static_cast<int>(syscall(SYS_timerfd_settime, fd, flags, value, old));
}

namespace timers::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr unsigned kPatience_s = 30; // no test takes longer

// How often a driver asked its OS timer for a wake-up.
struct Wishes {
  std::size_t programs = 0;
  std::size_t soons = 0;
  std::size_t cancels = 0;
  std::size_t all() const { return programs + soons + cancels; }
} wishes;

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
//   out
//                      of work. The driver may be gone
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
TYPED_TEST_SUITE(Loops, LoopKinds, LoopNames);

void spin_until(Clock::time_point end) {
  while (Clock::now() < end) {
  }
}

// A timer runs in the loop, and not before its deadline. The time of the loop may be old when it is
// armed (CONTRACT.md, lines 1, 24 and 46).
TYPED_TEST(Loops, ATimerRunsNotBeforeItsDeadlineAndThen) {
  Driven<TypeParam> driven;
  Clock::time_point ran;
  typename Driven<TypeParam>::Timer timer{*driven.driver, [&ran] { ran = Clock::now(); }};
  Clock::time_point armed;
  driven.loop.each_turn([&] {
    spin_until(Clock::now() + 8ms);
    armed = Clock::now();
    driven.rearm(timer, 5ms + 300us);
    return false;
  });
  ASSERT_TRUE(driven.runs_until([&] { return ran != Clock::time_point(); }));
  EXPECT_GE(ran - armed, 5ms + 300us);
  EXPECT_EQ(driven.driver->counters().expired, 1U);
  driven.drain();
  EXPECT_FALSE(driven.driver->busy());
}

// A wake-up before the tick, which loops that count in milliseconds cause, is followed by a wait
// and not by turns without one (CONTRACT.md, line 53).
TYPED_TEST(Loops, TheLoopSleepsUntilTheDeadline) {
  Driven<TypeParam> driven;
  typename Driven<TypeParam>::Timer timer{*driven.driver, [] {}};
  int turns = 0;
  for (const nanoseconds timeout : {nanoseconds(4ms + 100us), nanoseconds(6ms), nanoseconds(9ms)}) {
    driven.rearm(timer, timeout);
    ASSERT_TRUE(driven.runs_until([&] {
      ++turns;
      return !timer.armed();
    }));
  }
  EXPECT_LT(turns, 50) << "the loop is busy";
  EXPECT_LT(wishes.all(), 50U);
}

// An earlier deadline that the loop arms wakes it in time (CONTRACT.md, lines 24 and 46).
TYPED_TEST(Loops, AnEarlierDeadlineArmedFromTheLoopWakesItInTime) {
  Driven<TypeParam> driven;
  Clock::time_point ran;
  typename Driven<TypeParam>::Timer far{*driven.driver, [] {}};
  typename Driven<TypeParam>::Timer near{*driven.driver, [&ran] { ran = Clock::now(); }};
  driven.rearm(far, 1h);
  int turns = 0;
  Clock::time_point armed;
  driven.loop.each_turn([&] {
    if (++turns < 3) {
      return true; // so that the OS timer is programmed for the hour
    }
    armed = Clock::now();
    driven.rearm(near, 3ms);
    return false;
  });
  EXPECT_EQ(wishes.programs, 1U);
  ASSERT_TRUE(driven.runs_until([&] { return ran != Clock::time_point(); }));
  EXPECT_GE(ran - armed, 3ms);
  EXPECT_TRUE(far.armed());
}

// There is one OS timer: an earlier deadline takes the place of the one before, which wakes nobody
// any more (CONTRACT.md, line 53).
TYPED_TEST(Loops, AnEarlierDeadlineReplacesTheOneBefore) {
  Driven<TypeParam> driven({.service = {.rearm = Rearm::eager}});
  std::deque<typename Driven<TypeParam>::Timer> timers;
  for (int i = 0; i < 8; ++i) {
    timers.emplace_back(*driven.driver, [] {});
    driven.rearm(timers.back(), (12 - i) * 1ms);
  }
  const auto end = Clock::now() + 14ms;
  EXPECT_EQ(wishes.programs, timers.size());
  for (std::size_t i = 0; i + 1 < timers.size(); ++i) {
    timers[i].disarm();
  }
  ASSERT_TRUE(driven.runs_until([&] { return !timers.back().armed(); }));
  const auto wished = wishes.all();
  driven.loop.each_turn([&] { return Clock::now() < end; });
  driven.drain();
  EXPECT_EQ(wishes.all(), wished);
}

// Timers that move later, and others that are armed and disarmed beside them, ask nothing of the OS
// timer (CONTRACT.md, lines 24 and 46).
TYPED_TEST(Loops, ALaterDeadlineCostsNothing) {
  for (const Rearm rearm : {Rearm::lazy, Rearm::eager}) {
    Driven<TypeParam> driven({.service = {.rearm = rearm}});
    typename Driven<TypeParam>::Timer idle{*driven.driver, [] {}};
    typename Driven<TypeParam>::Timer request{*driven.driver, [] {}};
    driven.rearm(idle, 2h);
    driven.rearm(request, 1h);
    request.disarm();
    int turns = 0;
    std::size_t wished = 0;
    std::size_t settimes = 0;
    driven.loop.each_turn([&] {
      if (++turns == 3) {
        wished = wishes.all();
        settimes = timerfd_settimes;
      }
      driven.rearm(request, 1h + 1ms + turns * 1ms);
      request.disarm();
      driven.rearm(idle, 2h + turns * 1ms);
      return turns < 1000;
    });
    ASSERT_TRUE(driven.runs_until([&] { return turns == 1000; }));
    EXPECT_EQ(wishes.all(), wished);
    EXPECT_EQ(timerfd_settimes, settimes);
    driven.rearm(idle, 0ns); // earlier than any tick that may be programmed
    EXPECT_EQ(wishes.all(), wished + 1) << "the count sees nothing";
  }
}

// The OS timer is programmed again and again, and no timer is missed (CONTRACT.md, line 24).
TYPED_TEST(Loops, TimersOneAfterAnotherAllRun) {
  struct One {
    One(typename Driven<TypeParam>::Driver& driver, nanoseconds wanted)
        : timeout(wanted), timer{driver, [this] { ran = Clock::now(); }} {}
    nanoseconds timeout;
    Clock::time_point armed = Clock::now();
    Clock::time_point ran;
    typename Driven<TypeParam>::Timer timer;
  };
  Driven<TypeParam> driven;
  std::vector<std::unique_ptr<One>> all;
  for (const nanoseconds timeout : {0ms, 9ms, 1ms, 3ms, 3ms, 0ms, 7ms}) {
    all.push_back(std::make_unique<One>(*driven.driver, timeout));
    driven.rearm(all.back()->timer, timeout);
  }
  driven.drain();
  for (const auto& one : all) {
    EXPECT_NE(one->ran, Clock::time_point()) << one->timeout.count();
    EXPECT_GE(one->ran - one->armed, one->timeout);
  }
}

// A timer whose old deadline comes is filed anew and runs at the later one (CONTRACT.md, line 24).
TYPED_TEST(Loops, ATimerMovedLaterRunsAtItsLaterDeadline) {
  Driven<TypeParam> driven;
  Clock::time_point ran;
  typename Driven<TypeParam>::Timer timer{*driven.driver, [&ran] { ran = Clock::now(); }};
  driven.rearm(timer, 2ms);
  const auto moved = Clock::now();
  driven.rearm(timer, 8ms);
  driven.drain();
  EXPECT_GE(ran - moved, 8ms);
}

// What overflows never comes due, keeps the loop waiting, and hides no other timer (CONTRACT.md,
// lines 6 and 46).
TYPED_TEST(Loops, ADistantDeadlineNeverRuns) {
  for (const nanoseconds tick : {nanoseconds(1ms), nanoseconds(1us)}) {
    Driven<TypeParam> driven({.service = {.tick = tick}});
    int ran = 0;
    std::vector<std::unique_ptr<typename Driven<TypeParam>::Timer>> distant;
    for (const Nanoseconds endless :
         {Nanoseconds(std::chrono::hours::max()), Nanoseconds(nanoseconds::max() - 1ns),
          Nanoseconds(nanoseconds::max() - Clock::now().time_since_epoch()),
          Nanoseconds(std::chrono::hours(24 * 365 * 100)), Nanoseconds(std::chrono::hours(2000))}) {
      distant.push_back(
          std::make_unique<typename Driven<TypeParam>::Timer>(*driven.driver, [&ran] { ++ran; }));
      driven.rearm(*distant.back(), endless);
      int turns = 0;
      driven.loop.each_turn([&] { return ++turns < 3; });
      ASSERT_TRUE(driven.runs_until([&] { return turns == 3; }));
    }
    typename Driven<TypeParam>::Timer other{*driven.driver, [] {}};
    driven.rearm(other, 2ms);
    ASSERT_TRUE(driven.runs_until([&] { return !other.armed(); }));
    EXPECT_EQ(ran, 0);
    EXPECT_TRUE(driven.driver->busy());
    EXPECT_EQ(driven.driver->counters().live(), distant.size());
  }
}

// A disarmed or destroyed timer never runs, and then the loop ends (CONTRACT.md, lines 8 and 25).
TYPED_TEST(Loops, ADisarmedOrDestroyedTimerNeverRunsAndTheLoopEnds) {
  for (const Rearm rearm : {Rearm::lazy, Rearm::eager}) {
    Driven<TypeParam> driven({.service = {.rearm = rearm}});
    int ran = 0;
    typename Driven<TypeParam>::Timer disarmed{*driven.driver, [&ran] { ++ran; }};
    std::optional<typename Driven<TypeParam>::Timer> destroyed;
    destroyed.emplace(*driven.driver, [&ran] { ++ran; });
    driven.rearm(disarmed, 2ms);
    driven.rearm(*destroyed, 1ms);
    EXPECT_TRUE(disarmed.disarm());
    destroyed.reset();
    driven.drain();
    EXPECT_EQ(ran, 0);
    EXPECT_FALSE(driven.driver->busy());
    driven.rearm(disarmed, 1ms); // the loop may begin again
    driven.drain();
    EXPECT_EQ(ran, 1);
  }
}

// A storm of expiries is handled in passes, and other events have their turn between them
// (CONTRACT.md, lines 15, 30 and 46).
TYPED_TEST(Loops, AStormOfExpiriesLeavesRoomForOtherEvents) {
  constexpr std::size_t kBudget = 16;
  constexpr std::size_t kTimers = 500;
  struct Count {
    std::size_t ran = 0;
    std::size_t in_pass = 0;
    std::size_t longest = 0;
  } count;
  Driven<TypeParam> driven({.service = {}, .budget = kBudget});
  std::deque<typename Driven<TypeParam>::Timer> timers;
  for (std::size_t i = 0; i < kTimers; ++i) {
    timers.emplace_back(*driven.driver, [&count] {
      ++count.ran;
      count.longest = std::max(count.longest, ++count.in_pass);
    });
    driven.rearm(timers.back(), 1ms);
  }
  driven.loop.each_turn([&] {
    count.in_pass = 0;
    return count.ran < kTimers;
  });
  spin_until(Clock::now() + 3ms);
  const auto start = Clock::now();
  ASSERT_TRUE(driven.runs_until([&] { return count.ran == kTimers; }));
  // Loops differ in the order of timers and other events, so there may be two passes between two
  // events, but never three.
  EXPECT_LE(count.longest, 2 * kBudget);
  EXPECT_GE(wishes.soons, kTimers / kBudget - 1);
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(kPatience_s) / 2);
}

// A backlog runs in the order of the deadlines, whatever the budget, and without waiting
// (CONTRACT.md, lines 15 and 46).
TYPED_TEST(Loops, ABacklogRunsInOrder) {
  struct One {
    One(typename Driven<TypeParam>::Driver& driver, std::vector<int>& where, int which)
        : log(where), id(which), timer{driver, [this] { log.push_back(id); }} {}
    std::vector<int>& log;
    int id;
    typename Driven<TypeParam>::Timer timer;
  };
  for (const std::size_t budget : {std::size_t{1}, std::size_t{3}, std::size_t{256}}) {
    Driven<TypeParam> driven({.service = {}, .budget = budget});
    std::vector<int> log;
    std::deque<One> timers;
    std::vector<int> expected;
    for (int i = 0; i < 10; ++i) {
      timers.emplace_back(*driven.driver, log, 9 - i);
      expected.push_back(i);
      driven.rearm(timers.back().timer, (10 - i) * 1ms);
    }
    spin_until(Clock::now() + 12ms);
    driven.drain();
    EXPECT_EQ(log, expected);
  }
}

// An action may arm its timer again, for now, and thus starves nobody (CONTRACT.md, line 13).
TYPED_TEST(Loops, AnActionMayArmItsTimerForNow) {
  Driven<TypeParam> driven;
  struct Again {
    Driven<TypeParam>& driven;
    int left = 5;
    typename Driven<TypeParam>::Timer timer{*driven.driver, [this] {
                                              if (--left > 0) {
                                                driven.rearm(timer, 0ms);
                                              }
                                            }};
  } again{driven};
  driven.rearm(again.timer, 1ms);
  int turns = 0;
  driven.loop.each_turn([&] {
    ++turns;
    return again.left > 0;
  });
  driven.drain();
  EXPECT_EQ(again.left, 0);
  EXPECT_GE(turns, 4);
}

// An action may destroy the driver, with other timers due and a pass to follow. Timers may outlive
// it, and the loop ends (CONTRACT.md, lines 13, 25 and 31).
TYPED_TEST(Loops, AnActionMayDestroyTheDriverBeforeItsTimers) {
  for (const std::size_t budget : {std::size_t{1}, std::size_t{256}}) {
    for (const nanoseconds timeout : {0ms, 1ms}) {
      Driven<TypeParam> driven({.service = {}, .budget = budget});
      struct Owner {
        Driven<TypeParam>& driven;
        int ran = 0;
      } owner{driven};
      std::deque<typename Driven<TypeParam>::Timer> timers;
      for (int i = 0; i < 3; ++i) {
        timers.emplace_back(*driven.driver, [&owner] {
          ++owner.ran;
          owner.driven.driver.reset();
        });
        driven.rearm(timers.back(), timeout);
      }
      timers.emplace_back(*driven.driver, [&owner] { ++owner.ran; });
      driven.rearm(timers.back(), 1h);
      driven.drain();
      EXPECT_EQ(owner.ran, 1);
      EXPECT_FALSE(timers.back().armed());
    }
  }
}

// The driver may go between two passes, and while its OS timer is programmed (CONTRACT.md, lines 15
// and 25).
TYPED_TEST(Loops, TheDriverMayGoBetweenTwoPasses) {
  Driven<TypeParam> driven({.service = {}, .budget = 1});
  int ran = 0;
  std::deque<typename Driven<TypeParam>::Timer> timers;
  for (int i = 0; i < 20; ++i) {
    timers.emplace_back(*driven.driver, [&ran] { ++ran; });
    driven.rearm(timers.back(), 0ms);
  }
  driven.loop.each_turn([&] {
    if (ran > 0) {
      driven.driver.reset();
    }
    return ran == 0;
  });
  driven.drain();
  EXPECT_GE(ran, 1);
  EXPECT_LE(ran, 3);
}

TYPED_TEST(Loops, TheDriverMayGoWhileItsOsTimerIsProgrammed) {
  Driven<TypeParam> driven;
  int ran = 0;
  typename Driven<TypeParam>::Timer timer{*driven.driver, [&ran] { ++ran; }};
  driven.rearm(timer, 1ms);
  driven.driver.reset(); // perhaps before the loop has seen the request
  int turns = 0;
  driven.loop.each_turn([&] {
    spin_until(Clock::now() + 1ms);
    return ++turns < 4;
  });
  driven.drain();
  EXPECT_EQ(ran, 0);
}

// Where the loop is C++, what an action throws leaves it, and the other timers run in the next pass
// (CONTRACT.md, lines 14 and 46). Where it is C, the program ends.
template <class Loop> void throw_once(int& ran) {
  Driven<Loop> driven;
  std::deque<typename Driven<Loop>::Timer> timers;
  for (int i = 0; i < 3; ++i) {
    timers.emplace_back(*driven.driver, [&ran] {
      if (++ran == 1) {
        throw std::runtime_error("an action");
      }
    });
    driven.rearm(timers.back(), 1ms);
  }
  EXPECT_THROW(driven.drain(), std::runtime_error);
  EXPECT_TRUE(driven.driver->busy());
  driven.drain();
}

TYPED_TEST(Loops, AnActionThatThrowsLeavesTheOthersToRun) {
  int ran = 0;
  if constexpr (TypeParam::kMayThrow) {
    throw_once<TypeParam>(ran);
    EXPECT_EQ(ran, 3);
  } else {
    EXPECT_DEATH(throw_once<TypeParam>(ran), "terminate");
  }
}

// An action may destroy the driver and throw.
TYPED_TEST(Loops, AnActionMayDestroyTheDriverAndThrow) {
  if constexpr (TypeParam::kMayThrow) {
    Driven<TypeParam> driven;
    typename Driven<TypeParam>::Timer timer{*driven.driver, [&driven] {
                                              driven.driver.reset();
                                              throw std::runtime_error("an action");
                                            }};
    driven.rearm(timer, 0ms);
    EXPECT_THROW(driven.drain(), std::runtime_error);
    driven.drain();
  }
}

// After stop() the loop ends although timers are armed, and none runs (CONTRACT.md, line 25).
TYPED_TEST(Loops, StoppedWithTimersArmedTheLoopEnds) {
  for (const nanoseconds timeout : {nanoseconds(0), nanoseconds(1h)}) {
    Driven<TypeParam> driven;
    int ran = 0;
    std::deque<typename Driven<TypeParam>::Timer> timers;
    for (int i = 0; i < 3; ++i) {
      timers.emplace_back(*driven.driver, [&ran] { ++ran; });
      driven.rearm(timers.back(), timeout);
    }
    driven.loop.each_turn([&] {
      spin_until(Clock::now() + 2ms);
      driven.driver->stop();
      return false;
    });
    // Loops differ in whether timers or other events come first.
    driven.drain();
    const int before = ran;
    if (timeout == 1h) {
      EXPECT_EQ(before, 0);
    }
    driven.rearm(timers.front(), 0ms); // may still be armed, and does not run
    timers.back().disarm();
    driven.rearm(timers.back(), 1ms);
    driven.drain();
    EXPECT_EQ(ran, before);
    EXPECT_FALSE(driven.driver->busy());
  }
}

// The rest of the pass still runs when an action calls stop(), and no other pass does (CONTRACT.md,
// line 25).
TYPED_TEST(Loops, AnActionMayStopTheDriver) {
  Driven<TypeParam> driven({.service = {}, .budget = 2});
  struct Owner {
    Driven<TypeParam>& driven;
    int ran = 0;
  } owner{driven};
  std::deque<typename Driven<TypeParam>::Timer> timers;
  for (int i = 0; i < 5; ++i) {
    timers.emplace_back(*driven.driver, [&owner] {
      ++owner.ran;
      owner.driven.driver->stop();
    });
    driven.rearm(timers.back(), 1ms);
  }
  driven.drain();
  EXPECT_EQ(owner.ran, 2);
}

// Set up in one thread, run in another, torn down in the first after the join (CONTRACT.md, line
// 32).
TYPED_TEST(Loops, IsSetUpRunAndTornDownByDifferentThreads) {
  Driven<TypeParam> driven;
  typename Driven<TypeParam>::Timer near{*driven.driver, [] {}};
  typename Driven<TypeParam>::Timer far{*driven.driver, [] {}};
  driven.rearm(near, 1ms);
  driven.rearm(far, 1h);
  std::thread([&] { driven.runs_until([&] { return !near.armed(); }); }).join();
  EXPECT_FALSE(near.armed());
}

// An OS timer that the test wakes, and that fails when it is told to.
class ByHand {
public:
  using Loop = NoLoop;

  void expire() { wake_(); }
  std::vector<Clock::time_point> programmed;
  int soons = 0;
  bool fails = false;

protected:
  ByHand(NoLoop, Action wake) : wake_(wake) {}

  void program(Clock::time_point when) {
    fail_if_told();
    programmed.push_back(when);
  }
  void soon() {
    fail_if_told();
    ++soons;
  }
  void cancel() {}

private:
  void fail_if_told() const {
    if (fails) {
      throw std::bad_alloc();
    }
  }

  Action wake_;
};
using HandDriver = LoopDriver<DefaultBackend, ByHand>;
static_assert(TimerFacility<HandDriver>);

void rearm(HandDriver& driver, HandDriver::Timer& timer, Nanoseconds timeout) {
  timer.rearm(driver.timeout(timeout), driver.now());
}

// A wake-up before the tick runs nothing, and the same tick is asked for again (CONTRACT.md, line
// 46).
TEST(LoopDriver, AWakeUpBeforeTheTickIsAskedForAgain) {
  HandDriver driver;
  HandDriver::Timer timer{driver, [] { FAIL() << "early"; }};
  rearm(driver, timer, 20s);
  for (int i = 0; i < 3; ++i) {
    driver.expire();
  }
  ASSERT_EQ(driver.programmed.size(), 4U);
  EXPECT_EQ(driver.programmed.front(), driver.programmed.back());
  EXPECT_GE(driver.programmed.front(), Clock::now() + 10s);
  EXPECT_EQ(driver.soons, 0);
}

// Only an earlier deadline is asked for (CONTRACT.md, line 24).
TEST(LoopDriver, AsksForEarlierDeadlinesOnly) {
  HandDriver driver;
  HandDriver::Timer first{driver, [] {}};
  HandDriver::Timer second{driver, [] {}};
  rearm(driver, first, 1h);
  rearm(driver, first, 2h);
  rearm(driver, second, 3h);
  EXPECT_EQ(driver.programmed.size(), 1U);
  rearm(driver, second, 30min);
  ASSERT_EQ(driver.programmed.size(), 2U);
  EXPECT_LT(driver.programmed[1], driver.programmed[0]);
}

// When the OS timer fails while a timer is armed, the caller gets the exception, the timer is
// armed, and the next one asks again.
TEST(LoopDriver, AfterAFailureTheNextTimerAsksAgain) {
  HandDriver driver;
  HandDriver::Timer first{driver, [] {}};
  HandDriver::Timer second{driver, [] {}};
  driver.fails = true;
  EXPECT_THROW(rearm(driver, first, 1h), std::bad_alloc);
  EXPECT_TRUE(first.armed());
  EXPECT_FALSE(driver.busy());
  driver.fails = false;
  rearm(driver, second, 2h); // later than the first, which waits for it
  ASSERT_EQ(driver.programmed.size(), 1U);
  EXPECT_LT(driver.programmed[0], Clock::now() + 61min);
}

// When it fails after a pass, and again, the next timer that is filed asks for one.
TEST(LoopDriver, AfterAFailureInAPassTheNextTimerAsksAgain) {
  HandDriver driver{DriverConfig{.service = {}, .budget = 1}};
  int ran = 0;
  HandDriver::Timer first{driver, [&ran] { ++ran; }};
  HandDriver::Timer second{driver, [&ran] { ++ran; }};
  rearm(driver, first, 0ms);
  rearm(driver, second, 0ms);
  spin_until(Clock::now() + 2ms);
  driver.fails = true;
  driver.expire();
  EXPECT_EQ(ran, 1);
  EXPECT_FALSE(driver.busy());
  driver.fails = false;
  const auto before = driver.programmed.size();
  rearm(driver, first, 1h);
  EXPECT_GT(driver.programmed.size(), before);
  driver.expire();
  EXPECT_EQ(ran, 2);
}

// A wake-up after stop(), and one too many, do nothing (CONTRACT.md, line 25).
TEST(LoopDriver, AWakeUpAfterTheEndRunsNothing) {
  HandDriver driver;
  int ran = 0;
  HandDriver::Timer timer{driver, [&ran] { ++ran; }};
  driver.expire();
  rearm(driver, timer, 0ms);
  spin_until(Clock::now() + 2ms);
  driver.stop();
  const auto before = driver.programmed.size();
  driver.expire();
  EXPECT_EQ(ran, 0);
  EXPECT_EQ(driver.programmed.size(), before);
}

TEST(LoopDriver, RefusesABudgetOfNothing) {
  EXPECT_THROW(HandDriver(DriverConfig{.service = {}, .budget = 0}), std::invalid_argument);
  EXPECT_THROW(HandDriver(DriverConfig{.service = {.tick = 0ms}}), std::invalid_argument);
}

// Where scripts/test has installed everything, no loop may be missing.
TEST(LoopDriver, EveryLoopIsTested) {
  std::string missing;
#if !defined(TIMERS_TEST_LIBUV)
  missing += " libuv";
#endif
#if !defined(TIMERS_TEST_LIBEV)
  missing += " libev";
#endif
#if !defined(TIMERS_TEST_IO_URING)
  missing += " liburing";
#endif
#if !defined(TIMERS_TEST_ASIO)
  missing += " asio";
#endif
  if (!missing.empty()) {
    ASSERT_EQ(std::getenv("IDLEWHEEL_SKIP_NOTHING"), nullptr) << "not found:" << missing;
    GTEST_SKIP() << "not found:" << missing;
  }
}

} // namespace
} // namespace timers::test
