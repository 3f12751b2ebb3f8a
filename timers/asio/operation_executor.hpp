// On which executor an asynchronous operation completes, for cancel_after.hpp.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/system_executor.hpp>

#include <cassert>
#include <concepts>
#include <type_traits>

namespace timers::detail {

// An executor that stands for "not known".
struct NoExecutor : boost::asio::system_executor {};

template <class Object>
concept HasExecutor = requires(const Object& object) {
  object.get_executor();
};
template <class Object>
concept PointsToExecutor = requires(const Object& pointer) {
  (*pointer).get_executor();
};
template <class Object>
concept PointsToStream = requires(const Object& pointer) {
  (*pointer).stream().get_executor();
};

inline NoExecutor first_executor() noexcept { return {}; }
template <class First, class... Rest> auto first_executor(const First& first, const Rest&... rest) {
  if constexpr (HasExecutor<First>) {
    return first.get_executor();
  } else if constexpr (PointsToExecutor<First>) {
    return (*first).get_executor();
  } else if constexpr (PointsToStream<First>) {
    return (*first).stream().get_executor();
  } else {
    return first_executor(rest...);
  }
}

// The executor of the I/O object of an operation. Asio's initiations know it. Those of Beast before
// Boost 1.84 do not, but get a pointer to the stream, or to what a WebSocket keeps of it.
template <class Initiation, class... Args>
auto io_executor(const Initiation& initiation, const Args&... args) {
  return first_executor(initiation, args...);
}

template <class Executor> inline constexpr bool kIsStrand = false;
template <class Inner> inline constexpr bool kIsStrand<boost::asio::strand<Inner>> = true;

// Whether a handler with this executor is called where the operation completes, on an executor of
// the I/O object's, because its own has no place. It is so with system_executor and use_future.
template <class Executor> bool runs_in_place(const Executor& executor) noexcept {
  if constexpr (kIsStrand<Executor> || std::same_as<Executor, boost::asio::any_io_executor>) {
    return false;
  } else {
    const boost::asio::execution_context& context =
        boost::asio::query(executor, boost::asio::execution::context);
    return &context ==
           &boost::asio::query(boost::asio::system_executor(), boost::asio::execution::context);
  }
}

// Calls use(executor) with the executor on which the operation completes.
template <class Handler, class IoExecutor, class Use>
auto with_executor(const Handler& handler, const IoExecutor& io, Use use) {
  const auto& executor = boost::asio::associated_executor<Handler, IoExecutor>::get(handler, io);
  using Executor = std::remove_cvref_t<decltype(executor)>;
  static_assert(!std::same_as<Executor, NoExecutor>,
                "It is not known where this operation completes. Give the handler an executor "
                "(asio::bind_executor), or use a timers::deadline.");
  static_assert(std::convertible_to<const Executor&, boost::asio::any_io_executor>,
                "The handler's executor must be one that any_io_executor takes. io_context::strand "
                "is not; asio::strand is.");
  if constexpr (!std::same_as<IoExecutor, NoExecutor>) {
    if (runs_in_place(executor)) {
      return use(io);
    }
  } else {
    assert(!runs_in_place(executor) && "it is not known where this operation completes");
  }
  return use(executor);
}

} // namespace timers::detail
