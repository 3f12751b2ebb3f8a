// timers::basic_stream and timers::tcp_stream: boost::beast's streams with timeouts, whose timeouts
// cost next to nothing. Interface and meaning are those of boost::beast::basic_stream, so a program
// changes one name and keeps the rest, threads and strands included:
//
//   timers::tcp_stream stream{io};              // was beast::tcp_stream
//   stream.expires_after(std::chrono::seconds(30));
//   co_await http::async_read(stream, buffer, request);
//
// Or it changes one alias, and nothing else (beast.hpp): namespace beast = timers::beast;
//
// What timeouts cost: expires_after() reads the clock, and so does each operation with a deadline.
// An operation stores the deadline and compares it with where the stream's one timer is filed.
// There is no allocation, no lock and no system call, unless a deadline is earlier than all that
// the stream had in the last time. Beast has three timers for each stream, and a wait for each
// operation, which the context must start, cancel and deliver.
//
// The meaning, which is that of Boost 1.87 where older Beast left it to chance:
//
//   - A deadline ends operations that are pending when it passes, and those that begin after it,
//     until it is set anew. It never ends what was completed in time.
//   - A timeout closes the socket. Operations whose deadline has passed complete with
//     boost::beast::error::timeout, the others with boost::asio::error::operation_aborted. This
//     happens where the handler of the operation runs: on its associated executor, such as a
//     strand, or on the stream's.
//   - A deadline is kept to the tick of the service (1 ms): never early, and less than a tick late.
//
// What differs from Beast:
//
//   - While a read and a write are pending, expires_after(), expires_at() and expires_never() have
//     no effect on them. Beast asserts that this does not happen. See rearm_after().
//   - An operation that had succeeded by the time its deadline passed is a success, even if its
//     handler had not been called yet. If the socket was closed by then, the next operation
//     completes with the timeout.
//   - A stream may be moved while operations are pending. These go along, and so does the socket:
//     a reference to socket() is then one to the new stream's.
//   - The hooks that handlers had before associated allocators and executors,
//     asio_handler_allocate and asio_handler_invoke, are not called.
//
// A stream is used by one thread at a time, or from one strand, as any I/O object.
#pragma once

#include "timers/asio/connect_conditions.hpp"
#include "timers/asio/stream_operations.hpp"
#include "timers/asio/stream_state.hpp"
#include "timers/asio/wheel_service.hpp"
#include "timers/duration.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/rate_policy.hpp>
#include <boost/beast/core/role.hpp>
#include <boost/beast/websocket/teardown.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace timers {

// `RatePolicy` is as for boost::beast::basic_stream: beast's own, or a user's. `Service` is where
// the timer is kept: basic_wheel_service with a backend and a mutex.
template <class Protocol, class Executor = boost::asio::any_io_executor,
          class RatePolicy = boost::beast::unlimited_rate_policy, class Service = wheel_service>
class basic_stream {
  using State = detail::StreamState<Protocol, Executor, RatePolicy, Service>;
  using error_code = boost::system::error_code;

public:
  using socket_type = boost::asio::basic_stream_socket<Protocol, Executor>;
  using executor_type = typename socket_type::executor_type;
  using protocol_type = Protocol;
  using endpoint_type = typename Protocol::endpoint;
  using lowest_layer_type = socket_type; // for boost::asio::ssl::stream

  template <class OtherExecutor> struct rebind_executor {
    using other = basic_stream<Protocol, OtherExecutor, RatePolicy, Service>;
  };

private:
  template <class Type> static constexpr bool kIsPolicy = std::is_constructible_v<RatePolicy, Type>;
  template <class... Args>
  static constexpr bool kMakesSocket = std::is_constructible_v<socket_type, Args...>;

public:
  // The arguments are those of a constructor of the socket: an executor or a context, and perhaps a
  // protocol, an endpoint, or a native socket; or another socket. Throws what that throws.
  template <class First, class... Rest>
  explicit basic_stream(First&& first,
                        Rest&&... rest) requires(!kIsPolicy<First> && kMakesSocket<First, Rest...>)
      : state_(State::make(RatePolicy(), std::forward<First>(first), std::forward<Rest>(rest)...)) {
  }

  // As that, with a rate policy of which the stream keeps a copy.
  template <class Policy, class First, class... Rest>
  basic_stream(Policy&& policy, First&& first,
               Rest&&... rest) requires(kIsPolicy<Policy>&& kMakesSocket<First, Rest...>)
      : state_(State::make(std::forward<Policy>(policy), std::forward<First>(first),
                           std::forward<Rest>(rest)...)) {}

