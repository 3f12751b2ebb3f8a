// AsioBaseline: the baseline of the study, one boost::asio::steady_timer per timer. This is what
// users of Asio or Beast have without this library; it is here to be compared with. To use the
// library with Asio, see asio/driver.hpp.
//
// Asio keeps its timers in a binary heap (scheme 3 of Varghese & Lauck) under the reactor's mutex.
// Re-arming calls expires_after() and a new async_wait(). That costs a clock read, a removal from
// the middle of the heap and an insertion, and the handler of the cancelled wait goes through the
// scheduler.
//
//   arm, rearm, disarm   O(log n); arm and rearm also cost a clock read and an allocated handler
//   bytes/timer          about 200: the timer, its state shared with the handler, the handler
//
// Lazy re-arming keeps the pending wait when the deadline moves later, and waits again when that
// completes. Timers do not run early, and one action may do anything to any timer, as with
// AsioDriver.
#pragma once

#include "timers/backend.hpp"
#include "timers/facility.hpp"

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/intrusive/list.hpp>

#include <chrono>
#include <cstdint>
#include <memory>

namespace timers {

class AsioBaseline {
public:
  using Executor = boost::asio::io_context::executor_type;
  using Clock = std::chrono::steady_clock;
  using Instant = Clock::time_point;
  using Timeout = Nanoseconds;
  class Timer;

  static constexpr BackendInfo kInfo{
      .name = "asio",
      .scheme = "3",
      .summary = "baseline: one boost::asio::steady_timer per timer",
      .peer_order = PeerOrder::any,
      .exact_next_deadline = true,
      .costs = {.arm = Cost::logarithmic,
                .rearm = Cost::logarithmic,
                .disarm = Cost::logarithmic,
                .expire = Cost::logarithmic},
      .bytes_per_timer = 200,
  };

  // Reads only the way to re-arm from `config`, because Asio has neither ticks nor a budget.
  explicit AsioBaseline(Executor executor, DriverConfig config = {})
      : executor_(executor), lazy_(config.service.rearm == Rearm::lazy) {}

  // Disarms the timers that are still armed. Afterwards they may only be destroyed.
  ~AsioBaseline();

  AsioBaseline(const AsioBaseline&) = delete;
  AsioBaseline& operator=(const AsioBaseline&) = delete;

  Instant now() const noexcept { return Clock::now(); }
  Timeout timeout(Nanoseconds duration) const noexcept { return duration; }
  const TimerCounters& counters() const noexcept { return counters_; }

  // Lets the io_context run out of work. Timers may still be armed and destroyed, but they do not
  // run. Before that, a timer keeps the io_context busy while it is armed, or until it is destroyed
  // if it was disarmed lazily.
  void stop() noexcept;

private:
  using Hook =
      boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;
  using Timers = boost::intrusive::list<Timer, boost::intrusive::base_hook<Hook>,
                                        boost::intrusive::constant_time_size<false>>;

  Executor executor_;
  const bool lazy_;
  bool stopped_ = false;
  TimerCounters counters_;
  Timers timers_; // all that exist
};

class AsioBaseline::Timer : public AsioBaseline::Hook {
public:
  Timer(AsioBaseline& facility, Action action)
      : facility_(facility), state_(std::make_shared<State>(*this, facility.executor_, action)) {
    facility.timers_.push_back(*this);
  }

  ~Timer() { disarm(); }

  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void arm(Timeout timeout, Instant now) { rearm(timeout, now); }

  void rearm(Timeout timeout, Instant now) {
    State& state = *state_;
    ++(state.armed ? facility_.counters_.rearmed : facility_.counters_.armed);
    state.armed = true;
    state.deadline = now > Instant::max() - timeout ? Instant::max() : now + timeout;
    if (!facility_.lazy_) {
      state.os_timer.expires_after(timeout); // cancels the pending wait
      wait();
    } else if (!state.waiting || state.deadline < state.os_timer.expiry()) {
      state.os_timer.expires_at(state.deadline);
      wait();
    }
  }

  bool disarm() noexcept {
    State& state = *state_;
    if (!state.armed) {
      return false;
    }
    state.armed = false;
    ++facility_.counters_.disarmed;
    if (!facility_.lazy_) {
      cancel();
    }
    return true;
  }

  bool armed() const noexcept { return state_->armed; }

private:
  friend AsioBaseline;

  // A handler that Asio has queued cannot be recalled. It holds a weak reference to this, so that
  // it does nothing when it comes after the timer's end.
  struct State {
    State(Timer& timer, Executor executor, Action act)
        : owner(timer), os_timer(executor), action(act) {}
    Timer& owner;
    boost::asio::basic_waitable_timer<Clock, boost::asio::wait_traits<Clock>, Executor> os_timer;
    Action action;
    Instant deadline{};
    std::uint64_t generation = 0; // of the pending wait; the handler of an older one does nothing
    bool waiting = false;
    bool armed = false;
  };

  void cancel() noexcept {
    ++state_->generation;
    state_->waiting = false;
    state_->os_timer.cancel();
  }

  void wait() {
    State& state = *state_;
    if (facility_.stopped_) {
      return;
    }
    state.waiting = true;
    ++facility_.counters_.moved;
    state.os_timer.async_wait([weak = std::weak_ptr(state_),
                               generation = ++state.generation](boost::system::error_code error) {
      const auto alive = weak.lock();
      if (alive && !error && alive->generation == generation) {
        alive->owner.on_wait_done();
      }
    });
  }

  void on_wait_done() {
    State& state = *state_;
    state.waiting = false;
    if (!state.armed) {
      return; // disarmed lazily
    }
    const Instant now = Clock::now();
    if (facility_.lazy_ && state.deadline > now) {
      state.os_timer.expires_at(state.deadline); // moved lazily
      wait();
      return;
    }
    state.armed = false;
    ++facility_.counters_.expired;
    facility_.counters_.late.record(now - state.deadline);
    run_action(state.action);
  }

  AsioBaseline& facility_;
  std::shared_ptr<State> state_;
};

inline AsioBaseline::~AsioBaseline() {
  for (Timer& timer : timers_) {
    timer.state_->armed = false;
    timer.cancel();
  }
}

inline void AsioBaseline::stop() noexcept {
  stopped_ = true;
  for (Timer& timer : timers_) {
    timer.cancel();
  }
}

static_assert(TimerFacility<AsioBaseline>);

} // namespace timers
