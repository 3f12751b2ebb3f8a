// SharedTimerService: timers whose owners live on many threads. The drop-in layer for Asio and
// Beast stands on it (asio/wheel_service.hpp). A program whose timers all belong to one thread
// wants TimerService (timer_service.hpp), which has no lock.
//
// The owner of a timer is the thread, or the strand, on which everything happens that concerns it.
// A timer expires in two phases:
//
//   1. A pass, on any thread and under the lock, takes due timers out of the structure, and posts a
//      check to the owner of each. It decides nothing.
//   2. The check runs at the owner. Only there it is decided whether the time is over. If the
//      deadline was moved later in the meantime, the check files the timer again.
//
// So moving a deadline later takes one store and one comparison at the owner, with no lock and no
// atomic read-modify-write, and nothing happens to an owner behind its back.
//
// The protocol as a state machine. A timer has these parts:
//
//   deadline    read and written by the owner only
//   filed       the deadline that it has in the structure, or never. The owner makes it earlier, or
//               sets it when it is never. A pass makes it never
//   checking    whether a check is on its way to the owner
//   references  one of the owner's, and one of a check that is on its way
//
//   step             who            what it does
//   watch, later     owner          deadline = later. Nothing else, if filed is not after that
//   watch, earlier   owner, locked  deadline = earlier; files the timer there
//   pass             any, locked    filed = never. Unless checking: takes a reference, checking =
//                                   true. The check is posted when the lock was given up
//   check            owner          locked: checking = false. If the timer is watched: expired, if
//                                   the deadline is over; else files it (locked), if filed is never
//   destroy          last reference locked: takes the timer out of the structure
//
// Why no deadline is missed: the owner looks at `filed` without the lock, so it may see an old
// value. But only a pass makes it later, and whoever makes it never has a check on its way to the
// owner. That check runs after whatever the owner is doing now, and sees the new deadline. Why
// nothing is early, or comes twice: the check compares the deadline itself with the time, and only
// the owner changes it.
//
// A timer whose deadline other threads change too keeps that deadline itself, and overrides
// checked(). asio/remote_timer.hpp has one, and says why it misses none.
#pragma once

#include "timers/backend.hpp"
#include "timers/duration.hpp"
#include "timers/failure.hpp"
#include "timers/timer_service.hpp"

#include <boost/core/no_exceptions_support.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string_view>
#include <type_traits>
#include <utility>

