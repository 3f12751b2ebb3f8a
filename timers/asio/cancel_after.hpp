// Timeouts for single asynchronous operations, as completion tokens. Asio has such tokens from
// Boost 1.86 on; these work with 1.81, and cost less.
//
//   co_await socket.async_read_some(buffer, timers::cancel_after(5s, asio::use_awaitable));
//   async_read(socket, buffer, timers::with_timeout(5s, [](error_code error, std::size_t) { ...
//   }));
//
// cancel_after() and cancel_at() cancel the operation when the time is over. It then completes as
// after any other cancellation, mostly with asio::error::operation_aborted. with_timeout() is the
// same, but the handler gets asio::error::timed_out for that, so that it can tell a timeout from
// another cancellation.
//
// A session that does one operation after the other keeps a timers::deadline as a member:
//
//   timers::deadline deadline_{socket_.get_executor()};
//   ...
//   async_read(socket_, buffer_, timers::with_timeout(deadline_, 5s, handler));
//
// What an operation pays for its timeout, beside one reading of the clock:
//
//                   with a deadline                       without
//   memory          none                                  one block from the handler's allocator
//   locks           none, while the deadline is not       the context's services, and twice the
//                   earlier than what is filed            context's timers
//   turns of the    none: the handler is called where     the same. In the rare case that the
//   scheduler       the operation completes               timer's check is on its way: one
//
// Rules, which are those of Asio's own tokens and of cancellation slots in general:
//
// - Any operation works that supports cancellation. One that does not goes on to its end.
// - The operation is cancelled on its executor, which is the handler's, or else that of the I/O
//   object. It must be initiated there, or while nothing else runs there.
// - An operation that has succeeded when the time is over is delivered as a success.
// - The I/O object must live until the handler was called.
// - A cancelled operation of SSL, HTTP or WebSocket leaves a stream that can only be closed.
// - The handler's own cancellation slot still cancels the operation.
// - Tokens can be nested; the shorter time wins.
// - Binders go inside: with_timeout(5s, asio::bind_executor(strand, handler)). What a binder around
//   the token binds is hidden from it. So bind_cancellation_slot() there leaves the operation
//   without a timeout, and bind_executor() there needs a deadline made with the same executor.
//
// Durations may be of any type (duration.hpp); what is too long for nanoseconds never times out. A
// negative one, or a deadline that has passed, cancels the operation at once, but not within the
// initiating function. `type` is how the operation is cancelled: with the default, terminal, the
// I/O object may be good for nothing but to be closed. asio::cancellation_type says more.
//
// Write timers:: before the names. From Boost 1.86 on, a call of cancel_after() or cancel_at()
// without it may find Asio's, by the type of the token.
//
// Not here: Asio's partial tokens, as in `operation | cancel_after(5s)`.
#pragma once

#include "timers/asio/operation_timer.hpp"
#include "timers/asio/wheel_service.hpp"
#include "timers/duration.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/execution_context.hpp>

#include <chrono>
#include <concepts>
#include <type_traits>
#include <utility>

