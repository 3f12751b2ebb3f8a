// The machinery of cancel_after.hpp, which says what it does: the timer of an asynchronous
// operation, and the handler and the initiation that are put around those of the user.
#pragma once

#include "timers/asio/operation_executor.hpp"
#include "timers/asio/owner_executor.hpp"
#include "timers/asio/wheel_service.hpp"
#include "timers/duration.hpp"
#include "timers/failure.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associator.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/handler_continuation_hook.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/recycling_allocator.hpp>
#include <boost/system/system_error.hpp>

#include <cassert>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <exception>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

namespace timers::detail {

// When an operation is cancelled, how, and whether its handler is told that it was its timeout.
struct Limit {
  std::chrono::nanoseconds time; // from now on, or since the clock's epoch
  bool from_now;
  bool reported;
  boost::asio::cancellation_type_t type;

  std::chrono::nanoseconds deadline(std::chrono::nanoseconds now) const noexcept {
    if (!from_now) {
      return time;
    }
    return time < kForever - now ? now + time : kForever;
  }
};

// The timer of one operation at a time, and the signal by which it cancels the operation. Its owner
// is where the operation completes.
template <class Service> class OperationTimer : public Service::Timer {
public:
  OperationTimer(std::shared_ptr<typename Service::Timers> timers,
                 boost::asio::any_io_executor executor)
      : Service::Timer(std::move(timers), AsioOwner{std::move(executor)}) {}

  // Of the operation, by which others cancel it too.
  boost::asio::cancellation_signal& signal() noexcept { return signal_; }

  void start(const Limit& limit) {
    type_ = limit.type;
    timed_out_ = false;
    this->watch(limit.deadline(this->service().now()));
  }

  // Whether the operation that was started last was cancelled because its time was over.
  bool timed_out() const noexcept { return timed_out_; }

private:
  void expired() override {
    timed_out_ = true;
    signal_.emit(type_);
  }

  boost::asio::cancellation_signal signal_;
  boost::asio::cancellation_type_t type_{};
  bool timed_out_ = false;
};

// The timer of one operation, in memory of the handler's allocator.
template <class Service, class Allocator>
class AllocatedTimer final : public OperationTimer<Service> {
public:
  template <class... Args> static AllocatedTimer* make(const Allocator& allocator, Args&&... args) {
    Rebound rebound(allocator);
    const auto memory = Traits::allocate(rebound, 1);
    OnFailure free([&] { Traits::deallocate(rebound, memory, 1); });
    auto* timer = ::new (static_cast<void*>(std::to_address(memory)))
        AllocatedTimer(rebound, std::forward<Args>(args)...);
    free.dismiss();
    return timer;
  }

  // The operation has completed. Frees the timer and returns true; or returns false, when a check
  // is on its way, and is to be called again later. Asio promises an allocator that its memory
  // comes back before the handler is called, and in the handler's place: the allocator may be one
  // without locks, and live in what the handler destroys. So the timer is not left to the check.
  bool try_end() noexcept {
    this->unwatch();
    return this->release_if_last();
  }

  // The handler was destroyed without being called.
  void abandon() noexcept {
    this->unwatch();
    this->release();
  }

private:
  using Rebound = typename std::allocator_traits<Allocator>::template rebind_alloc<AllocatedTimer>;
  using Traits = std::allocator_traits<Rebound>;

  template <class... Args>
  explicit AllocatedTimer(const Rebound& allocator, Args&&... args)
      : OperationTimer<Service>(std::forward<Args>(args)...), allocator_(allocator) {}

  void destroy() noexcept override {
    Rebound rebound(std::move(allocator_));
    const auto memory = std::pointer_traits<typename Traits::pointer>::pointer_to(*this);
    this->~AllocatedTimer();
    Traits::deallocate(rebound, memory, 1);
  }

