// What the tests of basic_stream share: two connected streams, handlers that note how they were
// called, and a peer that takes nothing.
#pragma once

#include "timers/asio/basic_stream.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/error.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace timers::test {

using Unix = boost::asio::local::stream_protocol;
using unix_stream = basic_stream<Unix>;

// Deadlines that tests wait for are far enough apart for a busy machine to keep their order.
inline constexpr auto kSoon = std::chrono::milliseconds(30);
inline constexpr auto kLater = std::chrono::milliseconds(60);
inline constexpr auto kNever = std::chrono::hours(1);       // a deadline that does not come
inline constexpr auto kPatience = std::chrono::seconds(10); // longer than any test runs

// How an operation ended.
struct Ended {
  boost::system::error_code error;
  std::size_t bytes = 0;

  friend bool operator==(const Ended&, const Ended&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Ended& ended) {
    return out << ended.error.message() << " (" << ended.error << "), " << ended.bytes << " bytes";
  }
};

inline const Ended kTimedOut{boost::beast::error::timeout, 0};
inline const Ended kAborted{boost::asio::error::operation_aborted, 0};
inline Ended success(std::size_t bytes) { return {{}, bytes}; }

// An operation that a test has started: pass note() as the handler.
class Operation {
public:
  auto note() {
    return [ended = ended_](boost::system::error_code error, auto... bytes) {
      EXPECT_FALSE(*ended) << "the handler was called twice";
      *ended = Ended{error, sum(bytes...)};
    };
  }

  bool ended() const { return ended_->has_value(); }
  const std::optional<Ended>& result() const { return *ended_; }

private:
  static std::size_t sum() { return 0; }
  static std::size_t sum(std::size_t bytes) { return bytes; }
  template <class Other> static std::size_t sum(const Other&) { return 0; }

  std::shared_ptr<std::optional<Ended>> ended_ = std::make_shared<std::optional<Ended>>();
};

// A stream and its peer, a plain socket.
template <class Stream> struct Connected {
  template <class Executor>
  explicit Connected(const Executor& executor) : stream(executor), peer(executor) {
    boost::asio::local::connect_pair(stream.socket(), peer);
  }

  template <class Handler> void read(Handler&& handler) {
    stream.async_read_some(boost::asio::buffer(input), std::forward<Handler>(handler));
  }

  // More than the system takes at once when the peer reads nothing: such a write stays pending
  // after others have filled the buffers.
  template <class Handler> void write_much(Handler&& handler) {
    fill();
    stream.async_write_some(boost::asio::buffer(input), std::forward<Handler>(handler));
  }

  void fill() {
    stream.socket().non_blocking(true);
    const std::string much(1 << 16, 'x');
    boost::system::error_code error;
    while (!error) {
      stream.socket().write_some(boost::asio::buffer(much), error);
    }
    EXPECT_EQ(error, boost::asio::error::would_block);
  }

  // Takes all that has been sent to the peer.
  void drain() {
    peer.non_blocking(true);
    std::string much(1 << 16, ' ');
    boost::system::error_code error;
    while (!error) {
      peer.read_some(boost::asio::buffer(much), error);
    }
  }

  void send(std::string_view text) { boost::asio::write(peer, boost::asio::buffer(text)); }

  Stream stream;
  typename Stream::socket_type peer;
  std::array<char, 16> input{};
};

// A connected stream on a context that the test runs.
class StreamTest : public testing::Test {
protected:
  // Until nothing is pending.
  void run() {
    io.restart();
    io.run_for(kPatience);
    EXPECT_TRUE(io.stopped()) << "an operation is pending that should have ended";
  }

  void run_until(const Operation& operation) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!operation.ended() && std::chrono::steady_clock::now() < end) {
      io.restart();
      io.run_one_until(end);
    }
    EXPECT_TRUE(operation.ended());
  }

  void run_for(std::chrono::milliseconds duration) {
    io.restart();
    io.run_for(duration);
  }

  boost::asio::io_context io{1};
  Connected<unix_stream> pair{io.get_executor()};
  unix_stream& stream = pair.stream;
};

} // namespace timers::test