  // Afterwards `other` is as new: it has its executor, and is not open. Allocates its new state,
  // and leaves it alone if that throws.
  basic_stream(basic_stream&& other)
      : state_(State::make(other.new_policy(), other.get_executor())) {
    state_.swap(other.state_);
  }

  // Takes over the socket of a stream with another executor, which converts to this one's. Nothing
  // may be pending there. The new stream has no deadline.
  template <class OtherExecutor>
  explicit basic_stream(basic_stream<Protocol, OtherExecutor, RatePolicy, Service>&&
                            other) requires(!std::same_as<OtherExecutor, Executor>)
      : state_(State::make(RatePolicy(), std::move(other.state_->socket))) {}

  basic_stream& operator=(basic_stream&&) = delete;

  // Closes the socket. Pending operations complete with boost::asio::error::operation_aborted.
  ~basic_stream() { state_->close(); }

  executor_type get_executor() const noexcept { return state_->socket.get_executor(); }

  socket_type& socket() noexcept { return state_->socket; }
  const socket_type& socket() const noexcept { return state_->socket; }
  socket_type& lowest_layer() noexcept { return state_->socket; }
  const socket_type& lowest_layer() const noexcept { return state_->socket; }

  // Cancels pending operations and gives away the socket. The stream has a closed one then.
  socket_type release_socket() { return state_->release_socket(); }

  RatePolicy& rate_policy() noexcept { return state_->policy; }
  const RatePolicy& rate_policy() const noexcept { return state_->policy; }

  // From now on, until this is called again, operations end at that time, but not one that is
  // pending now in its direction. expires_after() reads the clock. The longest duration and the
  // latest time point mean never.
  void expires_after(Nanoseconds duration) noexcept {
    state_->set_deadline(state_->after(duration));
  }
  void expires_at(std::chrono::steady_clock::time_point time) noexcept {
    state_->set_deadline(time.time_since_epoch());
  }

  // As expires_at(never), and ends the idle timeout.
  void expires_never() {
    state_->set_deadline(kForever);
    state_->set_idle(kForever);
  }

  // As expires_after(), and pending operations have the new deadline too. Not for one that has
  // timed out already and waits for its handler to be called. Costs as watch() does in
  // shared_timer_service.hpp: a store, or a lock if the deadline is earlier than the last one. If
  // that throws, pending operations have no timeout any more.
  void rearm_after(Nanoseconds duration) { state_->rearm(state_->after(duration)); }

  // From now on, and beside the deadline, pending operations end when for so long no transfer has
  // moved a byte, in either direction. Time in which nothing is pending does not count. So one call
  // suffices for the life of a connection. An operation ends at the deadline or at the end of the
  // idle time, whichever is earlier. kForever ends the idle timeout. Applies to pending operations,
  // which have that time from now on; costs and throws for them as rearm_after() does.
  //
  // A transfer that begins while nothing else is pending, or ends while something is, reads the
  // clock.
  void idle_after(Nanoseconds duration) { state_->set_idle(duration); }

  // Pending operations complete with boost::asio::error::operation_aborted. close() also closes the
  // socket, and ignores errors.
  void cancel() noexcept { state_->cancel(); }
  void close() noexcept { state_->close(); }

  // Blocking, and without a timeout: what the socket does, and boost::asio::connect().
  void connect(const endpoint_type& endpoint) { socket().connect(endpoint); }
  void connect(const endpoint_type& endpoint, error_code& error) {
    socket().connect(endpoint, error);
  }
  template <detail::EndpointSequence Endpoints, class... Options> // condition, error; both optional
  endpoint_type connect(const Endpoints& endpoints, Options&&... options) {
    return boost::asio::connect(socket(), endpoints, std::forward<Options>(options)...);
  }
  template <class Iterator, class... Options>
  Iterator connect(Iterator begin, Iterator end, Options&&... options) {
    return boost::asio::connect(socket(), begin, end, std::forward<Options>(options)...);
  }
  template <class Buffers> std::size_t read_some(const Buffers& buffers) {
    return socket().read_some(buffers);
  }
  template <class Buffers> std::size_t read_some(const Buffers& buffers, error_code& error) {
    return socket().read_some(buffers, error);
  }
  template <class Buffers> std::size_t write_some(const Buffers& buffers) {
    return socket().write_some(buffers);
  }
  template <class Buffers> std::size_t write_some(const Buffers& buffers, error_code& error) {
    return socket().write_some(buffers, error);
  }

private:
  template <class, class, class, class> friend class basic_stream;

