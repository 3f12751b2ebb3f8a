// WaitQueue: the pending waits of one timer, for timers::steady_timer (steady_timer.hpp).
//
// Asio lets a timer be used by one thread while another runs its context. So in the words of
// shared_timer_service.hpp, the owner of a timer is no place, but whoever holds the queue's mutex.
// The timer's executor is where checks arrive and waits complete.
//
// A wait is one block of memory, from the allocator of its handler. It goes this way:
//
//   waiting   in waits_, first come first served, until it expires or is cancelled
//   ready     in ready_, with its result. For each there is a turn on its way to the timer's
//             executor, which takes the first wait that is ready
//   complete  the handler runs there, inside the turn, or goes on to its own executor
//
// So a handler never runs inside the function that completes its wait, handlers of one executor run
// in the order in which their waits were started, and one that throws or blocks holds up no other.
//
// As long as anything waits, the queue is watched no later than at its expiry, or a turn is on its
// way. So the expiry may move later by a mere store, at any time: the check that comes too early
// sees the new value, or the wait has expired just before it moved.
#pragma once

#include "timers/asio/wait.hpp"
#include "timers/asio/wait_registry.hpp"
#include "timers/asio/wheel_service.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/recycling_allocator.hpp>
#include <boost/core/no_exceptions_support.hpp>
#include <boost/system/error_code.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>

namespace timers::detail {

template <class Service>
class WaitQueue final : public Service::Timer, private WaitRegistry::Member {
public:
  struct Release {
    void operator()(WaitQueue* queue) const noexcept { queue->release(); }
  };
  using Reference = std::unique_ptr<WaitQueue, Release>;

  using Time = std::chrono::nanoseconds; // since the epoch of the steady clock; kForever is never

  WaitQueue(const boost::asio::any_io_executor& executor, Time expiry)
      : Service::Timer(Service::of(executor), AsioOwner{executor}), expiry_(expiry.count()),
        registry_(WaitRegistryService::of(executor)) {
    if (!registry_->add(*this)) {
      closed_ = true;
    }
  }

  // The functions from here on are for one thread at a time, that which uses the timer.

  // While nothing waits.
  void set_expiry(Time expiry) noexcept {
    expiry_.store(expiry.count(), std::memory_order_relaxed);
  }

  // Moves the expiry and keeps the waits. A store, if it becomes no earlier; else it takes the
  // lock.
  void rearm(Time expiry) {
    const bool earlier = expiry < this->expiry();
    if (!earlier) {
      set_expiry(expiry);
      return;
    }
    Lock lock(mutex_);
    set_expiry(expiry);
    if (!waits_.empty() && !watch_expiry()) {
      post_turns(lock, 1);
    }
  }

  template <class Handler, class Executor>
  void async_wait(Handler handler, const Executor& executor) {
    auto slot = boost::asio::get_associated_cancellation_slot(handler);
    WaitPtr wait = WaitOf<Handler, Executor>::make(std::move(handler), executor);
    if (slot.is_connected()) {
      wait->id = ++last_id_;
      slot.template emplace<CancelWait>(link(), wait->id);
    }
    start(std::move(wait));
  }

  // These return how many waits they have cancelled.
  std::size_t cancel() noexcept {
    Lock lock(mutex_);
    const std::size_t count = waits_.size();
    while (abort(waits_.pop())) {
    }
    after_cancel(lock);
    return count;
  }

  std::size_t cancel_one() noexcept {
    Lock lock(mutex_);
    const bool any = abort(waits_.pop());
    after_cancel(lock);
    return any ? 1 : 0;
  }

private:
  using Mutex = typename Service::mutex_type;
  struct alignas(std::max_align_t) Room {
    std::byte bytes[64];
  };
  using Lock = std::unique_lock<Mutex>;

  Reference reference() noexcept {
    this->add_reference();
    return Reference(this);
  }

