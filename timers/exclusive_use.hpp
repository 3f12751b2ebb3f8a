// Stops a program in which two threads use one object at once. What counts is that they do so at
// the same time: one thread may use the object after another, when a join, a mutex or a queue
// orders them. Builds with NDEBUG check nothing, and pay nothing.
#pragma once

#include <atomic>
#include <cassert>
#include <thread>

namespace timers {

class ExclusiveUse {
public:
  // Lives as long as a call into the object, calls from inside that call included.
  class Call {
  public:
    explicit Call([[maybe_unused]] ExclusiveUse& object) noexcept {
#if !defined(NDEBUG)
      std::thread::id user;
      const bool entered = object.user_.compare_exchange_strong(user, std::this_thread::get_id(),
                                                                std::memory_order_relaxed);
      assert((entered || user == std::this_thread::get_id()) &&
             "two threads use a timer service at once");
      outermost_of_ = entered ? &object : nullptr;
#endif
    }

    ~Call() {
#if !defined(NDEBUG)
      if (outermost_of_ != nullptr) {
        outermost_of_->user_.store(std::thread::id(), std::memory_order_relaxed);
      }
#endif
    }

    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    // To be called when the object was destroyed during the call.
    void object_is_gone() noexcept { outermost_of_ = nullptr; }

  private:
    ExclusiveUse* outermost_of_ = nullptr;
  };

private:
  // Relaxed, because a check that ordered the threads would hide their races from the thread
  // sanitizer.
  std::atomic<std::thread::id> user_{std::thread::id()};
};

} // namespace timers
