// PeriodicTimer: a timer that runs every `period`, on a service or driver of your choice.
//
//   timers::PeriodicTimer<Timers> frame_{timers, [this] { draw(frame_.missed()); }};
//   ...
//   frame_.start(16'667us, timers.now());
//
// Occurrence k is at start + k * period, in nanoseconds. Each deadline is computed from that and
// not from the run before, so it does not drift, however late runs are, and when the period is no
// whole number of ticks. It is rounded up to a tick, so no run is early. The start is rounded up
// too.
//
// One run stands for all occurrences that have come when it begins: after a stalled loop, and after
// a suspended machine, the action runs once. missed() says for how many more than one it stands. An
// action that skips missed occurrences ignores that number; one that must count them adds it.
//
//   each run   reads the clock once, divides three times, and re-arms the timer; no allocation but
//              what the backend's arm() allocates
//   memory     a Timer, and 56 bytes
//
// A program that re-arms a Timer in its own action, `timeout` after now, needs none of this if the
// pauses between its runs matter and not their number.
#pragma once

#include "timers/action.hpp"
#include "timers/backend.hpp"
#include "timers/duration.hpp"
#include "timers/failure.hpp"
#include "timers/timer_service.hpp"

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <stdexcept>

namespace timers {

// What counts time in ticks: TimerService with any backend and clock, and AsioDriver.
template <class F>
concept TickingFacility = std::constructible_from<typename F::Timer, F&, Action> &&
    requires(F& facility, const F& same, typename F::Timer& timer, Instant now) {
  { facility.now() } -> std::same_as<Instant>;
  { same.timeout(Nanoseconds()) } -> std::same_as<Ticks>;
  { same.tick() } -> std::same_as<std::chrono::nanoseconds>;
  timer.rearm(Ticks(), now);
  { timer.disarm() } -> std::same_as<bool>;
  { timer.armed() } -> std::same_as<bool>;
};

// Its owner holds it by value, as a Timer, and uses it on the thread of the facility. Every
// function may be called from any action, its own included, which may also destroy it.
template <TickingFacility Facility> class PeriodicTimer {
public:
  // `action` is a callable of at most one pointer. When it throws, the timer goes on: it was armed
  // for its next occurrence before.
  PeriodicTimer(Facility& facility, Action action)
      : facility_(facility), timer_(facility, [this] { run(); }), action_(action) {}

  PeriodicTimer(const PeriodicTimer&) = delete;
  PeriodicTimer& operator=(const PeriodicTimer&) = delete;

  // Starts the timer, or starts it anew. Its first occurrence is one period after `now`, which is
  // what the facility's now() returned. What lies further away than clocks count, 292 years after
  // the start, never occurs. Throws std::invalid_argument for a period that is not longer than
  // zero, and has changed nothing then. Throws what arm() of a Timer throws; the timer is stopped
  // then.
  void start(Nanoseconds period, Instant now) {
    follow({.start = now.ceil, .latest = {}, .period = checked(period)});
    missed_ = 0;
  }

  // Has the next occurrence be one new period after the latest one, and the others after that. The
  // latest one is that of the latest run, or the start before there was any. If the next one has
  // passed, it runs in the next pass. Does nothing to a stopped timer. Throws as start() does.
  void change_period(Nanoseconds period) {
    const std::chrono::nanoseconds longer_than_zero = checked(period);
    if (running()) {
      follow({.start = schedule_.start, .latest = schedule_.latest, .period = longer_than_zero});
    }
  }

  // Makes sure that the timer does not run until it is started. Returns whether it was running.
  bool stop() noexcept { return timer_.disarm(); }

  // Whether occurrences are to come. True in its own action too, unless that has stopped it.
  bool running() const noexcept { return timer_.armed(); }

  // How many more occurrences than one the latest run stands for; 0 before the first run. POSIX
  // calls this an overrun count.
  std::uint64_t missed() const noexcept { return missed_; }

private:
  struct Schedule {
    Tick start = 0;
    std::chrono::nanoseconds latest{}; // the latest occurrence that has a run, since the start
    std::chrono::nanoseconds period{};

    std::chrono::nanoseconds next() const noexcept {
      return period > kForever - latest ? kForever : latest + period;
    }
  };

  static std::chrono::nanoseconds checked(Nanoseconds period) {
    if (period.count() <= 0) {
      fail(std::invalid_argument("a period must be longer than zero"));
    }
    return period;
  }

  // Arms the timer for the next occurrence of the schedule, and keeps to that.
  void follow(const Schedule& schedule) {
    const Ticks timeout = facility_.timeout(schedule.period);
    const Ticks distance = std::min(facility_.timeout(schedule.next()), kLatest - schedule.start);
    // The timeout is the same each time, because a backend may keep a list for each. The deadline
    // must be exact, so what varies is the reading that it counts from.
    const Tick from = schedule.start + distance - timeout;
    OnFailure stop([this] { timer_.disarm(); }); // it may be armed by a schedule that is not kept
    timer_.rearm(timeout, Instant{from, from});
    stop.dismiss();
    schedule_ = schedule;
  }

  // It arms the timer before it calls the action, which may stop and destroy the timer, and throw.
  // When the timer cannot be armed (std::bad_alloc) it stops, and the pass ends with the exception.
  void run() {
    const auto since = static_cast<std::int64_t>(facility_.now().floor - schedule_.start);
    const std::chrono::nanoseconds passed = since * facility_.tick();
    const std::int64_t more = (passed - schedule_.next()) / schedule_.period;
    follow({.start = schedule_.start,
            .latest = schedule_.next() + more * schedule_.period,
            .period = schedule_.period});
    missed_ = static_cast<std::uint64_t>(more);
    run_action(action_);
  }

  Facility& facility_;
  typename Facility::Timer timer_;
  Action action_;
  Schedule schedule_;
  std::uint64_t missed_ = 0;
};

} // namespace timers
