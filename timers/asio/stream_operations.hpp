// The pending operations of a basic_stream (basic_stream.hpp). No program includes this.
//
// An operation is the handler of the socket's operation, has the user's handler inside, and takes
// over all that is associated with it: executor, allocator, cancellation slot. So whatever may
// cancel the user's operation cancels the socket's.
#pragma once

#include "timers/asio/stream_state.hpp"

#include <boost/asio/append.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/associator.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/handler_continuation_hook.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/core/buffers_prefix.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

namespace timers::detail {

using boost::system::error_code;

struct Reading {
  template <class State> static StreamSide& side(State& state) noexcept { return state.read; }
  template <class Policy> static std::size_t permitted(Policy& policy) {
    return RatePolicies::readable(policy);
  }
  template <class Policy> static void done(Policy& policy, std::size_t bytes) {
    RatePolicies::was_read(policy, bytes);
  }
  template <class Socket, class Buffers, class Operation>
  static void start(Socket& socket, const Buffers& buffers, Operation&& operation) {
    socket.async_read_some(buffers, std::forward<Operation>(operation));
  }
};

struct Writing {
  template <class State> static StreamSide& side(State& state) noexcept { return state.write; }
  template <class Policy> static std::size_t permitted(Policy& policy) {
    return RatePolicies::writable(policy);
  }
  template <class Policy> static void done(Policy& policy, std::size_t bytes) {
    RatePolicies::was_written(policy, bytes);
  }
  template <class Socket, class Buffers, class Operation>
  static void start(Socket& socket, const Buffers& buffers, Operation&& operation) {
    socket.async_write_some(buffers, std::forward<Operation>(operation));
  }
};

template <class Handler> bool is_continuation(Handler& handler) {
  using boost::asio::asio_handler_is_continuation;
  return asio_handler_is_continuation(std::addressof(handler));
}

// The base class of operations: a reference to the state, and the user's handler. Until an
// operation is moved for the first time, the handler stays where its initiating function has it. So
// handlers are moved no more often than with a plain socket. Those of HTTP and of coroutines hold
// several executors each, and to move one costs more than the rest of a timeout.
template <class State, class Handler> class StreamOperation {
public:
  // `handler` lives until the operation was moved, if it is one that may be moved from.
  template <class AnyHandler>
  StreamOperation(State& state, AnyHandler&& handler)
      : state_(&state), lent_(std::is_same_v<AnyHandler, Handler>) {
    if constexpr (std::is_same_v<AnyHandler, Handler>) {
      lender_ = std::addressof(handler);
    } else {
      std::construct_at(std::addressof(own_), std::forward<AnyHandler>(handler));
    }
  }
  StreamOperation(StreamOperation&& other) : state_(std::move(other.state_)) {
    std::construct_at(std::addressof(own_), std::move(other.own_or_lent()));
  }
  StreamOperation& operator=(StreamOperation&&) = delete;

  using handler_type = Handler;
  const Handler& handler() const noexcept { return lent_ ? *lender_ : own_; }

protected:
  ~StreamOperation() {
    if (!lent_) {
      std::destroy_at(std::addressof(own_));
    }
  }

  // Not after complete(), and not once it was moved from.
  State& state() const noexcept { return *state_; }
  bool pending() const noexcept { return state_ != nullptr; }

  // `end` tells the state that the operation is over, and returns the error for the handler. By
  // then another operation may begin, and the state may be gone.
  template <class End, class... Results> void complete(End end, Results&&... results) {
    typename State::Pointer state = std::move(state_);
    const error_code error = end(*state);
    state.reset();
    std::move(own_or_lent())(error, std::forward<Results>(results)...);
  }

private:
  Handler& own_or_lent() noexcept { return lent_ ? *lender_ : own_; }

  typename State::Pointer state_;
  union {
    Handler own_;
    Handler* lender_;
  };
  bool lent_ = false;
};

template <class Operation>
concept OperationOfStream = requires(const Operation& operation) {
  typename Operation::handler_type;
  requires std::derived_from<
      Operation, StreamOperation<typename Operation::state_type, typename Operation::handler_type>>;
};

// A read or a write. `Way` is Reading or Writing.
template <class Way, class State, class Buffers, class Handler>
class TransferOperation : public StreamOperation<State, Handler> {
public:
  using state_type = State;

  template <class AnyHandler>
  TransferOperation(State& state, const Buffers& buffers, AnyHandler&& handler)
      : StreamOperation<State, Handler>(state, std::forward<AnyHandler>(handler)),
        buffers_(buffers) {}
  TransferOperation(TransferOperation&&) = default;

  ~TransferOperation() {
    if (this->pending()) { // it was destroyed, or could not begin
      this->state().leave(side());
    }
  }

