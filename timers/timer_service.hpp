// The timer service: turns timeouts into deadlines, keeps the timers of one thread in a backend,
// and runs the actions of those that are due. CONTRACT.md says what it promises.
//
//   timers::TimerService<timers::HierarchicalWheel> service;
//   const auto two_minutes = service.timeout(120s);  // once: it divides
//   decltype(service)::Timer idle{service, [&] { socket.close(); }};
//   ...
//   const auto now = service.now();                  // once per completed I/O event
//   idle.rearm(two_minutes, now);                    // as often as needed
//   ...
//   service.run_due();                               // when the OS timer expires
//
// Somebody must call run_due() in time. AsioDriver (asio/driver.hpp) does so from an io_context.
//
// A timer never runs early: deadlines are rounded up to a tick, now is rounded down, and the clock
// is monotonic. It runs in the first pass, which is a call of run_due(), at or after its deadline.
// The deadline is the next edge of a tick plus the timeout, rounded up to whole ticks. So rounding
// makes it less than one tick late when the timeout is a whole number of ticks, else less than two.
//
// There are no locks. A service, with its timers, is used by one thread at a time. Another thread
// may go on with it, or destroy it, after whatever orders the two: a join, a mutex, a queue. During
// a call, and so while an action runs, no other thread may use the service. Builds with assertions
// stop when two threads use it at once.
#pragma once

#include "timers/action.hpp"
#include "timers/backend.hpp"
#include "timers/config.hpp"
#include "timers/duration.hpp"
#include "timers/exclusive_use.hpp"
#include "timers/failure.hpp"
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

namespace timers {

// A reading of the clock in ticks, rounded down to say what is due and up to compute deadlines.
struct Instant {
  Tick floor = 0;
  Tick ceil = 0;
};

enum class Pass {
  done,      // no due timer is left
  backlog,   // the budget ran out, so call run_due() again
  destroyed, // an action destroyed the service, so do not touch it
};

// steady_clock, or a clock that a test moves by hand. It must not be a wall clock.
template <class C>
concept MonotonicClock = requires(const C& clock) {
  {
    clock.now().time_since_epoch()
    } -> std::convertible_to<std::chrono::duration<std::int64_t, std::nano>>;
};

// The tick from `first` to `last` with the most trailing zero bits. Timers that may wait a little
// thus meet at the same few ticks, and wake the loop together.
constexpr Tick roundest_tick(Tick first, Tick last) noexcept {
  if (first == 0) {
    return 0;
  }
  const auto zeros = static_cast<unsigned>(std::bit_width((first - 1) ^ last)) - 1;
  return last >> zeros << zeros;
}

// `Trace` sees every operation (trace_sink.hpp). The default sees none and costs nothing.
template <TimerBackend Backend, MonotonicClock Clock = std::chrono::steady_clock,
          TraceSink Trace = NoTrace>
class TimerService {
public:
  using Instant = timers::Instant;
  using Timeout = Ticks;
  class Timer;

  static constexpr std::size_t kNoBudget = static_cast<std::size_t>(-1);

  // Tick 0 is now, so results do not depend on where the clock starts. Throws std::invalid_argument
  // for a tick that is not positive, and whatever the backend's constructor throws.
  explicit TimerService(ServiceConfig config = {}, Clock clock = {}, Trace trace = {})
      : clock_(clock), trace_(trace), epoch_ns_(clock_ns()), tick_ns_(checked_tick(config.tick)),
        lazy_(config.rearm == Rearm::lazy), backend_(make_backend(config)) {
    allow_from(0);
  }

  // Disarms the timers that are still armed. Afterwards they may only be destroyed. Costs as much
  // as the expiry of all timers that are filed.
  ~TimerService() {
    const ExclusiveUse::Call call(use_);
    if (in_pass()) {
      *destroyed_ = true;
    }
    backend_.advance(kLatest);
    while (auto* node = backend_.pop_expired()) {
      static_cast<Timer&>(*node).orphan();
    }
  }

  TimerService(const TimerService&) = delete;
  TimerService& operator=(const TimerService&) = delete;

