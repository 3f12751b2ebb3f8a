// What the tests of the tokens and timers of Asio share: a pair of sockets, an operation that the
// test completes by hand, and an executor that the test drives by hand.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <new>
#include <string_view>
#include <utility>

namespace timers::test {

using ErrorCode = boost::system::error_code;
using LocalSocket = boost::asio::local::stream_protocol::socket;

// Two connected sockets.
template <class Socket = LocalSocket> struct SocketPair {
  template <class Context> explicit SocketPair(Context& context) : near(context), far(context) {
    boost::asio::local::connect_pair(near, far);
  }
  Socket near;
  Socket far;
};

// What a handler was called with.
struct Outcome {
  int calls = 0;
  ErrorCode error;
  std::size_t size = 0;

  auto handler() {
    return [this](ErrorCode code, std::size_t bytes = 0) {
      ++calls;
      error = code;
      size = bytes;
    };
  }
};

// A test with an operation on one of two sockets.
class SocketTest : public testing::Test {
protected:
  boost::asio::io_context io;
  SocketPair<> sockets{io};
  std::array<char, 16> bytes{};
  boost::asio::mutable_buffer buffer = boost::asio::buffer(bytes);
  Outcome outcome;

  void send(std::string_view text) { boost::asio::write(sockets.far, boost::asio::buffer(text)); }
};

inline const ErrorCode kAborted = boost::asio::error::operation_aborted;
inline const ErrorCode kTimedOut = boost::asio::error::timed_out;

// An asynchronous operation, void(error_code), that completes when the test calls complete(). It
// notes how it is cancelled. One is pending at a time.
class ManualOperation {
public:
  explicit ManualOperation(boost::asio::any_io_executor executor)
      : executor_(std::move(executor)) {}

  template <class Token> auto async_run(Token&& token) {
    return boost::asio::async_initiate<Token, void(ErrorCode)>(Initiate{this}, token);
  }

  bool pending() const { return static_cast<bool>(complete_); }

  // Calls the handler from here.
  void complete(ErrorCode error = {}) { std::exchange(complete_, {})(error); }

  // Destroys the handler without calling it.
  void drop() { complete_ = {}; }

  int cancels = 0;
  boost::asio::cancellation_type_t type{};
  std::function<void()> on_cancel = [] {};

private:
  struct Initiate {
    using executor_type = boost::asio::any_io_executor;
    executor_type get_executor() const noexcept { return operation->executor_; }

    template <class Handler> void operator()(Handler handler) const {
      auto slot = boost::asio::get_associated_cancellation_slot(handler);
      if (slot.is_connected()) {
        slot.assign([self = operation](boost::asio::cancellation_type_t how) {
          ++self->cancels;
          self->type = how;
          self->on_cancel();
        });
      }
      auto kept = std::make_shared<Handler>(std::move(handler));
      operation->complete_ = [kept](ErrorCode error) mutable {
        const auto last = std::move(kept);
        std::move (*last)(error);
      };
    }

    ManualOperation* operation;
  };

  boost::asio::any_io_executor executor_;
  std::function<void(ErrorCode)> complete_;
};

// An executor that keeps what it is given until the test runs it.
class ManualExecutor {
public:
  struct Queue {
    std::deque<std::function<void()>> functions;
    bool refuses = false;

    bool run_one() {
      if (functions.empty()) {
        return false;
      }
      const auto function = std::move(functions.front());
      functions.pop_front();
      function();
      return true;
    }
    void run() {
      while (run_one()) {
      }
    }
  };

  ManualExecutor(boost::asio::execution_context& context, Queue& queue)
      : context_(&context), queue_(&queue) {}

  boost::asio::execution_context& query(boost::asio::execution::context_t) const noexcept {
    return *context_;
  }
  static constexpr boost::asio::execution::blocking_t
  query(boost::asio::execution::blocking_t) noexcept {
    return boost::asio::execution::blocking.never;
  }
  ManualExecutor require(boost::asio::execution::blocking_t::never_t) const noexcept {
    return *this;
  }

  template <class Function> void execute(Function function) const {
    if (queue_->refuses) {
      throw std::bad_alloc();
    }
    auto kept = std::make_shared<Function>(std::move(function));
    queue_->functions.push_back([kept] { std::move (*kept)(); });
  }

  bool operator==(const ManualExecutor& other) const noexcept { return queue_ == other.queue_; }
  bool operator!=(const ManualExecutor& other) const noexcept { return queue_ != other.queue_; }

private:
  boost::asio::execution_context* context_;
  Queue* queue_;
};

// Runs the context until `done` says so. False when there was nothing to run any more, or ten
// seconds have passed.
template <class Done> bool run_until(boost::asio::io_context& io, Done done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!done()) {
    io.restart();
    if (io.run_one_until(end) == 0) {
      return done();
    }
  }
  return true;
}

} // namespace timers::test
