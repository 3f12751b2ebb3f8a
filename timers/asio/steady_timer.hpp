// timers::steady_timer: boost::asio::steady_timer on the timers of idlewheel. To change a program,
// change the name, or one alias (net.hpp); everything else stays as it is:
//
//   timers::steady_timer timer{io, 30s};
//   timer.async_wait([](boost::system::error_code error) { ... });
//
// All timers of a context share one OS timer, and a wait costs the same however many there are. One
// thing is new: rearm_after() moves the expiry and keeps the waits, where Asio's expires_after()
// cancels them. So a timeout that moves with every request is one wait for the life of its object,
// and a store for each request:
//
//   timer.rearm_after(30s);
//
// What differs from Asio: a wait completes up to one tick later (1 ms, see SharedConfig).
//
// As in Asio, one thread or strand at a time may use a timer, while any others run its context.
// Handlers run on their associated executor, by default the timer's, and never inside a function of
// the timer. Destroying a timer cancels its waits. The end of the context destroys their handlers
// uncalled; a timer that is still there then may only be destroyed.
#pragma once

#include "timers/asio/wait_queue.hpp"
#include "timers/asio/wheel_service.hpp"
#include "timers/duration.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/consign.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/recycling_allocator.hpp>
#include <boost/asio/version.hpp>
#include <boost/asio/wait_traits.hpp>
#include <boost/system/error_code.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>

namespace timers {

// `Executor` converts to any_io_executor. `Service` is a basic_wheel_service.
//
// A timer allocates at its first wait, and takes the lock of the context's services then. Until
// then it is an executor and a time. A wait allocates from its handler's associated allocator.
template <class Executor = boost::asio::any_io_executor, class Service = wheel_service>
class basic_steady_timer {
  class InitiateWait;

public:
  using executor_type = Executor;
  using clock_type = std::chrono::steady_clock;
  using duration = clock_type::duration;
  using time_point = clock_type::time_point;
  using traits_type = boost::asio::wait_traits<clock_type>;

  template <class Executor1> struct rebind_executor {
    using other = basic_steady_timer<Executor1, Service>;
  };

  // The timer has expired, until it is told when to.
  explicit basic_steady_timer(const executor_type& executor) : executor_(executor) {}
  basic_steady_timer(const executor_type& executor, const time_point& expiry)
      : executor_(executor), expiry_(expiry) {}
  basic_steady_timer(const executor_type& executor, const duration& after)
      : executor_(executor), expiry_(from_now(after)) {}

  template <class Context>
  requires std::convertible_to<Context&, boost::asio::execution_context&>
  explicit basic_steady_timer(Context& context) : basic_steady_timer(context.get_executor()) {}
  template <class Context>
  requires std::convertible_to<Context&, boost::asio::execution_context&>
  basic_steady_timer(Context& context, const time_point& expiry)
      : basic_steady_timer(executor_type(context.get_executor()), expiry) {}
  template <class Context>
  requires std::convertible_to<Context&, boost::asio::execution_context&>
  basic_steady_timer(Context& context, const duration& after)
      : basic_steady_timer(executor_type(context.get_executor()), after) {}

  // A timer that was moved from is as one that was made with its executor alone. Its waits go on
  // at the new place.
  basic_steady_timer(basic_steady_timer&& other) noexcept
      : executor_(other.executor_), expiry_(std::exchange(other.expiry_, time_point())),
        queue_(std::move(other.queue_)), waiting_(std::exchange(other.waiting_, false)) {}

  template <class Executor1>
  requires std::convertible_to<Executor1, Executor>
  basic_steady_timer(basic_steady_timer<Executor1, Service>&& other)
      : executor_(other.executor_), expiry_(std::exchange(other.expiry_, time_point())),
        queue_(std::move(other.queue_)), waiting_(std::exchange(other.waiting_, false)) {}

  // Cancels the waits that this timer has.
  basic_steady_timer& operator=(basic_steady_timer&& other) noexcept {
    if (this != &other) {
      std::destroy_at(this); // an executor need not be assignable
      std::construct_at(this, std::move(other));
    }
    return *this;
  }

  template <class Executor1>
  requires std::convertible_to<Executor1, Executor> basic_steady_timer&
  operator=(basic_steady_timer<Executor1, Service>&& other) {
    return *this = basic_steady_timer(std::move(other));
  }

  basic_steady_timer(const basic_steady_timer&) = delete;
  basic_steady_timer& operator=(const basic_steady_timer&) = delete;

  ~basic_steady_timer() { cancel(); }

  const executor_type& get_executor() const noexcept { return executor_; }

  // Have all waits, or the one that was started first, complete with operation_aborted. A wait that
  // has expired already, and whose handler did not run yet, goes on. They return how many they have
  // cancelled. No call allocates or locks unless a wait was started since the last.
  std::size_t cancel() noexcept { return std::exchange(waiting_, false) ? queue_->cancel() : 0; }
  std::size_t cancel_one() noexcept {
    const std::size_t count = waiting_ ? queue_->cancel_one() : 0;
    waiting_ = count != 0;
    return count;
  }

  time_point expiry() const noexcept { return expiry_; }

  // Move the expiry, and cancel all waits; they return how many. A sum that no time_point can hold
  // is time_point::max(), which is never.
  std::size_t expires_at(const time_point& expiry) noexcept {
    const std::size_t count = cancel();
    set_expiry(expiry);
    return count;
  }
  std::size_t expires_after(const duration& after) noexcept { return expires_at(from_now(after)); }

  // Move the expiry, and keep the waits, which complete at the new time. A store, if the expiry
  // becomes no earlier. If it becomes earlier while something waits, they take a lock, and throw
  // what filing a timer throws (std::bad_alloc). A wait that has expired already is not called
  // back.
  void rearm_at(const time_point& expiry) {
    expiry_ = expiry;
    if (queue_) {
      queue_->rearm(expiry.time_since_epoch());
    }
  }
  void rearm_after(Nanoseconds after) { rearm_at(from_now(after)); }