  // Memory for one turn at a time on its way to an executor that asks for it there; any others get
  // theirs from Asio's threads, which keep too few blocks for a turn with each wait. A turn holds
  // its queue until its memory was given back.
  template <class T> class TurnAllocator {
  public:
    using value_type = T;

    explicit TurnAllocator(WaitQueue& queue) noexcept : queue_(&queue) {}
    template <class Other>
    TurnAllocator(const TurnAllocator<Other>& other) noexcept : queue_(other.queue_) {}

    T* allocate(std::size_t count) {
      if (count * sizeof(T) <= sizeof(Room) && alignof(T) <= alignof(Room) &&
          !queue_->room_taken_.exchange(true, std::memory_order_acquire)) {
        return reinterpret_cast<T*>(&queue_->room_);
      }
      return boost::asio::recycling_allocator<T>().allocate(count);
    }

    void deallocate(T* memory, std::size_t count) noexcept {
      if (static_cast<void*>(memory) == &queue_->room_) {
        queue_->room_taken_.store(false, std::memory_order_release);
      } else {
        boost::asio::recycling_allocator<T>().deallocate(memory, count);
      }
    }

    template <class Other> bool operator==(const TurnAllocator<Other>& other) const noexcept {
      return queue_ == other.queue_;
    }

  private:
    template <class> friend class TurnAllocator;
    WaitQueue* queue_;
  };

  // A callable that takes the next wait that is ready to its end. It can only be moved, and is to
  // be called once.
  class Turn {
  public:
    using allocator_type = TurnAllocator<std::byte>;

    explicit Turn(Reference queue) noexcept : queue_(std::move(queue)) {}
    Turn(Turn&&) = default;
    Turn& operator=(Turn&&) = delete;
    ~Turn() {
      if (queue_) {
        queue_->turn_lost(std::move(queue_));
      }
    }

    // While it holds its queue.
    allocator_type get_allocator() const noexcept { return allocator_type(*queue_); }

    void operator()() {
      const Reference queue = std::move(queue_);
      queue->take_turn();
    }

  private:
    Reference queue_;
  };

  // What a cancellation slot knows of the queue. The slot may be there longer than the timer and
  // its context, so it does not keep the queue, in which there is an executor.
  struct Link {
    explicit Link(WaitQueue& of) : queue(&of) {}
    Mutex mutex;
    WaitQueue* queue; // null when it is gone
  };

  class CancelWait {
  public:
    CancelWait(std::shared_ptr<Link> link, std::uint64_t id) : link_(std::move(link)), id_(id) {}

    void operator()(boost::asio::cancellation_type_t type) {
      constexpr auto kAny = boost::asio::cancellation_type_t::terminal |
                            boost::asio::cancellation_type_t::partial |
                            boost::asio::cancellation_type_t::total;
      const std::lock_guard<Mutex> lock(link_->mutex);
      if ((type & kAny) != boost::asio::cancellation_type_t::none && link_->queue != nullptr) {
        link_->queue->cancel_by_id(id_);
      }
    }

  private:
    const std::shared_ptr<Link> link_;
    const std::uint64_t id_;
  };

  // Is ready when a turn was lost, and keeps the queue until another comes for the waits.
  class Keeper final : public Wait {
  public:
    void hold(Reference queue) noexcept { queue_ = std::move(queue); }
    bool holds() const noexcept { return queue_ != nullptr; }
    void complete() override { destroy(); }
    void destroy() noexcept override { const Reference last = std::move(queue_); }

  private:
    Reference queue_;
  };

  ~WaitQueue() override {
    if (link_) {
      const std::lock_guard<Mutex> lock(link_->mutex);
      link_->queue = nullptr;
    }
    registry_->remove(*this);
  }

  Time expiry() const noexcept { return Time(expiry_.load(std::memory_order_relaxed)); }

  const std::shared_ptr<Link>& link() {
    if (!link_) {
      link_ = std::make_shared<Link>(*this);
    }
    return link_;
  }

  void start(WaitPtr wait) {
    Reference keep; // another thread may run the handler, which may destroy the timer
    Lock lock(mutex_);
    if (closed_) {
      return;
    }
    const bool due = waits_.empty() && !watch_expiry();
    waits_.push(std::move(wait));
    if (due) {
      keep = reference();
      post_turns(lock, 1);
    }
  }

