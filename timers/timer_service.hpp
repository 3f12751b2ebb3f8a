// The facility: turns durations into deadlines, keeps the timers of one thread in a backend, and
// runs the actions of those that are due.
//
//   timers::TimerService<timers::HierarchicalWheel> service;
//   decltype(service)::Timer idle{service, [&] { socket.close(); }};
//   ...
//   const auto now = service.now();                  // once per completed I/O event
//   idle.rearm(service.timeout(120s), now);          // as often as you like
//   ...
//   service.run_due();                               // when the OS timer says so
//
// AsioDriver (asio/driver.hpp) is a TimerService that an io_context drives.
//
// Never early: deadlines are rounded up to a tick, now is rounded down, the clock is monotonic. A
// timer runs in the first pass (run_due) at or after its deadline, which is its timeout rounded up
// to whole ticks after the next tick edge; so less than two ticks late by rounding, less than one
// when the timeout is a whole number of ticks.
//
// A service and its timers belong to one thread, the first that arms, disarms or runs a pass: there
// are no locks. Builds with assertions assert it.
#pragma once

#include "timers/action.hpp"
#include "timers/backend.hpp"
#include "timers/config.hpp"
#include "timers/timer_counters.hpp"
#include "timers/trace_sink.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <thread>

namespace timers {

// A reading of the clock in ticks, rounded both ways: down to say what is due, up for deadlines.
struct Instant {
  Tick floor = 0;
  Tick ceil = 0;
};

enum class Pass {
  done,      // nothing that was due is left
  backlog,   // the budget ran out: call run_due() again
  destroyed, // an action destroyed the service: do not touch it
};

// steady_clock, or one that a test moves by hand. Must never be a wall clock.
template <class C>
concept MonotonicClock = requires(const C& clock) {
  {
    clock.now().time_since_epoch()
    } -> std::convertible_to<std::chrono::duration<std::int64_t, std::nano>>;
};

// The tick from `first` to `last` with the most trailing zero bits: timers that may wait a little
// meet at the same few ticks, and wake the loop together.
constexpr Tick roundest_tick(Tick first, Tick last) noexcept {
  if (first == 0) {
    return 0;
  }
  const auto zeros = static_cast<unsigned>(std::bit_width((first - 1) ^ last)) - 1;
  return last >> zeros << zeros;
}

// `Trace` sees every operation (trace.hpp); the default sees none and costs nothing.
template <TimerBackend Backend, MonotonicClock Clock = std::chrono::steady_clock,
          TraceSink Trace = NoTrace>
class TimerService {
public:
  using Instant = timers::Instant;
  using Timeout = Ticks;
  class Timer;

  static constexpr std::size_t kNoBudget = static_cast<std::size_t>(-1);

  // Tick 0 is now, so results do not depend on where the clock starts.
  // Throws std::invalid_argument for a tick that is not positive, and what the backend's
  // constructor throws.
  explicit TimerService(ServiceConfig config = {}, Clock clock = {}, Trace trace = {})
      : clock_(clock), trace_(trace), epoch_ns_(clock_ns()), tick_ns_(checked_tick(config.tick)),
        lazy_(config.rearm == Rearm::lazy), backend_(make_backend(config)) {
    allow_from(0);
  }

  // Timers that are still armed are disarmed; afterwards they may only be destroyed. As much work
  // as to expire all that are filed.
  ~TimerService() {
    if (destroyed_ != nullptr) {
      *destroyed_ = true;
    }
    backend_.advance(kLatest);
    while (auto* node = backend_.pop_expired()) {
      static_cast<Timer&>(*node).orphan();
    }
  }

  TimerService(const TimerService&) = delete;
  TimerService& operator=(const TimerService&) = delete;

  // Reads the clock, once; divides when a tick has passed. Never goes back, whatever the clock
  // does.
  Instant now() noexcept {
    const std::uint64_t since = clock_ns() - epoch_ns_;
    if (static_cast<std::int64_t>(since - latest_ns_) > 0) {
      latest_ns_ = since;
      if (since - tick_began_ns_ >= tick_ns_) [[unlikely]] {
        tick_began_ns_ = since - since % tick_ns_;
        latest_tick_ = since / tick_ns_;
      }
    }
    const Instant now{latest_tick_, latest_tick_ + (latest_ns_ != tick_began_ns_ ? 1 : 0)};
    trace_.at(now.floor, now.ceil);
    return now;
  }