namespace timers {

// The timeout of one operation at a time, for a session that does one after the other. Operations
// that are pending at the same time need a deadline each, and so do nested tokens.
//
// Every function is to be called where the operations complete. A deadline may be destroyed while
// an operation is pending, which keeps its timeout. It allocates memory when it is made. It takes
// the lock of the context's timers when an operation completes on another executor than the one
// before it.
template <class Service = wheel_service> class basic_deadline {
public:
  // Uses the timers of the execution context to which `executor` belongs. An operation that names
  // no executor completes on this one. Throws std::bad_alloc, and what `Service` throws.
  template <std::convertible_to<boost::asio::any_io_executor> Executor>
  explicit basic_deadline(const Executor& executor)
      : executor_(executor),
        timer_(new detail::DeadlineTimer<Service>(Service::of(executor_),
                                                  detail::kept_executor(executor_, executor_))) {}

  template <std::derived_from<boost::asio::execution_context> Context>
  explicit basic_deadline(Context& context) : basic_deadline(context.get_executor()) {}

  ~basic_deadline() { timer_->leave(); }

  basic_deadline(const basic_deadline&) = delete;
  basic_deadline& operator=(const basic_deadline&) = delete;

  // Whether the last operation was cancelled because its time was over, even if it has succeeded
  // all the same. False again from the start of the next operation on.
  bool expired() const noexcept { return timer_->timed_out(); }

  // For the tokens below.
  detail::FromDeadline<Service> source() noexcept { return {timer_, &executor_}; }

private:
  const boost::asio::any_io_executor executor_;
  detail::DeadlineTimer<Service>* const timer_;
};

// A class and no alias, so that no compiler warns of what has this name inside a function.
class deadline : public basic_deadline<> {
public:
  using basic_deadline<>::basic_deadline;
};

namespace detail {

template <class Source, class Token>
TimedToken<std::decay_t<Token>, Source> timed(Source source, const Limit& limit, Token&& token) {
  return {std::forward<Token>(token), source, limit};
}

inline Limit after(Nanoseconds timeout, boost::asio::cancellation_type_t type) noexcept {
  return {timeout, true, false, type};
}

template <class Duration>
Limit at(std::chrono::time_point<std::chrono::steady_clock, Duration> time,
         boost::asio::cancellation_type_t type) noexcept {
  return {to_nanoseconds(time.time_since_epoch()), false, false, type};
}

inline Limit reported_after(Nanoseconds timeout) noexcept {
  return {timeout, true, true, boost::asio::cancellation_type::terminal};
}

} // namespace detail

// Cancels the operation when `timeout` has passed since it was started.
template <class Service = wheel_service, class Token>
auto cancel_after(Nanoseconds timeout, boost::asio::cancellation_type_t type, Token&& token) {
  return detail::timed(detail::FromAllocator<Service>(), detail::after(timeout, type),
                       std::forward<Token>(token));
}
template <class Service = wheel_service, class Token>
auto cancel_after(Nanoseconds timeout, Token&& token) {
  return timers::cancel_after<Service>(timeout, boost::asio::cancellation_type::terminal,
                                       std::forward<Token>(token));
}
template <class Service, class Token>
auto cancel_after(basic_deadline<Service>& reused, Nanoseconds timeout,
                  boost::asio::cancellation_type_t type, Token&& token) {
  return detail::timed(reused.source(), detail::after(timeout, type), std::forward<Token>(token));
}
template <class Service, class Token>
auto cancel_after(basic_deadline<Service>& reused, Nanoseconds timeout, Token&& token) {
  return timers::cancel_after(reused, timeout, boost::asio::cancellation_type::terminal,
                              std::forward<Token>(token));
}

// Cancels the operation at `time`.
template <class Service = wheel_service, class Duration, class Token>
auto cancel_at(std::chrono::time_point<std::chrono::steady_clock, Duration> time,
               boost::asio::cancellation_type_t type, Token&& token) {
  return detail::timed(detail::FromAllocator<Service>(), detail::at(time, type),
                       std::forward<Token>(token));
}
template <class Service = wheel_service, class Duration, class Token>
auto cancel_at(std::chrono::time_point<std::chrono::steady_clock, Duration> time, Token&& token) {
  return timers::cancel_at<Service>(time, boost::asio::cancellation_type::terminal,
                                    std::forward<Token>(token));
}
template <class Service, class Duration, class Token>
auto cancel_at(basic_deadline<Service>& reused,
               std::chrono::time_point<std::chrono::steady_clock, Duration> time,
               boost::asio::cancellation_type_t type, Token&& token) {
  return detail::timed(reused.source(), detail::at(time, type), std::forward<Token>(token));
}
template <class Service, class Duration, class Token>
auto cancel_at(basic_deadline<Service>& reused,
               std::chrono::time_point<std::chrono::steady_clock, Duration> time, Token&& token) {
  return timers::cancel_at(reused, time, boost::asio::cancellation_type::terminal,
                           std::forward<Token>(token));
}

// As cancel_after() with cancellation_type::terminal. When that was what made the operation fail
// with operation_aborted, the handler gets boost::asio::error::timed_out instead. This is so for a
// handler whose first argument is a boost::system::error_code, and for one that gets a
// std::exception_ptr with a boost::system::system_error in it, as of co_spawn(). (Without
// exceptions the latter stays as it is.) A handler that is told of errors in another way, or not at
// all, gets what the operation gives it; deadline::expired() tells of the timeout.
template <class Service = wheel_service, class Token>
auto with_timeout(Nanoseconds timeout, Token&& token) {
  return detail::timed(detail::FromAllocator<Service>(), detail::reported_after(timeout),
                       std::forward<Token>(token));
}
template <class Service, class Token>
auto with_timeout(basic_deadline<Service>& reused, Nanoseconds timeout, Token&& token) {
  return detail::timed(reused.source(), detail::reported_after(timeout),
                       std::forward<Token>(token));
}

} // namespace timers