  [[no_unique_address]] Rebound allocator_;
};

// The timer of a deadline object.
template <class Service> class DeadlineTimer final : public OperationTimer<Service> {
public:
  using OperationTimer<Service>::OperationTimer;

  void begin() noexcept { ++pending_; }

  bool try_end() noexcept {
    abandon();
    return true;
  }

  void abandon() noexcept {
    this->unwatch();
    forget_operation();
    --pending_;
    release_if_unused();
  }

  // The deadline object is destroyed. The timer stays until no operation uses it.
  void leave() noexcept {
    left_ = true;
    release_if_unused();
  }

  bool pending() const noexcept { return pending_ != 0; }

private:
  struct Nothing {
    void operator()(boost::asio::cancellation_type_t) const noexcept {}
  };

  // What cancels an operation may hold resources of it, and must not be called for the next one.
  // It is replaced, not cleared, because the signal thus keeps its memory for the next operation.
  void forget_operation() noexcept {
    auto slot = this->signal().slot();
    if (slot.has_handler()) {
      slot.template emplace<Nothing>();
    }
  }

  void release_if_unused() noexcept {
    if (left_ && pending_ == 0) {
      this->release();
    }
  }

  std::size_t pending_ = 0; // operations; more than one is an error of the user's, but a safe one
  bool left_ = false;
};

// What a handler gets of its first argument when the operation's own timeout has cancelled it. An
// operation that succeeded, or failed for another reason, keeps its result.
inline boost::system::error_code as_timed_out(boost::system::error_code error) noexcept {
  return error == boost::asio::error::operation_aborted ? boost::asio::error::timed_out : error;
}

inline std::exception_ptr as_timed_out(std::exception_ptr exception) noexcept {
#if !defined(BOOST_NO_EXCEPTIONS)
  try {
    if (exception) {
      std::rethrow_exception(exception);
    }
  } catch (const boost::system::system_error& error) {
    return error.code() == as_timed_out(error.code())
               ? exception
               : std::make_exception_ptr(boost::system::system_error(as_timed_out(error.code())));
  } catch (...) {
  }
#endif
  return exception;
}

template <class Result>
concept TellsErrors = std::same_as<std::remove_cvref_t<Result>, boost::system::error_code> ||
    std::same_as<std::remove_cvref_t<Result>, std::exception_ptr>;

// Calls the handler as the operation does, or with the result of a timeout.
template <class Handler> void call(Handler&& handler, bool /*timed_out*/) {
  std::forward<Handler>(handler)();
}
template <class Handler, class First, class... Rest>
void call(Handler&& handler, bool timed_out, First&& first, Rest&&... rest) {
  if constexpr (TellsErrors<First>) {
    if (timed_out) {
      std::forward<Handler>(handler)(as_timed_out(first), std::forward<Rest>(rest)...);
      return;
    }
  }
  std::forward<Handler>(handler)(std::forward<First>(first), std::forward<Rest>(rest)...);
}

template <class Handler> auto slot_of(const Handler& handler) noexcept {
  return boost::asio::get_associated_cancellation_slot(handler, boost::asio::cancellation_slot());
}

// The handler of an operation that has a timer. Its cancellation slot is the timer's; everything
// else that is associated with it is the user's handler's.
template <class Handler, class Timer> class TimedHandler {
public:
  using cancellation_slot_type = boost::asio::cancellation_slot;

  template <class UserHandler>
  TimedHandler(UserHandler&& handler, Timer& timer, bool forwards, bool reports)
      : timer_(&timer), forwards_(forwards), reports_(reports),
        handler_(std::forward<UserHandler>(handler)) {}

  cancellation_slot_type get_cancellation_slot() const noexcept { return timer_->signal().slot(); }
  const Handler& handler() const noexcept { return handler_; }

  template <class... Args> void operator()(Args&&... args) {
    if (std::exchange(forwards_, false)) {
      slot_of(handler_).clear();
    }
    const bool timed_out = reports_ && timer_->timed_out();
    if (timer_->try_end()) {
      static_cast<void>(timer_.release());
      call(std::move(handler_), timed_out, std::forward<Args>(args)...);
    } else {
      call_later(std::forward<Args>(args)...);
    }
  }

  friend bool asio_handler_is_continuation(TimedHandler* timed) {
    using boost::asio::asio_handler_is_continuation;
    return asio_handler_is_continuation(std::addressof(timed->handler_));
  }

private:
  struct Abandon {
    void operator()(Timer* timer) const noexcept { timer->abandon(); }
  };

  // A check was about to reach this executor when the operation completed. It is there before what
  // is posted now, unless the thread that posts it has been stopped just before.
  template <class... Args> void call_later(Args&&... args) {
    const auto executor = timer_->owner().executor;
    boost::asio::post(executor,
                      [timed = std::move(*this), results = std::tuple<std::decay_t<Args>...>(
                                                     std::forward<Args>(args)...)]() mutable {
                        std::apply(std::move(timed), std::move(results));
                      });
  }

  std::unique_ptr<Timer, Abandon> timer_;
  bool forwards_; // the user's slot cancels the operation too
  bool reports_;
  Handler handler_;
};

// Makes a timer for each operation.
template <class Service> struct FromAllocator {
  template <class IoExecutor, class Handler>
  auto& timer_for(const IoExecutor& io, const Handler& handler) const {
    const auto allocator =
        boost::asio::get_associated_allocator(handler, boost::asio::recycling_allocator<void>());
    using Timer = AllocatedTimer<Service, std::remove_const_t<decltype(allocator)>>;
    return *with_executor(handler, io, [&](const auto& executor) {
      if constexpr (std::same_as<IoExecutor, NoExecutor>) {
        return Timer::make(allocator, Service::of(executor), kept_executor(executor, executor));
      } else {
        return Timer::make(allocator, Service::of(io), kept_executor(executor, executor));
      }
    });
  }
};

// Uses the timer of a deadline object.
template <class Service> struct FromDeadline {
  DeadlineTimer<Service>* timer;
  const boost::asio::any_io_executor* executor; // of operations that name none

  template <class IoExecutor, class Handler>
  DeadlineTimer<Service>& timer_for(const IoExecutor& io, const Handler& handler) const {
    if constexpr (std::same_as<IoExecutor, NoExecutor>) {
      return timer_for(*executor, handler);
    } else {
      assert(!timer->pending() && "one operation at a time for each deadline");
      with_executor(handler, io, [this](const auto& place) { bring_owner(*timer, place, place); });
      timer->begin();
      return *timer;
    }
  }
};

template <class Initiation> struct InitiationExecutor {};
template <class Initiation>
requires requires { typename Initiation::executor_type; }
struct InitiationExecutor<Initiation> {
  using executor_type = typename Initiation::executor_type;
};

// What begins an operation, around what would begin it without a timeout. It has an executor if
// that has one.
template <class Initiation, class Source>
class TimedInitiation : public InitiationExecutor<Initiation> {
public:
  TimedInitiation(Initiation initiation, Source source, const Limit& limit)
      : initiation_(std::move(initiation)), source_(source), limit_(limit) {}