  // A duration in ticks, rounded up; a negative one is 0. Divides: convert once, use often.
  Timeout timeout(std::chrono::nanoseconds duration) const noexcept {
    const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(duration.count(), 0));
    return ns / tick_ns_ + (ns % tick_ns_ != 0 ? 1 : 0);
  }

  // One pass: reads the clock and runs the actions of due timers, earliest first (a timer moved
  // lazily keeps the place it was filed at, when a pass covers several ticks), handling at most
  // `budget` timers (lazy ones that are only filed again count). What the pass finds armed for its
  // own tick by one of its actions waits for the next tick, so a pass runs no more actions than
  // timers were pending when it began. Actions may do anything to any timer and may destroy the
  // service. An action that throws ends the pass with its exception; its timer does not run again,
  // the others wait for the next pass. So does a backend that cannot file a lazy timer again
  // (std::bad_alloc); that timer is disarmed. A pass inside a pass does nothing and says backlog.
  Pass run_due(std::size_t budget = kNoBudget) {
    assert(on_own_thread());
    if (destroyed_ != nullptr) {
      return Pass::backlog;
    }
    const Tick tick = now().floor;
    advance(tick);
    PassScope scope(*this, tick);
    for (; budget > 0; --budget) {
      auto* node = backend_.pop_expired();
      if (node == nullptr) {
        return Pass::done;
      }
      handle(static_cast<Timer&>(*node), tick);
      if (scope.destroyed) {
        return Pass::destroyed;
      }
    }
    return Pass::backlog;
  }

  // The tick at or before which the next pass is wanted; kNever when nothing is filed. Exact or a
  // lower bound, as the backend says; in lazy mode a lower bound.
  Tick next_deadline() const noexcept { return backend_.next_deadline(); }

  // When a tick begins, in the clock's time; saturates.
  std::chrono::nanoseconds time_of(Tick tick) const noexcept {
    constexpr auto kMax = static_cast<std::uint64_t>(std::chrono::nanoseconds::max().count());
    const std::uint64_t ahead = kMax - std::min(kMax, epoch_ns_);
    const std::uint64_t offset = tick > ahead / tick_ns_ ? ahead : tick * tick_ns_;
    return std::chrono::nanoseconds(static_cast<std::int64_t>(epoch_ns_ + offset));
  }

  // Calls `wake` whenever a timer is filed, outside a pass, for earlier than the tick last given to
  // expect_wake(), which `wake` should call. That, and to look at next_deadline() after each pass,
  // is all a driver needs to keep one OS timer right. `wake` may throw: the timer is armed then,
  // but nothing may wake for it, and who armed it gets the exception.
  void on_earlier_deadline(Action wake) noexcept { wake_ = wake; }

  // The driver will run a pass at this tick (kNever: at none).
  void expect_wake(Tick tick) noexcept { expected_wake_ = tick; }

  const TimerCounters& counters() const noexcept { return counters_; }

  std::string_view check() const { return backend_.check(); }

private:
  struct PassScope {
    PassScope(TimerService& passing, Tick tick) noexcept : service(passing) {
      service.destroyed_ = &destroyed;
      service.allow_from(tick + 1);
    }
    ~PassScope() {
      if (!destroyed) {
        service.destroyed_ = nullptr;
        service.allow_from(0);
      }
    }
    PassScope(const PassScope&) = delete;
    PassScope& operator=(const PassScope&) = delete;

    TimerService& service;
    bool destroyed = false;
  };

  static std::uint64_t checked_tick(std::chrono::nanoseconds tick) {
    if (tick.count() <= 0) {
      throw std::invalid_argument("a tick must be longer than zero");
    }
    return static_cast<std::uint64_t>(tick.count());
  }

  Backend make_backend(const ServiceConfig& config) const {
    if constexpr (BackendWithReach<Backend>) {
      if (config.longest_timeout.count() > 0) {
        return Backend(timeout(config.longest_timeout) + 1); // now is rounded down, deadlines up
      }
    }
    if constexpr (BackendWithSlots<Backend>) {
      if (config.slots != 0) {
        return Backend(config.slots);
      }
    }
    return Backend();
  }

  std::uint64_t clock_ns() const noexcept {
    const std::chrono::nanoseconds ns = clock_.now().time_since_epoch();
    return static_cast<std::uint64_t>(ns.count());
  }

  Tick deadline_after(Timeout timeout, Tick from, Ticks slack) const noexcept {
    const Tick first = std::max(saturating_sum(from, timeout), earliest_allowed_);
    return slack == 0 ? first : roundest_tick(first, saturating_sum(first, slack));
  }

