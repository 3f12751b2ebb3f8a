// What a basic_stream (basic_stream.hpp) and its pending operations share: the socket, the two
// deadlines, and the one timer that keeps them. No program includes this.
//
// The state lives as long as the stream or one of its operations. Everything here happens at its
// owner: where the handlers of the stream run.
#pragma once

#include "timers/asio/owner_executor.hpp"
#include "timers/asio/wheel_service.hpp"
#include "timers/duration.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/rate_policy.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace timers::detail {

class RatePolicyCalls; // only a name

// Whether `deadline` has certainly not passed. A clock that is some milliseconds slow tells that of
// most deadlines, and costs 10 ns to read where the exact one costs 31.
inline bool is_far_away(std::chrono::nanoseconds deadline) noexcept {
#ifdef CLOCK_MONOTONIC_COARSE
  constexpr std::chrono::nanoseconds kSlow = std::chrono::seconds(1);
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return deadline - kSlow >
         std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
#else
  return deadline == kForever;
#endif
}

} // namespace timers::detail

namespace boost::beast {

// Rate policies are for boost::beast::basic_stream alone: their functions are private, and
// rate_policy_access befriends every specialisation of that template. This is one, whose first
// argument is a type of ours, and passes the calls on.
template <> class basic_stream<timers::detail::RatePolicyCalls, void, void> {
public:
  template <class Policy> static std::size_t readable(Policy& policy) {
    return rate_policy_access::available_read_bytes(policy);
  }
  template <class Policy> static std::size_t writable(Policy& policy) {
    return rate_policy_access::available_write_bytes(policy);
  }
  template <class Policy> static void was_read(Policy& policy, std::size_t bytes) {
    rate_policy_access::transfer_read_bytes(policy, bytes);
  }
  template <class Policy> static void was_written(Policy& policy, std::size_t bytes) {
    rate_policy_access::transfer_write_bytes(policy, bytes);
  }
  template <class Policy> static void new_slice(Policy& policy) {
    rate_policy_access::on_timer(policy);
  }
};

} // namespace boost::beast