namespace timers {

// A mutex that locks nothing, for a service that one thread at a time uses.
struct NullMutex {
  void lock() noexcept {}
  bool try_lock() noexcept { return true; }
  void unlock() noexcept {}
};

struct SharedConfig {
  Nanoseconds tick = std::chrono::milliseconds(1); // > 0
  Nanoseconds slack{};     // how much later a timer may expire, to share a wake-up with others
  std::size_t budget = 64; // how many timers a pass handles before other handlers run; 1 to 64
};

// `Owner` says where the owner of a timer is, such as an executor. owner.post(check) has the
// callable `check`, which can only be moved, run there once, later than this call. It may throw. A
// check that is destroyed without having run is tried again a little later.
//
// `Mutex` is std::mutex or the like, or NullMutex when one thread at a time uses the service and
// its timers. The service lives as long as its timers, each of which holds it.
template <TimerBackend Backend, class Owner, class Mutex = std::mutex,
          MonotonicClock Clock = std::chrono::steady_clock>
class SharedTimerService
    : public std::enable_shared_from_this<SharedTimerService<Backend, Owner, Mutex, Clock>> {
public:
  class Timer;
  class Check;
  using Lock = Mutex;

  // A point in time, as the time since the clock's epoch. kForever is never.
  using Time = std::chrono::nanoseconds;

  static constexpr std::size_t kLargestBudget = 64;
  // How long the service keeps its wake-up when nothing is watched any more. Until then it may keep
  // an io_context busy.
  static constexpr Time kLinger = std::chrono::milliseconds(20);

  // Throws std::invalid_argument for a tick that is not positive and for a budget that is not 1 to
  // kLargestBudget, and what the backend's constructor throws.
  explicit SharedTimerService(SharedConfig config = {}, Clock clock = {})
      : clock_(clock), service_({.tick = config.tick, .rearm = Rearm::eager}, clock),
        slack_(service_.timeout(config.slack)), tick_(config.tick), budget_(config.budget) {
    if (budget_ == 0 || budget_ > kLargestBudget) {
      fail(std::invalid_argument("a pass must handle 1 to 64 timers"));
    }
    service_.expect_wake(kNothingEarlier);
    service_.on_earlier_deadline([this] { wake_at(service_.next_deadline()); });
  }

  SharedTimerService(const SharedTimerService&) = delete;
  SharedTimerService& operator=(const SharedTimerService&) = delete;

  Time now() const noexcept { return clock_.now().time_since_epoch(); }

  // To be called before a timer is watched. `program` is called under the lock whenever
  // wake_time() changes, to have run_pass() called at that time or soon after. It may throw; what
  // watch() then does is said there.
  void on_wake_time(Action program) noexcept { program_ = program; }

  // For `program`. kForever: no pass is needed.
  Time wake_time() const noexcept { return wake_time_; }

  // A pass; any thread may call it. Takes at most `budget` due timers and posts their checks.
  // Returns Pass::backlog when the budget ran out: call it again soon, or call pass_failed().
  // Throws what `program` throws, with all checks posted.
  Pass run_pass() {
    Pass pass = Pass::done;
    {
      Checks checks; // its end, after that of the lock, posts them
      const std::lock_guard<Mutex> lock(mutex_);
      if (stopped_) {
        return Pass::done;
      }
      service_.expect_wake(kNothingEarlier); // until settle()
      collected_ = &checks;
      pass = service_.run_due(budget_);
    }
    if (pass == Pass::done) {
      const std::lock_guard<Mutex> lock(mutex_);
      settle();
    }
    return pass;
  }

  // Nothing will call run_pass() for the backlog. The next timer that is filed asks for a pass.
  void pass_failed() noexcept {
    const std::lock_guard<Mutex> lock(mutex_);
    service_.expect_wake(kNever);
  }

  // No timer expires from now on, and `program` is not called again. The timers may still be used
  // and destroyed.
  void stop() noexcept {
    const std::lock_guard<Mutex> lock(mutex_);
    stopped_ = true;
    service_.expect_wake(kNothingEarlier);
  }

  // As in TimerService. For tests, while no other thread uses the service.
  std::string_view check() const { return service_.check(); }
  const TimerCounters& counters() const noexcept { return service_.counters(); }

private:
  using Service = TimerService<Backend, Clock>;
  struct Checks;

  static constexpr Tick kNothingEarlier = 0; // a wake-up so early that no timer asks for another
  // When a check is tried again that could not be posted.
  static constexpr Time kRetry = std::chrono::milliseconds(50);

  void wake_at(Tick tick) { wake_at(tick == kNever ? kForever : service_.time_of(tick), tick); }

  // Has a pass run at `time`, which suffices for all timers from `tick` on. When `program` throws,
  // no pass is expected, and the next timer that is filed asks for one.
  void wake_at(Time time, Tick tick) {
    OnFailure forget([this] {
      wake_time_ = kForever;
      service_.expect_wake(kNever);
    });
    wake_time_ = time;
    program_();
    service_.expect_wake(tick);
    forget.dismiss();
  }

  // Says when the next pass is needed. None is while no timer is watched. A thread that then
  // watches one sees parked_, or this sees its timer in watched_.
  void settle() {
    if (stopped_) {
      return;
    }
    lingering_.store(false);
    parked_.store(true);
    if (watched_.load() == 0) {
      wake_at(kForever, kNothingEarlier);
    } else {
      unpark();
    }
  }

  void unpark() {
    parked_.store(false);
    wake_at(service_.next_deadline());
  }

  void begin_to_watch() {
    if (watched_.fetch_add(1) == 0 && parked_.load()) [[unlikely]] {
      const std::lock_guard<Mutex> lock(mutex_);
      if (parked_.load() && !stopped_) {
        unpark();
      }
    }
  }

  // When nothing is watched any more a pass will look whether that is still so. The wake-up is not
  // given up at once, because a lone busy owner comes here with each of its operations.
  void end_to_watch() noexcept {
    if (watched_.fetch_sub(1) == 1 && !lingering_.load()) [[unlikely]] {
      linger();
    }
  }

  void linger() noexcept {
    const std::lock_guard<Mutex> lock(mutex_);
    const Time until = now() + kLinger;
    if (stopped_ || parked_.load() || wake_time_ <= until || wake_time_ == kForever) {
      return; // a pass comes soon anyway, or there is no wake-up to give up
    }
    lingering_.store(true);
    BOOST_TRY { wake_at(until, service_.tick_at(until)); }
    BOOST_CATCH(...) { lingering_.store(false); }
    BOOST_CATCH_END
  }

  [[no_unique_address]] Clock clock_;
  [[no_unique_address]] Mutex mutex_;
  Service service_; // guarded by mutex_, as are the next four
  Checks* collected_ = nullptr;
  Time wake_time_ = kForever;
  Action program_ = [] {};
  bool stopped_ = false;
  const Ticks slack_;
  const Time tick_;
  const std::size_t budget_;

  // std::atomic, or for one thread a plain value with the same functions.
  template <class Value> struct Plain {
    Value value;
    Value load() const noexcept { return value; }
    void store(Value to) noexcept { value = to; }
    Value fetch_add(Value by) noexcept { return std::exchange(value, value + by); }
    Value fetch_sub(Value by) noexcept { return std::exchange(value, value - by); }
  };
  template <class Value>
  using Shared =
      std::conditional_t<std::same_as<Mutex, NullMutex>, Plain<Value>, std::atomic<Value>>;

  // Sequentially consistent: of two threads, one of which changes watched_ and then reads a flag
  // while the other sets the flag and then reads watched_, one sees what the other did.
  Shared<std::size_t> watched_{0}; // how many timers are
  Shared<bool> parked_{true};      // no pass is needed, because nothing is watched
  Shared<bool> lingering_{false};  // a pass will look whether nothing is watched
};

// What the service keeps of a timer, and the base class of what its owner keeps. Such an object is
// made with `new`, or overrides destroy(), and begins with one reference, its owner's.
//
// Every function is to be called at the owner, unless it says otherwise. They may be called from
// expired().
template <TimerBackend Backend, class Owner, class Mutex, MonotonicClock Clock>
class SharedTimerService<Backend, Owner, Mutex, Clock>::Timer {
public:
  Timer(std::shared_ptr<SharedTimerService> service, Owner owner)
      : owner_(std::move(owner)), slot_(service->service_, [this] { handed_out(); }),
        service_(std::move(service)) {}

  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // References: any thread. Whoever gives back the last destroys the object.
  void add_reference() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      destroy();
    }
  }

  // Gives back the last reference, destroys the object and returns true. Does nothing and returns
  // false while a check, or anybody else, holds a reference too.
  bool release_if_last() noexcept {
    std::uint32_t last = 1;
    if (!references_.compare_exchange_strong(last, 0, std::memory_order_acq_rel,
                                             std::memory_order_relaxed)) {
      return false;
    }
    destroy();
    return true;
  }

  SharedTimerService& service() const noexcept { return *service_; }

  // From now on, until unwatch(), the timer expires in the first check at or after `deadline`, or
  // never if that is kForever. A deadline that moves later, or within its tick, costs a store and a
  // comparison; an earlier one takes the lock, and one operation of the backend. Throws what the
  // backend and `program` throw; the timer is unwatched then.
  void watch(Time deadline) {
    deadline_ = deadline;
    if (deadline == kForever) {
      unwatch();
      return;
    }
    OnFailure undo([this] { unwatch(); });
    if (!watched_) {
      watched_ = true;
      service_->begin_to_watch();
    }
    file_in_time();
    undo.dismiss();
  }

  // The timer does not expire any more. Never touches the structure.
  void unwatch() noexcept {
    if (watched_) {
      watched_ = false;
      service_->end_to_watch();
    }
  }

  bool watched() const noexcept { return watched_; }

  // Whether a check comes at or soon after `deadline`, whatever happens to the timer until then.
  bool comes_in_time(Time deadline) const noexcept {
    return deadline.count() > filed_after_.load(std::memory_order_relaxed);
  }

  // Where checks are posted to. To change it takes the lock. A check that is on its way goes on
  // from the old owner's place to the new one's.
  const Owner& owner() const noexcept { return owner_; }
  void change_owner(Owner owner) {
    const std::lock_guard<Mutex> lock(service_->mutex_);
    std::swap(owner_, owner);
    ++moves_;
  }