  static Tick saturating_sum(Tick from, Ticks more) noexcept {
    return more > kLatest - from ? kLatest : from + more;
  }

  void allow_from(Tick tick) noexcept {
    earliest_allowed_ = tick;
    earliest_stored_ = lazy_ ? tick : kNever;
  }

  void advance(Tick tick) noexcept {
    backend_.advance(tick);
    if constexpr (BackendWithReach<Backend>) {
      advanced_ = std::max(advanced_, tick);
    }
  }

  // The deadline to file a timer under: its own, or the furthest that the backend reaches.
  Tick within_reach(Tick deadline) noexcept {
    if constexpr (BackendWithReach<Backend>) {
      const bool in_pass = destroyed_ != nullptr; // then only the pass's own tick may come due
      if (!in_pass && deadline > saturating_sum(advanced_, backend_.reach())) {
        advance(latest_tick_); // there may have been no pass for long
      }
      return std::min(deadline, saturating_sum(advanced_, backend_.reach()));
    } else {
      return deadline;
    }
  }

  bool on_own_thread() noexcept {
    if (thread_ == std::thread::id()) {
      thread_ = std::this_thread::get_id();
    }
    return thread_ == std::this_thread::get_id();
  }

  // A timer that the backend handed out, so it is not filed any more.
  void handle(Timer& timer, Tick tick) {
    timer.filed_ = kNever;
    if (timer.deadline_ == kNever) {
      return; // disarmed lazily
    }
    if (timer.deadline_ > tick) {
      refile(timer); // moved lazily, or was out of reach
      return;
    }
    counters_.late.record(
        std::chrono::nanoseconds(static_cast<std::int64_t>(late_ns(timer.deadline_))));
    trace_.record(TraceOperation::expire, timer.trace_id_, timer.deadline_);
    timer.deadline_ = kNever;
    ++counters_.expired;
    run_action(timer.action_);
  }

  // A timer that cannot be filed cannot stay armed: nothing would ever look at it.
  void refile(Timer& timer) {
    try {
      file(timer, timer.deadline_, timer.timeout_);
    } catch (...) {
      trace_.record(TraceOperation::disarm, timer.trace_id_, timer.deadline_);
      timer.deadline_ = kNever;
      ++counters_.disarmed;
      throw;
    }
  }

  std::uint64_t late_ns(Tick deadline) const noexcept { return latest_ns_ - deadline * tick_ns_; }

  // Has the backend hold the timer under `deadline`. When the backend throws, nothing has changed.
  void file(Timer& timer, Tick deadline, Timeout timeout) {
    const Tick filed = within_reach(deadline);
    if (timer.filed_ == kNever) {
      backend_.arm(timer, filed, timeout);
    } else {
      backend_.rearm(timer, filed, timeout);
    }
    timer.filed_ = filed;
    ++counters_.moved;
  }

  void wake_by(Tick filed) {
    if (filed < expected_wake_ && destroyed_ == nullptr) {
      wake_();
    }
  }

  void unfile(Timer& timer) noexcept {
    backend_.disarm(timer);
    timer.filed_ = kNever;
  }

  [[no_unique_address]] Clock clock_;
  [[no_unique_address]] Trace trace_;
  const std::uint64_t epoch_ns_;
  const std::uint64_t tick_ns_;
  const bool lazy_;
  std::uint64_t latest_ns_ = 0; // the latest reading, since epoch_ns_
  Tick latest_tick_ = 0;        // that it lies in
  std::uint64_t tick_began_ns_ = 0;
  Tick earliest_allowed_ = 0; // for deadlines; the tick after the pass, within one
  Tick earliest_stored_ = 0;  // the same for those that need no filing: lazy only, else kNever
  Tick expected_wake_ = kNever;
  Action wake_ = [] {};
  bool* destroyed_ = nullptr; // within a pass: tells it that the service is gone
  Tick advanced_ = 0;         // the backend's now; kept for those with a reach
  std::thread::id thread_;    // that uses the timers; none yet
  TimerCounters counters_;
  Backend backend_;
};

// The handle of one timer, held by value in its owner; destroying it disarms it. Does not allocate
// beyond what the backend's arm() does. Every operation may be called from any action, its own
// included. Neither copied nor moved: the backend holds its address.
template <TimerBackend Backend, MonotonicClock Clock, TraceSink Trace>
class TimerService<Backend, Clock, Trace>::Timer : private Backend::Node {
public:
  // `action` is a callable of at most one pointer, e.g. [this] { ... }. It may throw.
  Timer(TimerService& service, Action action) noexcept : service_(&service), action_(action) {}

