// One pending wait of a timer: its handler, in one block of memory from the handler's allocator,
// and what keeps the contexts busy on which it will run. wait_queue.hpp keeps waits until they
// complete.
#pragma once

#include "timers/failure.hpp"

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/execution/executor.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/recycling_allocator.hpp>
#include <boost/system/error_code.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace timers::detail {

// A wait whose handler may be of any type (WaitOf).
class Wait {
public:
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;

  // At the timer's executor: frees this, and runs the handler with `error`, there or on the
  // executor of its own.
  virtual void complete() = 0;
  // Frees this. The handler is destroyed and does not run.
  virtual void destroy() noexcept = 0;

  boost::system::error_code error;
  std::uint64_t id = 0; // by which a cancellation slot knows it

protected:
  Wait() = default;
  virtual ~Wait() = default;

private:
  friend class WaitList;
  Wait* next_ = nullptr;
};

struct DestroyWait {
  void operator()(Wait* wait) const noexcept { wait->destroy(); }
};
using WaitPtr = std::unique_ptr<Wait, DestroyWait>;

// First in, first out. Those that are still in it are destroyed with it.
class WaitList {
public:
  WaitList() = default;
  WaitList(const WaitList&) = delete;
  WaitList& operator=(const WaitList&) = delete;
  ~WaitList() {
    while (!empty()) {
      pop();
    }
  }

  bool empty() const noexcept { return first_ == nullptr; }
  std::size_t size() const noexcept { return size_; }

  void push(WaitPtr wait) noexcept {
    Wait* const added = wait.release();
    (empty() ? first_ : last_->next_) = added;
    last_ = added;
    ++size_;
  }

  // Null when nothing is left.
  WaitPtr pop() noexcept {
    Wait* const wait = first_;
    if (wait != nullptr) {
      first_ = std::exchange(wait->next_, nullptr);
      --size_;
    }
    return WaitPtr(wait);
  }

  // Takes the wait with this id out of the list, if it is there. O(n).
  WaitPtr take(std::uint64_t id) noexcept {
    Wait* before = nullptr;
    for (Wait* wait = first_; wait != nullptr; before = std::exchange(wait, wait->next_)) {
      if (wait->id == id) {
        (before == nullptr ? first_ : before->next_) = wait->next_;
        last_ = last_ == wait ? before : last_;
        wait->next_ = nullptr;
        --size_;
        return WaitPtr(wait);
      }
    }
    return nullptr;
  }

  // Moves all of `other` to the end of this list. O(1).
  void append(WaitList& other) noexcept {
    if (!other.empty()) {
      (empty() ? first_ : last_->next_) = std::exchange(other.first_, nullptr);
      last_ = other.last_;
      size_ += std::exchange(other.size_, 0);
    }
  }

private:
  Wait* first_ = nullptr;
  Wait* last_ = nullptr; // if there is any
  std::size_t size_ = 0;
};

// Keeps the context of an executor busy while it lives, and hands work to the executor.
template <class Executor> class Busy {
public:
  explicit Busy(const Executor& executor) : tracked_(tracked(executor)) {}

  template <class Function> void dispatch(Function function) {
    boost::asio::dispatch(tracked_, std::move(function));
  }

private:
  static auto tracked(const Executor& executor) {
    return boost::asio::prefer(executor, boost::asio::execution::outstanding_work.tracked);
  }
  decltype(tracked(std::declval<const Executor&>())) tracked_;
};

// Executors of the Networking TS, such as io_context::strand, count their work in another way.
template <class Executor>
requires(!boost::asio::execution::is_executor<Executor>::value) class Busy<Executor> {
public:
  explicit Busy(const Executor& executor) : guard_(executor) {}

  template <class Function> void dispatch(Function function) {
    boost::asio::dispatch(guard_.get_executor(), std::move(function));
  }

private:
  boost::asio::executor_work_guard<Executor> guard_;
};

// What Asio does with std::allocator, which stands for no allocator in particular: its threads keep
// blocks for the next operation.
template <class Allocator> struct Recycled { using type = Allocator; };
template <class T> struct Recycled<std::allocator<T>> {
  using type = boost::asio::recycling_allocator<T>;
};

// `Executor` is that of the timer. Keeps it and the executor of the handler busy.
template <class Handler, class Executor> class WaitOf final : public Wait {
public:
  // Throws what the handler's allocator throws, and what moving the handler throws.
  static WaitPtr make(Handler&& handler, const Executor& executor) {
    Allocator allocator = allocator_of(handler);
    WaitOf* const memory = Allocation::allocate(allocator, 1);
    OnFailure free([&] { Allocation::deallocate(allocator, memory, 1); });
    WaitPtr wait(::new (static_cast<void*>(memory)) WaitOf(std::move(handler), executor));
    free.dismiss();
    return wait;
  }

  void complete() override {
    if (!elsewhere_) {
      run();
      return;
    }
    Busy<HandlerExecutor> elsewhere = std::move(*elsewhere_);
    elsewhere_.reset();
    here_.reset(); // because the timer's context may end before the handler runs
    elsewhere.dispatch(Completion(this));
  }

  void destroy() noexcept override { static_cast<void>(take_handler()); }

private:
  using HandlerExecutor = boost::asio::associated_executor_t<Handler, Executor>;
  using HandlerAllocator = boost::asio::associated_allocator_t<Handler>;
  using Allocator = typename std::allocator_traits<
      typename Recycled<HandlerAllocator>::type>::template rebind_alloc<WaitOf>;
  using Allocation = std::allocator_traits<Allocator>;

  // A callable that owns the wait, on its way to the handler's executor.
  class Completion {
  public:
    using allocator_type = HandlerAllocator;

    explicit Completion(WaitOf* wait) noexcept : wait_(wait) {}

    allocator_type get_allocator() const noexcept {
      return boost::asio::get_associated_allocator(wait_->handler_);
    }
    void operator()() { wait_.release()->run(); }

  private:
    std::unique_ptr<WaitOf, DestroyWait> wait_;
  };

  WaitOf(Handler&& handler, const Executor& executor)
      : handler_(std::move(handler)), here_(executor) {
    const auto& own = boost::asio::get_associated_executor(handler_, executor);
    if constexpr (std::is_same_v<HandlerExecutor, Executor>) {
      if (std::addressof(own) == std::addressof(executor) || own == executor) {
        return;
      }
    }
    elsewhere_.emplace(own);
  }
  ~WaitOf() override = default;

  static Allocator allocator_of(const Handler& handler) {
    if constexpr (std::is_same_v<typename Recycled<HandlerAllocator>::type, HandlerAllocator>) {
      return Allocator(boost::asio::get_associated_allocator(handler));
    } else {
      return Allocator();
    }
  }

  void run() {
    const boost::system::error_code result = error;
    Handler handler = take_handler();
    std::move(handler)(result);
  }

  // Frees this. The handler leaves first, because the memory may be part of what it owns.
  Handler take_handler() {
    Handler handler = std::move(handler_);
    Allocator allocator = allocator_of(handler);
    this->~WaitOf();
    Allocation::deallocate(allocator, this, 1);
    return handler;
  }

  Handler handler_;
  std::optional<Busy<Executor>> here_;
  std::optional<Busy<HandlerExecutor>> elsewhere_; // unless it is the same executor
};

} // namespace timers::detail