protected:
  // Any thread, of which nothing else may use the object any more.
  virtual ~Timer() {
    unwatch();
    const std::lock_guard<Mutex> lock(service_->mutex_);
    slot_.disarm();
  }

  // What a check does: sees whether the deadline is over. For checked().
  void look() {
    if (!watched_) {
      return;
    }
    if (deadline_ > service_->now()) {
      file_in_time();
      return;
    }
    unwatch();
    expired();
  }

  // The next three are for a timer that keeps its deadline itself. Any thread may call them.

  // There is one reason more for the service to make passes, until end_to_watch().
  void begin_to_watch() { service_->begin_to_watch(); }
  void end_to_watch() noexcept { service_->end_to_watch(); }

  // Has a check come at or soon after `deadline`, if none is to come before. Reads, as one
  // sequentially consistent operation, from when on a check comes. When it throws, none may come.
  void have_checked(Time deadline) {
    if (deadline.count() <= filed_after_.load()) {
      const std::lock_guard<Mutex> lock(service_->mutex_);
      if (deadline.count() <= filed_after_.load(std::memory_order_relaxed)) {
        file(deadline);
      }
    }
  }

private:
  friend SharedTimerService;
  friend Check;

  // A check has arrived at the owner. A timer that has a mutex in place of an owner holds that
  // while it calls look(); one that keeps its deadline itself looks at that.
  virtual void checked() { look(); }

  // The deadline is over. The timer is not watched any more, and may be watched again. It may
  // throw, which leaves the owner's place.
  virtual void expired() = 0;

  // Called with the last reference.
  virtual void destroy() noexcept { delete this; }

  void file_in_time() {
    if (!comes_in_time(deadline_)) [[unlikely]] {
      const std::lock_guard<Mutex> lock(service_->mutex_);
      file(deadline_);
    }
  }

  // Locked. When it throws, the timer may be filed or not; it counts as unfiled.
  [[gnu::noinline]] void file(Time deadline) {
    SharedTimerService& shared = *service_;
    if (shared.stopped_) {
      return;
    }
    const Tick now = shared.service_.now().floor;
    const Tick tick = std::max(shared.service_.tick_at(deadline), now);
    set_filed_after(kUnfiled);
    slot_.rearm(tick - now, {now, now}, shared.slack_);
    set_filed_after((shared.service_.time_of(tick) - shared.tick_).count());
  }

  // Locked, in a pass: the backend has handed out the timer.
  void handed_out() noexcept {
    set_filed_after(kUnfiled);
    if (!checking_ && add_reference_if_any()) {
      checking_ = true;
      service_->collected_->add(*this);
    }
  }

  // The object may be about to be destroyed, by a thread that waits for the lock.
  bool add_reference_if_any() noexcept {
    auto references = references_.load(std::memory_order_relaxed);
    while (references != 0 && !references_.compare_exchange_weak(references, references + 1,
                                                                 std::memory_order_relaxed)) {
    }
    return references != 0;
  }

  // Whether a check that has arrived is where the owner is. If not, it goes on with post_again().
  bool arrived(std::uint32_t moves) {
    const std::lock_guard<Mutex> lock(service_->mutex_);
    const bool here = moves == moves_;
    if (here) {
      checking_ = false;
      filed_after_.store(filed_after_.load(std::memory_order_relaxed)); // for have_checked()
    }
    return here;
  }

  void post_again() {
    Checks again; // posts it when the lock was given up
    const std::lock_guard<Mutex> lock(service_->mutex_);
    add_reference();
    again.add(*this);
  }

  // A check was destroyed and did not run, perhaps because there was no memory to post it.
  void missed() noexcept {
    const std::lock_guard<Mutex> lock(service_->mutex_);
    checking_ = false;
    if (filed_after_.load(std::memory_order_relaxed) != kUnfiled) {
      return; // the owner has filed it meanwhile
    }
    BOOST_TRY { file(service_->now() + kRetry); }
    BOOST_CATCH(...) {}
    BOOST_CATCH_END
  }

  void set_filed_after(std::int64_t time) noexcept {
    filed_after_.store(time, std::memory_order_relaxed);
  }

  static constexpr std::int64_t kUnfiled = std::numeric_limits<std::int64_t>::max();

  // What every operation needs comes first, to lie in few cache lines.
  Time deadline_ = kForever; // the owner's, as is watched_
  // Any deadline after this gets a check in time, from where the timer is filed. The owner reads it
  // without the lock.
  std::atomic<std::int64_t> filed_after_ = kUnfiled;
  std::atomic<std::uint32_t> references_ = 1;
  bool watched_ = false;
  bool checking_ = false; // guarded by the service's lock, as are moves_, owner_ and slot_
  std::uint32_t moves_ = 0;
  Owner owner_; // its owner may read it without the lock
  typename Service::Timer slot_;
  const std::shared_ptr<SharedTimerService> service_;
};