  ~Timer() {
    disarm();
    if (filed_ != kNever) {
      service_->unfile(*this);
    }
  }

  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Arms a disarmed timer to run `timeout` after `now`, a reading of this service's clock; one
  // taken earlier means a deadline as much earlier. It may run up to `slack` ticks later, at the
  // tick that it most likely shares with other timers. Throws what the backend's arm() throws, and
  // then has changed nothing.
  void arm(Timeout timeout, Instant now, Ticks slack = 0) {
    assert(!armed());
    if (slack != 0 || !store(timeout, now.ceil, filed_, TraceOperation::arm)) {
      move_to(service_->deadline_after(timeout, now.ceil, slack), timeout);
    }
  }

  // Moves the timer to `timeout` after `now`; arms it when it is not armed. Lazy: one or two stores
  // unless it must run earlier than it is filed. Eager: one backend operation. Throws as arm().
  void rearm(Timeout timeout, Instant now, Ticks slack = 0) {
    // A disarmed timer has deadline_ == kNever, later than any.
    if (slack != 0 || !store(timeout, now.ceil, deadline_, TraceOperation::rearm)) {
      move_to(service_->deadline_after(timeout, now.ceil, slack), timeout);
    }
  }

  // Gives an armed timer another timeout, counted from its deadline less the timeout it had: from
  // when it was last armed or re-armed, but for its slack and for what a pass put off. A deadline
  // that has passed by that runs in the next pass. Nothing when it is not armed. As rearm().
  void change_timeout(Timeout timeout, Instant now) {
    if (armed()) {
      const bool unknown = deadline_ == kLatest || timeout_ > deadline_; // it was saturated
      const Tick start = unknown ? now.ceil : deadline_ - timeout_;
      move_to(service_->deadline_after(timeout, start, 0), timeout);
    }
  }

  // Nothing will happen. Says whether the timer was armed.
  bool disarm() noexcept {
    if (!armed()) {
      return false;
    }
    assert(service_->on_own_thread());
    service_->trace_.record(TraceOperation::disarm, trace_id_, deadline_);
    deadline_ = kNever;
    ++service_->counters_.disarmed;
    if (!service_->lazy_) {
      service_->unfile(*this);
    }
    return true;
  }

  // False while its own action runs, unless that armed it anew.
  bool armed() const noexcept { return deadline_ != kNever; }

private:
  friend TimerService;

  // What nearly every arm() and rearm() comes to: only stores the deadline, and says so. Not when
  // eager, nor a deadline that saturates, that this pass must not run, or that lies before `bound`,
  // which is the tick that the timer is filed at or a later one.
  bool store(Timeout timeout, Tick from, Tick bound, TraceOperation operation) noexcept {
    assert(service_->on_own_thread());
    const Tick due = from + timeout;
    if (due < service_->earliest_stored_ || due < bound || timeout > kLatest - from) [[unlikely]] {
      return false;
    }
    TimerCounters& counters = service_->counters_;
    ++(operation == TraceOperation::arm ? counters.armed : counters.rearmed);
    service_->trace_.record(operation, trace_id_, due);
    deadline_ = due;
    timeout_ = timeout;
    return true;
  }

  // Out of line, so that whoever inlines the above saves no registers for it.
  [[gnu::noinline]] void move_to(Tick due, Timeout timeout) {
    assert(service_->on_own_thread());
    // An unfiled timer has filed_ == kNever, later than any deadline.
    const bool filing = due < filed_ || !service_->lazy_;
    if (filing) {
      service_->file(*this, due, timeout);
    }
    const bool moved = armed();
    ++(moved ? service_->counters_.rearmed : service_->counters_.armed);
    service_->trace_.record(moved ? TraceOperation::rearm : TraceOperation::arm, trace_id_, due);
    deadline_ = due;
    timeout_ = timeout;
    if (filing) {
      service_->wake_by(filed_);
    }
  }

  void orphan() noexcept {
    deadline_ = kNever;
    filed_ = kNever;
  }

  // What a lazy rearm touches comes first, beside the node.
  Tick deadline_ = kNever; // when it runs; kNever: disarmed. An armed timer is always filed,
  Tick filed_ = kNever;    // at this deadline or an earlier one; kNever: not filed
  Timeout timeout_ = 0;
  TimerService* service_;
  Action action_;
  [[no_unique_address]] typename Trace::TimerId trace_id_;
};

} // namespace timers