  // What completion tokens start an operation with. The stream must live until then.
  class Initiation {
  public:
    using executor_type = basic_stream::executor_type;
    explicit Initiation(basic_stream& stream) noexcept : stream_(&stream) {}
    executor_type get_executor() const noexcept { return stream_->get_executor(); }

  protected:
    State& state() const noexcept { return *stream_->state_; }

  private:
    basic_stream* stream_;
  };

  template <class Way> struct Transfer : Initiation {
    using Initiation::Initiation;

    template <class Handler, class Buffers>
    void operator()(Handler&& handler, const Buffers& buffers) const {
      State& state = this->state();
      using Operation = detail::TransferOperation<Way, State, Buffers, std::decay_t<Handler>>;
      if (Way::side(state).pending && boost::asio::buffer_size(buffers) == 0) {
        // A layer above, such as TLS, wants to be called back, whatever is going on here.
        boost::asio::post(
            state.socket.get_executor(),
            boost::asio::append(std::forward<Handler>(handler), error_code(), std::size_t{0}));
        return;
      }
      Operation(state, buffers, std::forward<Handler>(handler)).start(buffers);
    }
  };

  struct ConnectOne : Initiation {
    using Initiation::Initiation;

    template <class Handler>
    void operator()(Handler&& handler, const endpoint_type& endpoint) const {
      detail::ConnectOperation<State, std::decay_t<Handler>>(this->state(),
                                                             std::forward<Handler>(handler))
          .start([&](auto& socket, auto&& operation) {
            socket.async_connect(endpoint, std::forward<decltype(operation)>(operation));
          });
    }
  };

  struct ConnectAny : Initiation {
    using Initiation::Initiation;

    template <class Handler, class Endpoints, class Condition = detail::EveryEndpoint>
    void operator()(Handler&& handler, const Endpoints& endpoints,
                    const Condition& condition = {}) const {
      detail::ConnectOperation<State, std::decay_t<Handler>>(this->state(),
                                                             std::forward<Handler>(handler))
          .start(
              [&](auto& socket, auto&& operation) {
                boost::asio::async_connect(socket, endpoints, condition,
                                           std::forward<decltype(operation)>(operation));
              },
              endpoint_type());
    }
  };

  struct ConnectRange : Initiation {
    using Initiation::Initiation;

    template <class Handler, class Iterator, class Condition = detail::EveryEndpoint>
    void operator()(Handler&& handler, const Iterator& begin, const Iterator& end,
                    const Condition& condition = {}) const {
      detail::ConnectOperation<State, std::decay_t<Handler>>(this->state(),
                                                             std::forward<Handler>(handler))
          .start(
              [&](auto& socket, auto&& operation) {
                boost::asio::async_connect(socket, begin, end, condition,
                                           std::forward<decltype(operation)>(operation));
              },
              end);
    }
  };

  template <class Token, class Signature, class Initiate, class... Args>
  using Result = decltype(boost::asio::async_initiate<Token, Signature>(
      std::declval<Initiate>(), std::declval<Token&>(), std::declval<Args>()...));

  using Transferred = void(error_code, std::size_t);
  using Connected = void(error_code);
  using ConnectedTo = void(error_code, endpoint_type);
  template <class Iterator> using ConnectedAt = void(error_code, Iterator);
  using DefaultToken = boost::asio::default_completion_token_t<executor_type>;

public:
  // The asynchronous operations. Each completes with boost::beast::error::timeout when its deadline
  // passes; a connect has that of the writes. At most one read and one write, or one connect, may
  // be pending. A handler is never called from within these functions, and its cancellation slot
  // takes all that the socket's operation takes. An operation of which the context is destroyed
  // before it completes has its handler destroyed.
  //
  // They throw what the socket's operation and shared_timer_service.hpp's watch() throw, and have
  // begun nothing then.

  // The buffers themselves, not what they point to, are copied. Empty buffers complete with
  // success, at once.
  template <class Buffers, BOOST_ASIO_COMPLETION_TOKEN_FOR(Transferred) Token = DefaultToken>
  auto async_read_some(const Buffers& buffers, Token&& token = DefaultToken())
      -> Result<Token, Transferred, Transfer<detail::Reading>, const Buffers&> {
    return boost::asio::async_initiate<Token, Transferred>(Transfer<detail::Reading>(*this), token,
                                                           buffers);
  }

  template <class Buffers, BOOST_ASIO_COMPLETION_TOKEN_FOR(Transferred) Token = DefaultToken>
  auto async_write_some(const Buffers& buffers, Token&& token = DefaultToken())
      -> Result<Token, Transferred, Transfer<detail::Writing>, const Buffers&> {
    return boost::asio::async_initiate<Token, Transferred>(Transfer<detail::Writing>(*this), token,
                                                           buffers);
  }