  // Reads the clock once, and divides when a tick has passed. The result never goes back, whatever
  // the clock does.
  Instant now() noexcept {
    const ExclusiveUse::Call call(use_);
    const std::uint64_t since = clock_ns() - epoch_ns_;
    if (static_cast<std::int64_t>(since - latest_ns_) > 0) {
      latest_ns_ = since;
      if (since - tick_began_ns_ >= tick_ns_) [[unlikely]] {
        tick_began_ns_ = since - since % tick_ns_;
        latest_tick_ = std::min(since / tick_ns_, kLatest - 1); // what is due at kLatest never runs
      }
    }
    const Instant now{latest_tick_, latest_tick_ + (latest_ns_ != tick_began_ns_ ? 1 : 0)};
    trace_.at(now.floor, now.ceil);
    return now;
  }

  // Converts a duration of any type to ticks, rounded up; a negative one is 0. kForever, to which
  // longer ones saturate (duration.hpp), never comes due, whenever it is armed. It divides, so
  // convert once and use the result often.
  Timeout timeout(Nanoseconds duration) const noexcept {
    if (duration == kForever) {
      return kLatest;
    }
    const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(duration.count(), 0));
    return ns / tick_ns_ + (ns % tick_ns_ != 0 ? 1 : 0);
  }

