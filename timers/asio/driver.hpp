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
// loops/driver.hpp has the rest of the interface, which is the same for every event loop.
#pragma once

#include "timers/facility.hpp"
#include "timers/loops/driver.hpp"

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <chrono>
#include <memory>

namespace timers {

// The OS timer of an io_context, for LoopDriver.
class AsioOsTimer {
public:
  using Loop = boost::asio::io_context::executor_type;

  AsioOsTimer(const AsioOsTimer&) = delete;
  AsioOsTimer& operator=(const AsioOsTimer&) = delete;

protected:
  AsioOsTimer(Loop executor, Action wake)
      : timer_(executor), wake_(std::make_shared<Action>(wake)) {}
  ~AsioOsTimer() = default;

  void program(std::chrono::steady_clock::time_point when) {
    timer_.expires_at(when);
    timer_.async_wait([this, when, wake = std::weak_ptr(wake_)](boost::system::error_code error) {
      // A handler that Asio has queued cannot be recalled. The driver may be gone by now, or may
      // wait for another time.
      if (const auto kept = wake.lock(); !error && kept && timer_.expiry() == when) {
        (*kept)(); // kept, because the driver may go during the call
      }
    });
  }

  void soon() {
    boost::asio::post(timer_.get_executor(), [wake = std::weak_ptr(wake_)] {
      if (const auto kept = wake.lock()) {
        (*kept)();
      }
    });
  }

  void cancel() { timer_.cancel(); }

private:
  boost::asio::basic_waitable_timer<std::chrono::steady_clock,
                                    boost::asio::wait_traits<std::chrono::steady_clock>, Loop>
      timer_;
  std::shared_ptr<Action> wake_;
};

template <TimerBackend Backend, TraceSink Trace = NoTrace>
class AsioDriver : public LoopDriver<Backend, AsioOsTimer, Trace> {
public:
  using Executor = AsioOsTimer::Loop;
  using LoopDriver<Backend, AsioOsTimer, Trace>::LoopDriver;
};

} // namespace timers