  // Blocks the calling thread until the expiry. `error` becomes success.
  void wait() const {
    for (auto now = clock_type::now(); now < expiry_; now = clock_type::now()) {
      std::this_thread::sleep_for(std::min<duration>(expiry_ - now, kLongestSleep));
    }
  }
  void wait(boost::system::error_code& error) const {
    error.clear();
    wait();
  }

  // Starts a wait. The token's signature is void(boost::system::error_code): success when the timer
  // has expired, operation_aborted when the wait was cancelled. Cancellation slots may ask for any
  // type of cancellation. Until its handler was handed over, a wait keeps the contexts of its timer
  // and of its handler busy, also when it never expires. Throws what allocation throws.
  template <BOOST_ASIO_COMPLETION_TOKEN_FOR(void(boost::system::error_code))
                Token = boost::asio::default_completion_token_t<executor_type>>
  auto async_wait(Token&& token = boost::asio::default_completion_token_t<executor_type>())
      -> decltype(boost::asio::async_initiate<Token, void(boost::system::error_code)>(
          std::declval<InitiateWait>(), token)) {
    return boost::asio::async_initiate<Token, void(boost::system::error_code)>(InitiateWait(*this),
                                                                               token);
  }

#if !defined(BOOST_ASIO_NO_DEPRECATED) && BOOST_ASIO_VERSION < 103200
  // What Boost's own timers have until 1.86, unless BOOST_ASIO_NO_DEPRECATED is defined.
  std::size_t cancel(boost::system::error_code& error) noexcept {
    error.clear();
    return cancel();
  }
  std::size_t cancel_one(boost::system::error_code& error) noexcept {
    error.clear();
    return cancel_one();
  }
  time_point expires_at() const noexcept { return expiry_; }
  std::size_t expires_at(const time_point& expiry, boost::system::error_code& error) noexcept {
    error.clear();
    return expires_at(expiry);
  }
  duration expires_from_now() const noexcept {
    const duration expiry = expiry_.time_since_epoch();
    const duration now = clock_type::now().time_since_epoch();
    return expiry < duration::min() + now ? duration::min() : expiry - now;
  }
  std::size_t expires_from_now(const duration& after) noexcept { return expires_after(after); }
  std::size_t expires_from_now(const duration& after, boost::system::error_code& error) noexcept {
    error.clear();
    return expires_after(after);
  }
#endif

private:
  template <class, class> friend class basic_steady_timer;
  using Queue = detail::WaitQueue<Service>;

  class InitiateWait {
  public:
    using executor_type = Executor;

    explicit InitiateWait(basic_steady_timer& timer) noexcept : timer_(&timer) {}
    const executor_type& get_executor() const noexcept { return timer_->executor_; }

    template <class Handler> void operator()(Handler&& handler) const {
      timer_->start(std::forward<Handler>(handler));
    }

  private:
    basic_steady_timer* timer_;
  };

  static constexpr duration kLongestSleep = std::chrono::hours(1);

  static time_point from_now(duration after) noexcept {
    const time_point now = clock_type::now();
    return after > time_point::max() - now ? time_point::max() : now + after;
  }

  void set_expiry(time_point expiry) noexcept {
    expiry_ = expiry;
    if (queue_) {
      queue_->set_expiry(expiry.time_since_epoch());
    }
  }

  // The handler may run on another thread before this returns, and destroy the timer.
  template <class Handler> void start(Handler&& handler) {
    if (!queue_) {
      queue_.reset(new Queue(boost::asio::any_io_executor(executor_), expiry_.time_since_epoch()));
    }
    waiting_ = true;
    queue_->async_wait(std::forward<Handler>(handler), executor_);
  }

  executor_type executor_;
  time_point expiry_;
  typename Queue::Reference queue_; // made by the first wait
  bool waiting_ = false;            // whether a wait was started since the last cancel()
};

using steady_timer = basic_steady_timer<>;

namespace detail {

template <class Executor> class InitiateSleep {
public:
  using executor_type = Executor;

  InitiateSleep(const Executor& executor, Nanoseconds duration)
      : executor_(executor), duration_(duration) {}
  const executor_type& get_executor() const noexcept { return executor_; }

  template <class Handler> void operator()(Handler&& handler) const {
    auto timer = std::allocate_shared<basic_steady_timer<Executor>>(
        boost::asio::recycling_allocator<void>(), executor_, duration_);
    auto& waiting = *timer;
    waiting.async_wait(boost::asio::consign(std::forward<Handler>(handler), std::move(timer)));
  }

private:
  Executor executor_;
  Nanoseconds duration_;
};

} // namespace detail

// Completes with success after `duration`, which begins when the operation is started. It can be
// cancelled as a wait of a timer can. The signature is void(boost::system::error_code).
//
//   co_await timers::async_sleep(co_await asio::this_coro::executor, 100ms, asio::use_awaitable);
template <class Executor, BOOST_ASIO_COMPLETION_TOKEN_FOR(void(boost::system::error_code))
                              Token = boost::asio::default_completion_token_t<Executor>>
auto async_sleep(const Executor& executor, Nanoseconds duration,
                 Token&& token = boost::asio::default_completion_token_t<Executor>())
    -> decltype(boost::asio::async_initiate<Token, void(boost::system::error_code)>(
        std::declval<detail::InitiateSleep<Executor>>(), token)) {
  return boost::asio::async_initiate<Token, void(boost::system::error_code)>(
      detail::InitiateSleep<Executor>(executor, duration), token);
}

} // namespace timers
