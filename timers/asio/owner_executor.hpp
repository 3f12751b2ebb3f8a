// The executor on which a timer's owner is, as the timer keeps it (AsioOwner). What keeps it must
// not count as work of the context, or io_context::run() would never return. But operations of
// Beast pass on their stream's executor in a form that does. So each time an operation begins, its
// executor is compared with the one that is kept, and that is what has to be cheap.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/is_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/require.hpp>
#include <boost/asio/strand.hpp>

#include <type_traits>
#include <utility>

namespace timers::detail {

namespace asio = boost::asio;

// Stands for an executor that any_io_executor cannot hold: one of the old kind, such as
// io_context::strand, and any_completion_executor, which knows no context.
template <class Inner> class HeldExecutor {
public:
  HeldExecutor(Inner inner, asio::execution_context& context, asio::any_io_executor first)
      : inner_(std::move(inner)), context_(&context), first_(std::move(first)) {}

  asio::execution_context& query(asio::execution::context_t) const noexcept { return *context_; }
  static constexpr asio::execution::blocking_t query(asio::execution::blocking_t) noexcept {
    return asio::execution::blocking.never;
  }
  HeldExecutor require(asio::execution::blocking_t::never_t) const { return *this; }

  template <class Function> void execute(Function function) const {
    if constexpr (asio::is_executor<Inner>::value) {
      asio::post(inner_, std::move(function));
    } else { // it may only be able to run the function at once, so let that be on a clean stack
      asio::post(first_, [inner = inner_, function = std::move(function)]() mutable {
        asio::dispatch(inner, std::move(function));
      });
    }
  }

  bool holds(const Inner& inner) const noexcept { return inner_ == inner; }

  friend bool operator==(const HeldExecutor& a, const HeldExecutor& b) noexcept {
    return a.holds(b.inner_);
  }
  friend bool operator!=(const HeldExecutor& a, const HeldExecutor& b) noexcept {
    return !(a == b);
  }

private:
  Inner inner_;
  asio::execution_context* context_;
  asio::any_io_executor first_;
};

// As any_io_executor, where a stream's own executor is.
template <class Executor> asio::any_io_executor any_executor_of(const Executor& executor) {
  if constexpr (std::is_constructible_v<asio::any_io_executor, const Executor&>) {
    return executor;
  } else {
    return HeldExecutor<Executor>(executor, executor.context(), {});
  }
}

// The executor as it may be kept: it does not count as work. `own` is that of the I/O object.
template <class Executor, class Own>
asio::any_io_executor kept_executor(const Executor& executor, const Own& own) {
  using Untracked = asio::execution::outstanding_work_t::untracked_t;
  if constexpr (!std::is_constructible_v<asio::any_io_executor, const Executor&>) {
    const asio::any_io_executor first = any_executor_of(own);
    return HeldExecutor<Executor>(executor, asio::query(first, asio::execution::context), first);
  } else if constexpr (asio::can_prefer_v<const Executor&, Untracked>) {
    return asio::prefer(executor, Untracked());
  } else {
    return executor;
  }
}

template <class AtRest>
bool is_same_at_work(const asio::any_io_executor& kept, const asio::any_io_executor& executor) {
  constexpr auto tracked = asio::execution::outstanding_work.tracked;
  constexpr auto untracked = asio::execution::outstanding_work.untracked;
  using AtWork = std::decay_t<decltype(asio::require(std::declval<const AtRest&>(), tracked))>;
  const auto* at_rest = kept.target<AtRest>();
  const auto* at_work = at_rest != nullptr ? executor.target<AtWork>() : nullptr;
  return at_work != nullptr && asio::require(*at_work, untracked) == *at_rest;
}

// Whether `executor` is the one that is kept, itself or in the form that counts as work. False for
// some that are: kept_executor() then gives an executor that compares equal. The usual ones take a
// tenth of the time of that.
template <class Executor>
bool is_same(const asio::any_io_executor& kept, const Executor& executor) {
  if constexpr (std::is_convertible_v<const Executor*, const asio::any_io_executor*>) {
    using Io = asio::io_context::executor_type;
    const asio::any_io_executor& any = executor;
    return any == kept || is_same_at_work<Io>(kept, any) ||
           is_same_at_work<asio::strand<Io>>(kept, any);
  } else if constexpr (std::is_constructible_v<asio::any_io_executor, const Executor&>) {
    const auto* same_type = kept.target<Executor>();
    return same_type != nullptr && *same_type == executor;
  } else {
    const auto* same_type = kept.target<HeldExecutor<Executor>>();
    return same_type != nullptr && same_type->holds(executor);
  }
}

// Moves a timer's owner to where `executor` is. Takes the lock of the context's timers if the owner
// was elsewhere.
template <class Timer, class Executor, class Own>
void bring_owner(Timer& timer, const Executor& executor, const Own& own) {
  if (is_same(timer.owner().executor, executor)) [[likely]] {
    return;
  }
  asio::any_io_executor kept = kept_executor(executor, own);
  if (kept != timer.owner().executor) {
    timer.change_owner({std::move(kept)});
  }
}

} // namespace timers::detail
