// remote_timer: a timer that any thread may arm, move and disarm, and whose action always runs on
// the same executor. The other timers of the library may be touched only where they run.
//
//   timers::remote_timer watchdog{strand, [this] { worker_is_stuck(); }};
//   ...
//   watchdog.rearm_after(30s);  // on the worker's own thread, after each piece of work
//
// To move the deadline, but not to earlier than where the timer is filed, costs one
// compare-and-swap and a load, and rearm_after() reads the clock. An earlier deadline takes the
// lock of the context's timers, and one operation of the backend. So does the first deadline, and
// about one in each timeout's time.
//
// Why no deadline is missed. Read the head of shared_timer_service.hpp first. Here the deadline is
// an atomic, and threads change it while a pass and a check are under way:
//
//   a thread that moves it             a check, at the owner
//   1. deadline = later or earlier     3. filed = what it is, under the lock
//   2. read filed. If the deadline     4. read deadline. If it is over, run the action; if not, and
//      is not after that: file it         filed is after it: file the timer there
//
// Steps 1 to 4 are sequentially consistent operations, so they are in one order that all threads
// agree on. Either 1 comes before 4: then the check sees the new deadline. Or 4, and so 3, comes
// before 1 and 2: then the thread reads what `filed` was at step 3, or what was written since, and
// files the timer if that is too late. What it reads may be the deadline of a filing that a pass
// has undone since. But then a check follows that pass, and the same holds for its steps 3 and 4.
// A timer is filed under the lock, and only to earlier than where it is filed.
#pragma once

#include "timers/asio/owner_executor.hpp"
#include "timers/asio/wheel_service.hpp"
#include "timers/duration.hpp"
#include "timers/failure.hpp"
#include "timers/shared_timer_service.hpp"

#include <boost/asio/any_io_executor.hpp>

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <memory>
#include <utility>

namespace timers {

namespace detail {

// What a remote timer and the checks on their way share.
template <class Service> class RemoteState : public Service::Timer {
public:
  using Service::Timer::Timer;

  void rearm(std::chrono::nanoseconds due) {
    if (due == kForever) {
      disarm();
      return;
    }
    std::int64_t mine = due.count();
    set(mine);
    OnFailure undo([&] { disarm_if(mine); });
    this->have_checked(due);
    undo.dismiss();
  }

  bool disarm() noexcept {
    const bool was_armed = deadline_.exchange(kNone) != kNone;
    if (was_armed) {
      this->end_to_watch();
    }
    return was_armed;
  }

  bool armed() const noexcept { return deadline_.load() != kNone; }

private:
  static constexpr std::int64_t kNone = kForever.count();

  // An armed timer is counted as watched. It is counted before it is armed, and until it is not, so
  // that the count is never too small, whatever other threads do meanwhile.
  void set(std::int64_t time) {
    bool counted = false;
    std::int64_t before = deadline_.load(std::memory_order_relaxed);
    do {
      if (before == kNone && !counted) [[unlikely]] {
        count();
        counted = true;
      }
    } while (!deadline_.compare_exchange_weak(before, time));
    if (counted && before != kNone) {
      this->end_to_watch(); // another thread armed it first
    }
  }

  void count() {
    OnFailure undo([this] { this->end_to_watch(); });
    this->begin_to_watch();
    undo.dismiss();
  }

  // Disarms the timer if this is its deadline; else says which one it has.
  bool disarm_if(std::int64_t& time) noexcept {
    const bool is_so = deadline_.compare_exchange_strong(time, kNone);
    if (is_so) {
      this->end_to_watch();
    }
    return is_so;
  }

  void checked() override {
    std::int64_t time = deadline_.load();
    while (time != kNone) {
      const std::chrono::nanoseconds due(time);
      if (due > this->service().now()) {
        this->have_checked(due);
        return;
      }
      if (disarm_if(time)) {
        this->expired();
        return;
      }
    }
  }

  void expired() override = 0; // runs the action

  std::atomic<std::int64_t> deadline_ = kNone; // since the clock's epoch
};

template <class Service, class Action> class RemoteStateOf final : public RemoteState<Service> {
public:
  RemoteStateOf(std::shared_ptr<typename Service::Timers> timers, AsioOwner owner, Action action)
      : RemoteState<Service>(std::move(timers), std::move(owner)), action_(std::move(action)) {}

private:
  void expired() override { action_(); }

  Action action_;
};

} // namespace detail

// Every member function, but not the destructor, may be called by any thread, by several at once,
// and by the action. The calls take effect in one order, which is that of all modifications of one
// atomic. "Armed" and "the deadline" below mean: after the last of them. What a thread did before
// it called rearm_...() is visible to the action that runs for that.
template <class Service = wheel_service> class basic_remote_timer {
public:
  // `action` is a callable without arguments. It runs on `executor`, whose context's timers it
  // uses. If several threads run the context, and the action must not overlap with itself, give it
  // a strand. An exception that it throws leaves io_context::run(). Allocates. Throws
  // std::bad_alloc, and what `Service` throws.
  template <std::convertible_to<boost::asio::any_io_executor> Executor, std::invocable Action>
  basic_remote_timer(const Executor& executor, Action action)
      : state_(make(executor, std::move(action))) {}

  // Disarms the timer. To be called when no other thread uses the object any more; the action may
  // do it. On another thread than the executor's it may come while the action runs, or is about to.
  // The action, with what it holds, is destroyed after that, here or on the executor.
  ~basic_remote_timer() {
    state_->disarm();
    state_->release();
  }

  basic_remote_timer(const basic_remote_timer&) = delete;
  basic_remote_timer& operator=(const basic_remote_timer&) = delete;

  // Arms the timer, or moves its deadline. The action then runs once, at the deadline or less than
  // two ticks later, plus the time that its executor is busy; never before it, and never within
  // this call. A deadline that has passed is due at once; one of kForever disarms. The timer keeps
  // io_context::run() from returning while it is armed, but does not call it.
  //
  // Throws what the backend and the OS timer throw (std::bad_alloc). The timer is disarmed then,
  // unless another thread has armed it meanwhile.
  void rearm_at(std::chrono::steady_clock::time_point time) {
    state_->rearm(time.time_since_epoch());
  }
  void rearm_after(Nanoseconds timeout) {
    const std::chrono::nanoseconds now = state_->service().now();
    state_->rearm(timeout < kForever - now ? now + timeout : kForever);
  }

  // Disarms the timer and returns whether it was armed. If so, the action does not run any more,
  // until the timer is armed again. If not, it has run or was never armed; but on another thread
  // than the executor's, it may also be running now or be about to. On the executor's, if that is a
  // strand or has one thread, the action never runs after disarm(). Costs an atomic exchange, and
  // the lock when no timer of the context is watched any more.
  bool disarm() noexcept { return state_->disarm(); }

  // Whether it was armed just now. False from before the action runs.
  bool armed() const noexcept { return state_->armed(); }

private:
  static_assert(!std::same_as<typename Service::Timers::Lock, NullMutex>,
                "a timer that several threads use needs a service with a mutex");

  template <class Action>
  static detail::RemoteState<Service>* make(const boost::asio::any_io_executor& executor,
                                            Action action) {
    return new detail::RemoteStateOf<Service, Action>(
        Service::of(executor), AsioOwner{detail::kept_executor(executor, executor)},
        std::move(action));
  }

  detail::RemoteState<Service>* const state_;
};

using remote_timer = basic_remote_timer<>;

} // namespace timers