  void cancel_by_id(std::uint64_t id) noexcept {
    Lock lock(mutex_);
    abort(waits_.take(id));
    after_cancel(lock);
  }

  // Locked. Returns whether there was a wait.
  bool abort(WaitPtr wait) noexcept {
    const bool any = wait != nullptr;
    if (any) {
      wait->error = boost::asio::error::operation_aborted;
      ready_.push(std::move(wait));
    }
    return any;
  }

  // Gives up the lock. If turns are on their way, the last of them ends the watch, because who
  // cancels a wait often starts another at once.
  void after_cancel(Lock& lock) noexcept {
    if (waits_.empty() && ready_.empty()) {
      this->unwatch();
    }
    post_turns(lock, ready_.size());
  }

  // Locked. Has a check come at the expiry. Returns false if that is over: then nothing is watched.
  // If a check comes by then in any case, this does not look at the clock.
  bool watch_expiry() {
    if (!this->comes_in_time(expiry()) && expiry() <= this->service().now()) {
      this->unwatch();
      return false;
    }
    this->watch(expiry());
    return true;
  }

  // Has so many turns on their way, and gives up the lock. The caller holds a reference.
  void post_turns(Lock& lock, std::size_t wanted) noexcept {
    std::size_t missing = wanted - std::min(wanted, turns_);
    turns_ += missing;
    lock.unlock();
    for (; missing > 0; --missing) {
      BOOST_TRY { this->owner().post(Turn(reference())); }
      BOOST_CATCH(...) {} // the turn was destroyed, which is dealt with there
      BOOST_CATCH_END
    }
  }

  // A turn was destroyed and did not run, perhaps because there was no memory to post it. A check
  // takes its place, which is tried again until it arrives.
  void turn_lost(Reference reference) noexcept {
    const Lock lock(mutex_); // given up before the reference, which may be the last
    --turns_;
    if (closed_) {
      return;
    }
    if (!keeper_.holds()) {
      keeper_.hold(std::move(reference));
      ready_.push(WaitPtr(&keeper_));
    }
    BOOST_TRY { this->watch(this->service().now()); }
    BOOST_CATCH(...) {} // then the next turn comes for the waits
    BOOST_CATCH_END
  }

  // At the timer's executor, as are the next.
  void take_turn() {
    Lock lock(mutex_);
    --turns_;
    if (!this->watched()) {
      expired();
    } else if (waits_.empty()) {
      this->unwatch();
    }
    complete_next(lock);
  }

  void checked() override {
    Lock lock(mutex_);
    this->look();
    complete_next(lock);
  }

  // Locked. The waits are ready, unless the expiry has moved.
  void expired() override {
    if (!waits_.empty() && !watch_expiry()) {
      ready_.append(waits_);
    }
  }

  // Gives up the lock.
  void complete_next(Lock& lock) {
    WaitPtr wait = ready_.pop();
    post_turns(lock, ready_.size());
    if (wait) {
      wait.release()->complete();
    }
  }

  void close(WaitList& waits) noexcept override {
    const std::lock_guard<Mutex> lock(mutex_);
    closed_ = true;
    waits.append(waits_);
    waits.append(ready_);
  }

  // What every wait needs comes first, to lie in few cache lines.
  std::atomic<std::int64_t> expiry_; // written by the thread that uses the timer
  Mutex mutex_;
  // Guarded by the mutex, as is keeper_.
  WaitList waits_;
  WaitList ready_;
  std::size_t turns_ = 0; // on their way
  bool closed_ = false;   // the context is at its end
  std::atomic<bool> room_taken_ = false;
  Room room_;
  Keeper keeper_;
  std::uint64_t last_id_ = 0;  // for the thread that uses the timer, as is the next
  std::shared_ptr<Link> link_; // made when a slot needs it
  const std::shared_ptr<WaitRegistry> registry_;
};

} // namespace timers::detail
