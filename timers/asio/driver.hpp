// AsioDriver: a timer service that an io_context drives with a single OS timer. Use it for a server
// on Boost.Asio or Boost.Beast.
//
//   boost::asio::io_context io{1};
//   using Timers = timers::AsioDriver<timers::HierarchicalWheel>;
//   Timers timers{io.get_executor()};
//   Timers::Timer idle{timers, [this] { socket.close(); }}; // captures at most one pointer
//   ...
//   idle.rearm(timers.timeout(120s), timers.now());
//
// The OS timer is programmed only when the next deadline becomes earlier than what it is programmed
// for. Under load timers only move later, so that is never: no timerfd_settime per request.
//
// The io_context must be run by one thread at a time, which also uses the timers. They may be set
// up before it runs in another thread, and destroyed after that was joined. Expired timers are
// handled in passes of at most `budget` timers. Each pass is a handler of its own, so a storm of
// expiries does not hold up I/O.
//
// An exception that an action throws leaves io_context::run(). When that is called again, the other
// due timers run.
//
// To disarm a timer costs no system call. Therefore the io_context stays busy until the tick that
// the OS timer is programmed for, even when the last timer has been disarmed. stop() ends that.
#pragma once

#include "timers/facility.hpp"
#include "timers/timer_service.hpp"

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/core/no_exceptions_support.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <new>
#include <stdexcept>
#include <string_view>

namespace timers {

template <TimerBackend Backend, TraceSink Trace = NoTrace> class AsioDriver {
  using Service = TimerService<Backend, std::chrono::steady_clock, Trace>;

public:
  using Executor = boost::asio::io_context::executor_type;
  using Instant = typename Service::Instant;
  using Timeout = typename Service::Timeout;

  // As TimerService::Timer (timer_service.hpp), on this driver.
  class Timer : public Service::Timer {
  public:
    Timer(AsioDriver& driver, Action action) noexcept : Service::Timer(driver.service_, action) {}
  };

  // Throws std::invalid_argument for a tick or a budget that is not positive, and whatever the
  // backend's constructor throws.
  explicit AsioDriver(Executor executor, DriverConfig config = {}, Trace trace = {})
      : service_(config.service, {}, trace), os_timer_(executor), budget_(config.budget) {
    if (budget_ == 0) {
      fail(std::invalid_argument("a pass must handle more than no timer"));
    }
    service_.on_earlier_deadline([this] { program(service_.next_deadline()); });
  }

  // These mean what they mean in TimerService.
  Instant now() noexcept { return service_.now(); }
  Timeout timeout(Nanoseconds duration) const noexcept { return service_.timeout(duration); }
  std::chrono::nanoseconds tick() const noexcept { return service_.tick(); }
  const TimerCounters& counters() const noexcept { return service_.counters(); }
  std::string_view check() const { return service_.check(); }

  // Lets the io_context run out of work. Timers may still be armed and destroyed, but they do not
  // run. When an action calls this, the rest of its pass still runs.
  void stop() {
    stopped_ = true;
    os_timer_.cancel();
  }

private:
  using OsTimer = boost::asio::basic_waitable_timer<
      std::chrono::steady_clock, boost::asio::wait_traits<std::chrono::steady_clock>, Executor>;

  // Has the OS timer expire at `tick`. A handler that Asio has queued cannot be recalled, so each
  // first looks whether the driver still exists, and whether it was stopped or programmed anew.
  // When Asio throws for lack of memory, no wake-up is expected, and the next timer that is filed
  // asks for one.
  void program(Tick tick) {
    service_.expect_wake(kNever);
    programmed_ = kNever;
    if (tick == kNever || stopped_) {
      return;
    }
    os_timer_.expires_at(std::chrono::steady_clock::time_point(service_.time_of(tick)));
    os_timer_.async_wait(
        [this, alive = std::weak_ptr(alive_), tick](boost::system::error_code error) {
          if (!error && !alive.expired() && !stopped_ && tick == programmed_) {
            run_pass();
          }
        });
    programmed_ = tick;
    service_.expect_wake(tick);
  }

  void run_pass() {
    // An action may throw, and may destroy the driver. What is left runs in another pass.
    struct Continuation {
      AsioDriver& driver;
      std::weak_ptr<const bool> alive;
      bool wanted = true;
      ~Continuation() {
        if (wanted && !alive.expired()) {
          driver.post_pass();
        }
      }
    } continuation{*this, alive_};
    const Pass pass = service_.run_due(budget_);
    if (pass == Pass::done) {
      program(service_.next_deadline()); // when it throws, another pass tries again
    }
    continuation.wanted = pass == Pass::backlog;
  }

  // Has another pass run soon. It does not throw, because it may run while an exception is
  // handled.
  void post_pass() noexcept {
    service_.expect_wake(kNever);
    BOOST_TRY {
      boost::asio::post(os_timer_.get_executor(), [this, alive = std::weak_ptr(alive_)] {
        if (!alive.expired() && !stopped_) {
          run_pass();
        }
      });
      service_.expect_wake(0); // it is on its way: nothing needs an earlier one
    }
    BOOST_CATCH(const std::bad_alloc&) {}
    BOOST_CATCH_END
  }

  Service service_;
  OsTimer os_timer_;
  const std::size_t budget_;
  Tick programmed_ = kNever;
  bool stopped_ = false;
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
};

} // namespace timers