  // Opens the socket if need be.
  template <BOOST_ASIO_COMPLETION_TOKEN_FOR(Connected) Token = DefaultToken>
  auto async_connect(const endpoint_type& endpoint, Token&& token = DefaultToken())
      -> Result<Token, Connected, ConnectOne, const endpoint_type&> {
    return boost::asio::async_initiate<Token, Connected>(ConnectOne(*this), token, endpoint);
  }

  // Tries one endpoint after the other, as boost::asio::async_connect does, all of them before the
  // deadline. A condition is called before each. The handler gets the endpoint to which the stream
  // is connected, or its iterator.
  template <detail::EndpointSequence Endpoints,
            BOOST_ASIO_COMPLETION_TOKEN_FOR(ConnectedTo) Token = DefaultToken>
  requires detail::IsToken<DefaultToken, false, Token, detail::IteratorOf<Endpoints>>
  auto async_connect(const Endpoints& endpoints, Token&& token = DefaultToken())
      -> Result<Token, ConnectedTo, ConnectAny, const Endpoints&> {
    return boost::asio::async_initiate<Token, ConnectedTo>(ConnectAny(*this), token, endpoints);
  }

  template <detail::EndpointSequence Endpoints, class Condition,
            BOOST_ASIO_COMPLETION_TOKEN_FOR(ConnectedTo) Token = DefaultToken>
  requires detail::IsCondition<DefaultToken, false, Condition, detail::IteratorOf<Endpoints>>
  auto async_connect(const Endpoints& endpoints, Condition condition,
                     Token&& token = DefaultToken())
      -> Result<Token, ConnectedTo, ConnectAny, const Endpoints&, const Condition&> {
    return boost::asio::async_initiate<Token, ConnectedTo>(ConnectAny(*this), token, endpoints,
                                                           std::as_const(condition));
  }

  template <class Iterator,
            BOOST_ASIO_COMPLETION_TOKEN_FOR(ConnectedAt<Iterator>) Token = DefaultToken>
  requires detail::IsToken<DefaultToken, true, Token, Iterator>
  auto async_connect(Iterator begin, Iterator end, Token&& token = DefaultToken())
      -> Result<Token, ConnectedAt<Iterator>, ConnectRange, const Iterator&, const Iterator&> {
    return boost::asio::async_initiate<Token, ConnectedAt<Iterator>>(
        ConnectRange(*this), token, std::as_const(begin), std::as_const(end));
  }

  template <class Iterator, class Condition,
            BOOST_ASIO_COMPLETION_TOKEN_FOR(ConnectedAt<Iterator>) Token = DefaultToken>
  requires detail::IsCondition<DefaultToken, true, Condition, Iterator>
  auto async_connect(Iterator begin, Iterator end, Condition condition,
                     Token&& token = DefaultToken())
      -> Result<Token, ConnectedAt<Iterator>, ConnectRange, const Iterator&, const Iterator&,
                const Condition&> {
    return boost::asio::async_initiate<Token, ConnectedAt<Iterator>>(
        ConnectRange(*this), token, std::as_const(begin), std::as_const(end),
        std::as_const(condition));
  }

private:
  // For the stream that is left behind by a move.
  RatePolicy new_policy() const {
    if constexpr (std::is_default_constructible_v<RatePolicy>) {
      return RatePolicy();
    } else {
      return state_->policy;
    }
  }

  typename State::Pointer state_;
};

// Customization points of Beast, which finds them through their argument.

template <class Protocol, class Executor, class RatePolicy, class Service>
void beast_close_socket(basic_stream<Protocol, Executor, RatePolicy, Service>& stream) {
  boost::system::error_code ignored;
  stream.socket().close(ignored);
}

template <class Protocol, class Executor, class RatePolicy, class Service>
void teardown(boost::beast::role_type role,
              basic_stream<Protocol, Executor, RatePolicy, Service>& stream,
              boost::system::error_code& error) {
  using boost::beast::websocket::teardown;
  teardown(role, stream.socket(), error);
}

template <class Protocol, class Executor, class RatePolicy, class Service, class Handler>
void async_teardown(boost::beast::role_type role,
                    basic_stream<Protocol, Executor, RatePolicy, Service>& stream,
                    Handler&& handler) {
  using boost::beast::websocket::async_teardown;
  async_teardown(role, stream.socket(), std::forward<Handler>(handler));
}

using tcp_stream = basic_stream<boost::asio::ip::tcp>;

} // namespace timers