  auto get_executor() const noexcept requires HasExecutor<Initiation> {
    return initiation_.get_executor();
  }

  template <class Handler, class... Args> void operator()(Handler&& handler, Args&&... args) && {
    start(std::move(initiation_), std::forward<Handler>(handler), std::forward<Args>(args)...);
  }
  template <class Handler, class... Args>
  void operator()(Handler&& handler, Args&&... args) const& {
    start(Initiation(initiation_), std::forward<Handler>(handler), std::forward<Args>(args)...);
  }

private:
  struct Forward {
    boost::asio::cancellation_signal& signal;
    void operator()(boost::asio::cancellation_type_t type) const { signal.emit(type); }
  };

  // From the call of `initiation` on the operation may complete, even before that returns.
  template <class Handler, class... Args>
  void start(Initiation&& initiation, Handler&& handler, Args&&... args) const {
    auto& timer = source_.timer_for(io_executor(initiation, args...), handler);
    using Timed = TimedHandler<std::decay_t<Handler>, std::remove_reference_t<decltype(timer)>>;
    OnFailure abandon([&] { timer.abandon(); });
    timer.start(limit_);
    auto slot = slot_of(handler);
    const bool forwards = slot.is_connected();
    if (forwards) {
      slot.template emplace<Forward>(Forward{timer.signal()});
    }
    OnFailure clear([&] {
      if (forwards) {
        slot.clear();
      }
    });
    Timed timed(std::forward<Handler>(handler), timer, forwards, limit_.reported);
    abandon.dismiss();
    std::move(initiation)(std::move(timed), std::forward<Args>(args)...);
    clear.dismiss();
  }

  Initiation initiation_;
  Source source_;
  Limit limit_;
};

// A completion token with a timeout.
template <class Token, class Source> struct TimedToken {
  Token token;
  Source source;
  Limit limit;
};

} // namespace timers::detail

template <template <class, class> class Associator, class Handler, class Timer, class Default>
struct boost::asio::associator<Associator, timers::detail::TimedHandler<Handler, Timer>, Default>
    : Associator<Handler, Default> {
  static auto get(const timers::detail::TimedHandler<Handler, Timer>& timed) noexcept {
    return Associator<Handler, Default>::get(timed.handler());
  }
  static auto get(const timers::detail::TimedHandler<Handler, Timer>& timed,
                  const Default& otherwise) noexcept
      -> decltype(Associator<Handler, Default>::get(timed.handler(), otherwise)) {
    return Associator<Handler, Default>::get(timed.handler(), otherwise);
  }
};

// The base class has the types that Asio's binders of before Boost 1.82 ask for.
template <class Token, class Source, class... Signatures>
class boost::asio::async_result<timers::detail::TimedToken<Token, Source>, Signatures...>
    : public boost::asio::async_result<Token, Signatures...> {
  template <class Initiation>
  using Timed = timers::detail::TimedInitiation<std::decay_t<Initiation>, Source>;

public:
  template <class Initiation, class RawToken, class... Args>
  static auto initiate(Initiation&& initiation, RawToken&& raw, Args&&... args)
      -> decltype(boost::asio::async_initiate<Token, Signatures...>(
          std::declval<Timed<Initiation>>(), raw.token, std::forward<Args>(args)...)) {
    return boost::asio::async_initiate<Token, Signatures...>(
        Timed<Initiation>(std::forward<Initiation>(initiation), raw.source, raw.limit), raw.token,
        std::forward<Args>(args)...);
  }
};