  // Moves from *this. `buffers` are those of the constructor.
  void start(const Buffers& buffers) {
    State& state = this->state();
    if (!state.begin(side(), this->handler())) {
      phase_ = Phase::late;
      boost::asio::post(state.socket.get_executor(), std::move(*this));
      return;
    }
    if constexpr (kLimited) {
      if (boost::asio::buffer_size(buffers) != 0) {
        transfer_what_is_permitted();
        return;
      }
    }
    Way::start(state.socket, buffers, std::move(*this));
  }

  void operator()(error_code error = {}, std::size_t bytes = 0) {
    if constexpr (kLimited) {
      if (phase_ == Phase::waits && !error) {
        enter_slice();
        return;
      }
    }
    if (phase_ == Phase::late) {
      this->complete([](State& state) { return state.end_late(Way::side(state)); }, bytes);
      return;
    }
    this->complete(
        [&](State& state) {
          Way::done(state.policy, bytes);
          return state.end(Way::side(state), error, bytes);
        },
        bytes);
  }

  friend bool asio_handler_is_continuation(TransferOperation* operation) {
    return operation->resumed_ || operation->handler_continues();
  }

private:
  static constexpr bool kLimited = kLimits<typename State::Policy>;
  enum class Phase : unsigned char { transfers, waits, late };

  StreamSide& side() const noexcept { return Way::side(this->state()); }
  bool handler_continues() { return is_continuation(const_cast<Handler&>(this->handler())); }

  void transfer_what_is_permitted() {
    State& state = this->state();
    const std::size_t permitted = Way::permitted(state.policy);
    if (permitted == 0) {
      phase_ = Phase::waits;
      state.wait_for_slice(std::move(*this));
    } else {
      transfer(permitted);
    }
  }

  // A policy that still permits nothing gets one byte, for no byte means the end of a file.
  void enter_slice() {
    State& state = this->state();
    phase_ = Phase::transfers;
    resumed_ = true;
    state.enter_slice(
        boost::asio::get_associated_executor(this->handler(), state.socket.get_executor()));
    transfer(std::max<std::size_t>(Way::permitted(state.policy), 1));
  }

  void transfer(std::size_t most) {
    const auto some = boost::beast::buffers_prefix(most, Buffers(buffers_));
    Way::start(this->state().socket, some, std::move(*this));
  }

  struct NoBuffers {
    explicit NoBuffers(const Buffers&) noexcept {}
  };

  Phase phase_ = Phase::transfers;
  bool resumed_ = false;
  [[no_unique_address]] std::conditional_t<kLimited, Buffers, NoBuffers> buffers_;
};

template <class State, class Handler>
class ConnectOperation : public StreamOperation<State, Handler> {
public:
  using state_type = State;

  template <class AnyHandler>
  ConnectOperation(State& state, AnyHandler&& handler)
      : StreamOperation<State, Handler>(state, std::forward<AnyHandler>(handler)) {}
  ConnectOperation(ConnectOperation&&) = default;

  ~ConnectOperation() {
    if (this->pending()) {
      leave(this->state());
    }
  }

  // Moves from *this. `connect(socket, operation)` starts the operation of the socket.
  // `unconnected` is what the handler gets beside the error when there was no time for it.
  template <class Connect, class... Results>
  void start(Connect connect, const Results&... unconnected) {
    State& state = this->state();
    state.begin_untimed(state.read);
    state.forgive_timeout();
    if (state.begin(state.write, this->handler())) {
      connect(state.socket, std::move(*this));
    } else {
      late_ = true;
      boost::asio::post(state.socket.get_executor(),
                        boost::asio::append(std::move(*this), error_code(), unconnected...));
    }
  }

  template <class... Results> void operator()(error_code error, Results&&... results) {
    this->complete(
        [&](State& state) {
          state.leave(state.read);
          return late_ ? state.end_late(state.write) : state.end(state.write, error, 0);
        },
        std::forward<Results>(results)...);
  }

  friend bool asio_handler_is_continuation(ConnectOperation* operation) {
    return is_continuation(const_cast<Handler&>(operation->handler()));
  }

private:
  static void leave(State& state) noexcept {
    state.leave(state.read);
    state.leave(state.write);
  }

  bool late_ = false;
};

} // namespace timers::detail

// What is associated with the user's handler is associated with the operation.
template <template <class, class> class Associator, timers::detail::OperationOfStream Operation,
          class Default>
struct boost::asio::associator<Associator, Operation, Default>
    : Associator<typename Operation::handler_type, Default> {
  using Inner = Associator<typename Operation::handler_type, Default>;

  static typename Inner::type get(const Operation& operation) noexcept {
    return Inner::get(operation.handler());
  }
  static auto get(const Operation& operation, const Default& otherwise) noexcept
      -> decltype(Inner::get(operation.handler(), otherwise)) {
    return Inner::get(operation.handler(), otherwise);
  }
};