// A check on its way to an owner: a callable that can only be moved, and is to be called once. It
// holds a reference.
template <TimerBackend Backend, class Owner, class Mutex, MonotonicClock Clock>
class SharedTimerService<Backend, Owner, Mutex, Clock>::Check {
public:
  Check(Check&& other) noexcept
      : timer_(std::exchange(other.timer_, nullptr)), moves_(other.moves_) {}
  Check& operator=(Check&&) = delete;

  ~Check() {
    if (timer_ != nullptr) {
      timer_->missed();
      timer_->release();
    }
  }

  // Throws what the timer's expired() throws.
  void operator()() {
    struct Reference {
      Timer& timer;
      ~Reference() { timer.release(); }
    } reference{*std::exchange(timer_, nullptr)};
    if (reference.timer.arrived(moves_)) {
      reference.timer.checked();
    } else {
      reference.timer.post_again();
    }
  }

private:
  friend SharedTimerService;

  // Takes over a reference.
  Check(Timer& timer, std::uint32_t moves) noexcept : timer_(&timer), moves_(moves) {}

  Timer* timer_;
  std::uint32_t moves_; // to where the owner was when it was posted
};

// The checks that a pass has collected under the lock. They are posted when this is destroyed,
// which must be after the lock was given up.
template <TimerBackend Backend, class Owner, class Mutex, MonotonicClock Clock>
struct SharedTimerService<Backend, Owner, Mutex, Clock>::Checks {
  Checks() = default;
  Checks(const Checks&) = delete;
  Checks& operator=(const Checks&) = delete;

  ~Checks() {
    for (Entry& entry : std::span(entries).first(count)) {
      BOOST_TRY { entry.owner.post(Check(*entry.timer, entry.moves)); }
      BOOST_CATCH(...) {} // the check was destroyed, which is dealt with there
      BOOST_CATCH_END
    }
  }

  // Locked. Takes over a reference.
  void add(Timer& timer) noexcept { entries[count++] = {&timer, timer.moves_, timer.owner_}; }

  struct Entry {
    Timer* timer = nullptr;
    std::uint32_t moves = 0;
    Owner owner;
  };
  std::array<Entry, kLargestBudget> entries;
  std::size_t count = 0;
};

} // namespace timers
