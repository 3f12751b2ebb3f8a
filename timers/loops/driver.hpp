// LoopDriver: a timer service that an event loop drives with a single OS timer. The other headers
// of this folder give it the timer of one loop each: timerfd.hpp (epoll, poll, select),
// io_uring.hpp, libuv.hpp, libev.hpp and asio.hpp (standalone Asio). For Boost.Asio there is
// asio/driver.hpp. Each keeps the same promises (CONTRACT.md, line 53).
//
// The OS timer is programmed only when the next deadline becomes earlier than what it is programmed
// for. Under load timers only move later, so that is never: no system call per request.
//
// Expired timers are handled in passes of at most `budget` timers. Between two passes the loop has
// a turn, so a storm of expiries does not hold up I/O.
//
// The loop must be run by one thread at a time, which also uses the timers. They may be set up
// before it runs in another thread, and destroyed after that was joined.
//
// To disarm a timer costs no system call. Therefore the loop stays busy until the tick that the OS
// timer is programmed for, even when the last timer has been disarmed. stop() ends that.
#pragma once

#include "timers/facility.hpp"
#include "timers/frames.hpp"
#include "timers/timer_service.hpp"

#include <boost/core/no_exceptions_support.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string_view>

namespace timers {

// The `Loop` of an OS timer that is made without one.
struct NoLoop {};

// What an action throws passes through LoopDriver. Where it goes then depends on the loop, and the
// header of the loop says it. The other due timers run in the next pass, and the timer that threw
// does not run again.
//
// `OsTimer` is the OS timer of one loop. Its public functions are those of the driver too. The
// driver uses these, all from the loop's thread, and never while one of them runs:
//
// OsTimer(Loop loop, Action wake): may throw.
//
// program(time_point when): has the loop call `wake` once, at `when`, in place of what it was
// programmed for before. It may call early: then the driver asks again. May throw.
//
// soon(): the same, after the loop's other events had a turn. May throw.
//
// cancel(): has the loop not call `wake`. When neither program() nor soon() follows, this must let
// the loop run out of work.
//
// A call of `wake` may throw and may destroy the OS timer. One call too many does no harm.
template <TimerBackend Backend, class OsTimer, TraceSink Trace = NoTrace>
class LoopDriver : public OsTimer {
  using Service = TimerService<Backend, std::chrono::steady_clock, Trace>;

public:
  using Instant = typename Service::Instant;
  using Timeout = typename Service::Timeout;

  // As TimerService::Timer (timer_service.hpp), on this driver.
  class Timer : public Service::Timer {
  public:
    Timer(LoopDriver& driver, Action action) noexcept : Service::Timer(driver.service_, action) {}
  };

  // Throws std::invalid_argument for a tick or a budget that is not positive, and whatever the
  // constructors of the backend and the OS timer throw.
  explicit LoopDriver(typename OsTimer::Loop loop, DriverConfig config = {}, Trace trace = {})
      : OsTimer(loop, [this] { on_wake(); }), service_(config.service, {}, trace),
        budget_(config.budget) {
    if (budget_ == 0) {
      fail(std::invalid_argument("a pass must handle more than no timer"));
    }
    service_.on_earlier_deadline([this] { sleep_until(service_.next_deadline()); });
  }
  template <class Loop = typename OsTimer::Loop>
  requires std::same_as<Loop, NoLoop>
  explicit LoopDriver(DriverConfig config = {}, Trace trace = {})
      : LoopDriver(Loop(), config, trace) {}

  LoopDriver(const LoopDriver&) = delete;
  LoopDriver& operator=(const LoopDriver&) = delete;

  // These mean what they mean in TimerService.
  Instant now() noexcept { return service_.now(); }
  Timeout timeout(Nanoseconds duration) const noexcept { return service_.timeout(duration); }
  std::chrono::nanoseconds tick() const noexcept { return service_.tick(); }
  const TimerCounters& counters() const noexcept { return service_.counters(); }
  std::string_view check() const { return service_.check(); }

  // Whether a pass is to come. A loop that is written by hand may end when this is false and there
  // is no other work.
  bool busy() const noexcept { return busy_; }

  // Lets the loop run out of work. Timers may still be armed and destroyed, but they do not run.
  // When an action calls this, the rest of its pass still runs.
  void stop() {
    stopped_ = true;
    sleep_until(kNever);
  }

private:
  void on_wake() {
    if (!stopped_) {
      run_pass();
    }
  }

  // Has the next pass at `tick`. When the OS timer throws, no wake-up is expected, and the next
  // timer that is filed asks for one.
  void sleep_until(Tick tick) {
    expect(kNever);
    if (tick == kNever || stopped_) {
      this->cancel();
      return;
    }
    this->program(std::chrono::steady_clock::time_point(service_.time_of(tick)));
    expect(tick);
  }

  TIMERS_FRAME void run_pass() {
    // An action may throw, and may destroy the driver. What is left runs in another pass.
    struct Continuation {
      LoopDriver& driver;
      std::weak_ptr<const bool> alive;
      bool wanted = true;
      ~Continuation() {
        if (wanted && !alive.expired()) {
          driver.pass_again();
        }
      }
    } continuation{*this, alive_};
    const Pass pass = service_.run_due(budget_);
    if (pass == Pass::done) {
      sleep_until(service_.next_deadline()); // when it throws, another pass tries again
    }
    continuation.wanted = pass == Pass::backlog;
  }

  // It does not throw, because it may run while an exception is handled.
  void pass_again() noexcept {
    expect(kNever);
    if (stopped_) {
      return;
    }
    BOOST_TRY {
      this->soon();
      expect(0); // it is on its way: nothing needs an earlier one
    }
    BOOST_CATCH(const std::exception&) {}
    BOOST_CATCH_END
  }

  void expect(Tick tick) noexcept {
    busy_ = tick != kNever;
    service_.expect_wake(tick);
  }

  Service service_;
  const std::size_t budget_;
  bool busy_ = false;
  bool stopped_ = false;
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
};

} // namespace timers