  // One pass: reads the clock and runs the actions of due timers, earliest first. When a pass
  // covers several ticks, a timer that was moved lazily has the place of the tick that it was filed
  // at.
  //
  // The pass handles at most `budget` timers; one that is only filed again counts. A timer that an
  // action arms for the tick of the pass waits for the next tick, so a pass runs no more actions
  // than timers were armed when it began.
  //
  // Actions may do anything to any timer, and may destroy the service. A call of run_due() from an
  // action does nothing and returns backlog. An action that throws ends the pass with its
  // exception: its timer does not run again, and the others wait for the next pass. When the
  // backend cannot file a timer again (std::bad_alloc), that timer is disarmed and the pass ends in
  // the same way.
  Pass run_due(std::size_t budget = kNoBudget) {
    ExclusiveUse::Call call(use_);
    if (in_pass()) {
      return Pass::backlog;
    }
    const Tick tick = now().floor;
    backend_.advance(tick);
    PassScope scope(*this, tick, call);
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

  // How long a tick lasts.
  std::chrono::nanoseconds tick() const noexcept {
    return std::chrono::nanoseconds(static_cast<std::int64_t>(tick_ns_));
  }

  // The tick at or before which the next pass is needed; kNever when nothing is filed. It is exact
  // if the backend says so and re-arming is eager, else a lower bound.
  Tick next_deadline() const noexcept { return backend_.next_deadline(); }

  // When a tick begins, as the time since the clock's epoch; below zero if the clock stands before
  // that. Saturates.
  std::chrono::nanoseconds time_of(Tick tick) const noexcept {
    // Modulo 2^64: how far it is from epoch_ns_, which may stand for a number below zero.
    const std::uint64_t ahead = static_cast<std::uint64_t>(kForever.count()) - epoch_ns_;
    const std::uint64_t offset = tick > ahead / tick_ns_ ? ahead : tick * tick_ns_;
    return std::chrono::nanoseconds(static_cast<std::int64_t>(epoch_ns_ + offset));
  }

  // The first tick that begins at `time` or later, which is a time since the clock's epoch. This is
  // the inverse of time_of(). It saturates, and divides.
  Tick tick_at(std::chrono::nanoseconds time) const noexcept {
    const std::uint64_t since = static_cast<std::uint64_t>(time.count()) - epoch_ns_;
    if (static_cast<std::int64_t>(since) <= 0) {
      return 0;
    }
    return std::min(since / tick_ns_ + (since % tick_ns_ != 0 ? 1 : 0), kLatest);
  }

  // For a driver: `wake` will be called whenever a timer is filed, outside a pass, for earlier than
  // the tick last given to expect_wake(); `wake` should call that. A driver that also asks for
  // next_deadline() after each pass keeps one OS timer right. `wake` may throw. The timer is armed
  // then, although perhaps nothing will wake for it, and the caller that armed it gets the
  // exception.
  void on_earlier_deadline(Action wake) noexcept { wake_ = wake; }

  // Says that the driver will run a pass at this tick; kNever for at none.
  void expect_wake(Tick tick) noexcept { expected_wake_ = tick; }

  const TimerCounters& counters() const noexcept { return counters_; }

  // Names the first broken invariant of the backend; empty when there is none. O(timers).
  std::string_view check() const { return backend_.check(); }

private:
  struct PassScope {
    PassScope(TimerService& passing, Tick tick, ExclusiveUse::Call& run_due) noexcept
        : service(passing), call(run_due) {
      service.destroyed_ = &destroyed;
      service.allow_from(tick + 1);
    }
    ~PassScope() {
      if (destroyed) {
        call.object_is_gone();
      } else {
        service.destroyed_ = nullptr;
        service.allow_from(0);
      }
    }
    PassScope(const PassScope&) = delete;
    PassScope& operator=(const PassScope&) = delete;

    TimerService& service;
    ExclusiveUse::Call& call;
    bool destroyed = false;
  };

  bool in_pass() const noexcept { return destroyed_ != nullptr; }

  static std::uint64_t checked_tick(Nanoseconds tick) {
    if (tick.count() <= 0) {
      fail(std::invalid_argument("a tick must be longer than zero"));
    }
    return static_cast<std::uint64_t>(tick.count());
  }

  Backend make_backend(const ServiceConfig& config) const {
    if constexpr (BackendWithReach<Backend>) {
      if (config.longest_timeout.count() > 0) {
        return Backend(timeout(config.longest_timeout) + 1); // now is rounded down, deadlines up
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

  // The deadline to file a timer under: its own, or the furthest that the backend holds.
  Tick within_reach(Tick deadline) noexcept {
    if constexpr (BackendWithReach<Backend>) {
      // Within a pass, only what was due when it began may come due.
      if (!in_pass() && deadline > backend_.furthest()) {
        backend_.advance(latest_tick_); // there may have been no pass for long
      }
      return std::min(deadline, backend_.furthest());
    } else {
      return deadline;
    }
  }

  // Deals with a timer that the backend handed out, which is thus no longer filed.
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

  // Files a timer at its deadline. If that fails the timer is disarmed, because nothing would ever
  // look at it.
  void refile(Timer& timer) {
    OnFailure disarm([this, &timer] {
      trace_.record(TraceOperation::disarm, timer.trace_id_, timer.deadline_);
      timer.deadline_ = kNever;
      ++counters_.disarmed;
    });
    file(timer, timer.deadline_, timer.timeout_);
    disarm.dismiss();
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
    if (filed < expected_wake_ && !in_pass()) {
      wake_();
    }
  }

  void unfile(Timer& timer) noexcept {
    const ExclusiveUse::Call call(use_);
    backend_.disarm(timer);
    timer.filed_ = kNever;
  }

  [[no_unique_address]] Clock clock_;
  [[no_unique_address]] Trace trace_;
  const std::uint64_t epoch_ns_;
  const std::uint64_t tick_ns_;
  const bool lazy_;
  std::uint64_t latest_ns_ = 0; // the latest reading of the clock, less epoch_ns_
  Tick latest_tick_ = 0;        // the tick in which that lies
  std::uint64_t tick_began_ns_ = 0;
  Tick earliest_allowed_ = 0; // no deadline may be earlier: within a pass the tick after it
  Tick earliest_stored_ = 0;  // as that, for timers that need no filing; kNever if eager
  Tick expected_wake_ = kNever;
  Action wake_ = [] {};
  bool* destroyed_ = nullptr; // within a pass: where to note that the service is gone
  ExclusiveUse use_;
  TimerCounters counters_;
  Backend backend_;
};

// The handle of one timer, which its owner holds by value. Its destruction disarms it. It is
// neither copied nor moved, because the backend holds its address. Every operation may be called
// from any action, its own included. Nothing is allocated but what the backend's arm() allocates.
template <TimerBackend Backend, MonotonicClock Clock, TraceSink Trace>
class TimerService<Backend, Clock, Trace>::Timer : private Backend::Node {
public:
  // `action` is a callable of at most one pointer, such as [this] { ... }. It may throw.
  Timer(TimerService& service, Action action) noexcept : service_(&service), action_(action) {}

  ~Timer() {
    disarm();
    if (filed_ != kNever) {
      service_->unfile(*this);
    }
  }

  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Arms a disarmed timer to run `timeout` ticks after `now`, which is what the service's now()
  // returned; an older reading gives an earlier deadline. With `slack` the timer may run up to that
  // many ticks later, at the tick that it most probably shares with other timers. Throws what the
  // backend's arm() throws, and then has changed nothing.
  void arm(Timeout timeout, Instant now, Ticks slack = 0) {
    assert(!armed());
    if (slack != 0 || !store(timeout, now.ceil, filed_, TraceOperation::arm)) {
      move_to(service_->deadline_after(timeout, now.ceil, slack), timeout);
    }
  }

  // Moves the timer to `timeout` ticks after `now`, and arms it when it is not armed. `slack` is as
  // for arm(). Lazy: a few stores, and the structure is not touched, unless the timer must run
  // earlier than it is filed. Eager: one operation of the backend. Throws as arm() does.
  void rearm(Timeout timeout, Instant now, Ticks slack = 0) {
    // A disarmed timer has deadline_ == kNever, later than any.
    if (slack != 0 || !store(timeout, now.ceil, deadline_, TraceOperation::rearm)) {
      move_to(service_->deadline_after(timeout, now.ceil, slack), timeout);
    }
  }

  // Gives an armed timer another timeout, counted from when it was last armed or re-armed, as when
  // a configuration is read anew. If the new deadline has passed, the timer runs in the next pass.
  // Does nothing to a timer that is not armed. Costs and throws as rearm() does.
  //
  // The start is computed as the deadline less the old timeout. So it lies later by what slack or a
  // pass has added to the deadline, and it is `now` for a timer that was to wait for ever.
  void change_timeout(Timeout timeout, Instant now) {
    if (armed()) {
      const bool unknown = deadline_ == kLatest || timeout_ > deadline_; // it was saturated
      const Tick start = unknown ? now.ceil : deadline_ - timeout_;
      move_to(service_->deadline_after(timeout, start, 0), timeout);
    }
  }

  // Makes sure that the timer does not run. Returns whether it was armed. Lazy: a few stores, and
  // the structure is not touched. Eager: one operation of the backend.
  bool disarm() noexcept {
    if (!armed()) {
      return false;
    }
    const ExclusiveUse::Call call(service_->use_);
    service_->trace_.record(TraceOperation::disarm, trace_id_, deadline_);
    deadline_ = kNever;
    ++service_->counters_.disarmed;
    if (!service_->lazy_) {
      service_->unfile(*this);
    }
    return true;
  }

  // False while the timer's own action runs, unless that has armed it again.
  bool armed() const noexcept { return deadline_ != kNever; }

private:
  friend TimerService;

  // Only notes the deadline, which is all that nearly every lazy arm() and rearm() needs, and
  // returns true. Returns false, having done nothing, if re-arming is eager, and for a deadline
  // that saturates, that this pass must not run, or that lies before `bound`. That is the tick
  // under which the timer is filed, or a later one.
  bool store(Timeout timeout, Tick from, Tick bound, TraceOperation operation) noexcept {
    const ExclusiveUse::Call call(service_->use_);
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

  // Out of line, so that callers who inline the functions above save no registers for it.
  [[gnu::noinline]] void move_to(Tick due, Timeout timeout) {
    const ExclusiveUse::Call call(service_->use_);
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

  // The members that a lazy rearm touches come first, beside the node.
  Tick deadline_ = kNever; // when the timer runs; kNever: disarmed
  Tick filed_ = kNever;    // the deadline that it is filed under; kNever: not filed. An armed timer
                           // is always filed, under its own deadline or an earlier one
  Timeout timeout_ = 0;
  TimerService* service_;
  Action action_;
  [[no_unique_address]] typename Trace::TimerId trace_id_;
};

} // namespace timers