namespace timers::detail {

using RatePolicies = boost::beast::basic_stream<RatePolicyCalls, void, void>;

// The time one direction of a stream has. A connect uses both: it is pending in both, and has the
// time of the direction in which bytes are written.
struct StreamSide {
  std::chrono::nanoseconds deadline = kForever;
  bool pending = false;   // an operation is. The deadline moves only by rearm_after()
  bool timed = false;     // an operation is that ends at the deadline
  bool timed_out = false; // it did
};

// Waits for the next slice of a second in which a rate policy permits bytes. Nothing is made of it
// until a policy permits none.
template <class Executor> struct RateSlices {
  using Clock = std::chrono::steady_clock;
  using Timer = asio::basic_waitable_timer<Clock, asio::wait_traits<Clock>, Executor>;

  void cancel() noexcept {
    if (timer) {
      timer->cancel();
    }
  }

  std::optional<Timer> timer;
};

template <class RatePolicy>
inline constexpr bool kLimits = !std::is_same_v<RatePolicy, boost::beast::unlimited_rate_policy>;

struct NoSlices {
  void cancel() noexcept {}
};

// The timer takes the executor of the socket, so the socket comes first.
template <class Socket> struct StreamSocket {
  template <class... Args>
  explicit StreamSocket(Args&&... args) : socket(std::forward<Args>(args)...) {}

  Socket socket;
};

template <class Protocol, class Executor, class RatePolicy, class Service>
class StreamState final : public StreamSocket<asio::basic_stream_socket<Protocol, Executor>>,
                          public Service::Timer {
  using Socket = asio::basic_stream_socket<Protocol, Executor>;
  using Timer = typename Service::Timer;

public:
  using error_code = boost::system::error_code;
  using Time = std::chrono::nanoseconds;
  using Policy = RatePolicy;
  using Pointer = boost::intrusive_ptr<StreamState>;
  using StreamSocket<Socket>::socket;

  template <class AnyPolicy, class... Args>
  StreamState(std::in_place_t, AnyPolicy&& rate_policy, Args&&... args)
      : StreamSocket<Socket>(std::forward<Args>(args)...),
        Timer(Service::of(any_executor_of(socket.get_executor())),
              {any_executor_of(socket.get_executor())}),
        policy(std::forward<AnyPolicy>(rate_policy)) {}

  template <class... Args> static Pointer make(Args&&... args) {
    return Pointer(new StreamState(std::in_place, std::forward<Args>(args)...), false);
  }

  // A direction in which an operation is pending keeps its deadline.
  void set_deadline(Time deadline) noexcept {
    for (StreamSide* side : {&read, &write}) {
      if (!side->pending) {
        side->deadline = deadline;
      }
    }
  }

  void rearm(Time deadline) {
    read.deadline = write.deadline = deadline;
    watch_earliest();
  }

  void set_idle(Time idle) {
    idle_ = idle;
    if (anything_timed()) {
      restart_idle(this->service().now());
      watch_earliest();
    }
  }

  Time after(Time duration) const noexcept { return after(this->service().now(), duration); }

  // An operation begins that ends at the deadline of `side`, and has this handler. Returns false if
  // that has passed; then nothing watches the operation, and it must end with end_late().
  template <class Handler> bool begin(StreamSide& side, const Handler& handler) {
    begin_untimed(side);
    bring_to(handler);
    if (owes_timeout()) {
      return false;
    }
    if (is_late(side)) {
      return false;
    }
    side.timed = true;
    watch_earliest();
    return true;
  }

  void begin_untimed(StreamSide& side) noexcept {
    assert(!side.pending && "one operation at a time may be pending in each direction");
    side.pending = true;
    side.timed_out = false;
  }

  // The operation is over, and is to be completed with the error that is returned. What succeeded
  // before the deadline stays a success, and the next operation gets to know of the timeout.
  error_code end(StreamSide& side, error_code error, std::size_t bytes) noexcept {
    leave(side);
    if (bytes != 0 && idle_ != kForever && anything_timed()) {
      restart_idle(this->service().now());
    }
    if (side.timed_out && error) {
      return boost::beast::error::timeout;
    }
    owes_timeout_ = side.timed_out;
    return error;
  }

  error_code end_late(StreamSide& side) noexcept {
    leave(side);
    time_out(this->service().now());
    close_socket();
    return boost::beast::error::timeout;
  }

  // The operation of `side` is over, or will never be completed.
  void leave(StreamSide& side) noexcept {
    side.pending = side.timed = false;
    if (!anything_timed()) {
      this->unwatch();
    }
  }

  // A new connection has nothing to do with a timeout of the old one.
  void forgive_timeout() noexcept { owes_timeout_ = false; }

  void close() noexcept {
    stop_timing();
    close_socket();
  }

  void cancel() noexcept {
    error_code ignored;
    socket.cancel(ignored);
    slices_.cancel();
  }

  Socket release_socket() {
    stop_timing();
    cancel();
    return std::move(socket);
  }

  // Calls `operation`, a handler, in the slice of a second that follows this one, or at once if
  // none has begun yet.
  template <class Operation> void wait_for_slice(Operation operation) {
    if (!slices_.timer) {
      slices_.timer.emplace(socket.get_executor()); // due
    }
    slices_.timer->async_wait(std::move(operation));
  }

  // The wait is over. Whoever comes first begins the new slice, which has a successor when it is
  // over, until the timer is cancelled. `place` is where the operation's handler runs.
  template <class Place> void enter_slice(const Place& place) {
    if (!socket.is_open() || slices_.timer->expiry() > std::chrono::steady_clock::now()) {
      return;
    }
    slices_.timer->expires_after(std::chrono::seconds(1));
    RatePolicies::new_slice(policy);
    slices_.timer->async_wait(
        asio::bind_executor(place, [self = Pointer(this), place](error_code error) {
          if (!error) {
            self->enter_slice(place);
          }
        }));
  }

  friend void intrusive_ptr_add_ref(StreamState* state) noexcept { state->add_reference(); }
  friend void intrusive_ptr_release(StreamState* state) noexcept { state->release(); }

  StreamSide read;
  StreamSide write;
  [[no_unique_address]] RatePolicy policy;

private:
  static Time after(Time now, Time duration) noexcept {
    return duration > kForever - now ? kForever : now + duration;
  }

  bool owes_timeout() noexcept { return std::exchange(owes_timeout_, false) && !socket.is_open(); }

  bool anything_timed() const noexcept { return read.timed || write.timed; }

  // Whether an operation of `side` begins too late. The first one begins the idle time.
  bool is_late(const StreamSide& side) noexcept {
    if (idle_ != kForever && !anything_timed()) {
      const Time now = this->service().now();
      restart_idle(now);
      return std::min(side.deadline, idle_deadline()) <= now;
    }
    const Time deadline = std::min(side.deadline, idle_deadline());
    return deadline != kForever && !is_far_away(deadline) && deadline <= this->service().now();
  }

  void restart_idle(Time now) noexcept { idle_since_ = now; }
  Time idle_deadline() const noexcept { return after(idle_since_, idle_); }

  void watch_earliest() {
    if (!anything_timed()) {
      return;
    }
    Time earliest = idle_deadline();
    for (const StreamSide* side : {&read, &write}) {
      if (side->timed) {
        earliest = std::min(earliest, side->deadline);
      }
    }
    if (earliest != kForever || this->watched()) {
      this->watch(earliest);
    }
  }

  // Notes which operations end at `now`. Returns whether any does.
  bool time_out(Time now) noexcept {
    const Time idle = idle_deadline();
    bool any = false;
    for (StreamSide* side : {&read, &write}) {
      if (side->timed && std::min(side->deadline, idle) <= now) {
        side->timed_out = any = true;
      }
    }
    return any;
  }

  void expired() override {
    if (time_out(this->service().now())) {
      close_socket();
    } else {
      watch_earliest();
    }
  }

  // The pending operations will end soon, and not because of time.
  void stop_timing() noexcept {
    read.timed = write.timed = owes_timeout_ = false;
    this->unwatch();
  }

  void close_socket() noexcept {
    error_code ignored;
    socket.close(ignored);
    slices_.cancel();
  }

  // Moves the owner to where this handler runs. That is the handler's associated executor, perhaps
  // a strand, or else the stream's: closing the socket anywhere else would race with the handler.
  template <class Handler> void bring_to(const Handler& handler) {
    const auto& place = asio::get_associated_executor(handler, socket.get_executor());
    bring_owner(*this, place, socket.get_executor());
  }

  Time idle_ = kForever;
  Time idle_since_{};
  bool owes_timeout_ = false; // the socket was closed by one of which no operation has told
  [[no_unique_address]] std::conditional_t<kLimits<RatePolicy>, RateSlices<Executor>, NoSlices>
      slices_;
};

} // namespace timers::detail
