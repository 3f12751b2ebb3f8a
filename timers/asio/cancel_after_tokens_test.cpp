// The tokens of cancel_after.hpp around other tokens, and on operations of Asio and Beast.

// WebSocket's initiations are called with an int that becomes a size. Nobody sees that warning but
// those to whom these headers are not a system's.
#pragma GCC diagnostic ignored "-Wsign-conversion"

#include "timers/asio/cancel_after.hpp"

#include "timers/testing/asio_testing.hpp"

#include <boost/asio.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace timers::test {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

class CancelAfterTokens : public SocketTest {
protected:
  // Runs a coroutine, whose exceptions leave this.
  template <class Coroutine> void run(Coroutine coroutine) {
    io.restart();
    asio::co_spawn(io, coroutine(), [](std::exception_ptr exception) {
      if (exception) {
        std::rethrow_exception(exception);
      }
    });
    io.run();
  }
};

using CancelAfterOperations = CancelAfterTokens;

ErrorCode thrown_by(const std::function<void()>& function) {
  try {
    function();
  } catch (const boost::system::system_error& error) {
    return error.code();
  }
  return {};
}

TEST_F(CancelAfterTokens, UseAwaitable) {
  deadline mine{io};
  EXPECT_EQ(thrown_by([&] {
              run([&]() -> asio::awaitable<void> {
                co_await sockets.near.async_read_some(buffer,
                                                      with_timeout(1ms, asio::use_awaitable));
              });
            }),
            kTimedOut);
  EXPECT_EQ(thrown_by([&] {
              run([&]() -> asio::awaitable<void> {
                co_await sockets.near.async_read_some(
                    buffer, timers::cancel_after(mine, 1ms, asio::use_awaitable));
              });
            }),
            kAborted);
  std::size_t size = 0;
  send("four");
  run([&]() -> asio::awaitable<void> {
    size = co_await sockets.near.async_read_some(buffer, with_timeout(1h, asio::use_awaitable));
  });
  EXPECT_EQ(size, 4u);
}

TEST_F(CancelAfterTokens, ACoroutineIsStillCancelledFromOutside) {
  asio::cancellation_signal signal;
  ErrorCode error;
  const auto read = [&]() -> asio::awaitable<void> {
    std::tie(error, std::ignore) = co_await sockets.near.async_read_some(
        buffer, with_timeout(1h, asio::as_tuple(asio::use_awaitable)));
  };
  asio::co_spawn(io, read(), asio::bind_cancellation_slot(signal.slot(), asio::detached));
  asio::post(io, [&] { signal.emit(asio::cancellation_type::terminal); });
  io.run();
  EXPECT_EQ(error, kAborted);
}

TEST_F(CancelAfterTokens, DeferredStartsTheTimeWhenItIsLaunched) {
  deadline mine{io};
  auto operation = sockets.near.async_read_some(buffer, with_timeout(20ms, asio::deferred));
  auto other = sockets.near.async_read_some(buffer, with_timeout(mine, 20ms, asio::deferred));
  std::this_thread::sleep_for(40ms);
  const auto begin = Clock::now();
  std::move(operation)(outcome.handler());
  io.run();
  EXPECT_EQ(outcome.error, kTimedOut);
  EXPECT_GE(Clock::now() - begin, 20ms);
  run([&]() -> asio::awaitable<void> {
    const auto [error, size] = co_await std::move(other)(asio::as_tuple(asio::use_awaitable));
    EXPECT_EQ(error, kTimedOut);
    EXPECT_EQ(size, 0u);
  });
}

TEST_F(CancelAfterTokens, DeferredMayBeAwaitedAndLaunchedTwice) {
  const auto operation = sockets.near.async_read_some(buffer, with_timeout(1ms, asio::deferred));
  for (int i = 1; i <= 2; ++i) {
    io.restart();
    operation(outcome.handler());
    io.run();
    EXPECT_EQ(outcome.calls, i);
    EXPECT_EQ(outcome.error, kTimedOut);
  }
  EXPECT_EQ(thrown_by([&] {
              run([&]() -> asio::awaitable<void> {
                co_await sockets.near.async_read_some(buffer, with_timeout(1ms, asio::deferred));
              });
            }),
            kTimedOut);
}

TEST_F(CancelAfterTokens, UseFuture) {
  auto late = sockets.near.async_read_some(buffer, with_timeout(1ms, asio::use_future));
  io.run();
  EXPECT_EQ(thrown_by([&] { late.get(); }), kTimedOut);
  send("four");
  io.restart();
  auto in_time = sockets.near.async_read_some(buffer, with_timeout(1h, asio::use_future));
  io.run();
  EXPECT_EQ(in_time.get(), 4u);
}

// The executor of a use_future handler is one of the system's, on which nothing of the operation
// runs.
TEST_F(CancelAfterTokens, UseFutureIsCancelledOnTheExecutorOfTheObject) {
  ManualOperation operation(io.get_executor());
  deadline mine{io};
  std::thread::id thread;
  operation.on_cancel = [&] { thread = std::this_thread::get_id(); };
  auto future = operation.async_run(with_timeout(1ms, asio::use_future));
  io.run();
  EXPECT_EQ(thread, std::this_thread::get_id());
  operation.complete(kAborted);
  EXPECT_EQ(thrown_by([&] { future.get(); }), kTimedOut);
  thread = {};
  io.restart();
  auto second = operation.async_run(with_timeout(mine, 1ms, asio::use_future));
  io.run();
  EXPECT_EQ(thread, std::this_thread::get_id());
  operation.complete();
  second.get();
}

TEST_F(CancelAfterTokens, Binders) {
  const auto strand = asio::make_strand(io);
  asio::cancellation_signal signal;
  bool in_strand = false;
  const auto handler = [&](ErrorCode error, std::size_t) {
    outcome.error = error;
    in_strand = strand.running_in_this_thread();
  };
  sockets.near.async_read_some(buffer, with_timeout(1ms, asio::bind_executor(strand, handler)));
  io.run();
  EXPECT_TRUE(in_strand);
  EXPECT_EQ(outcome.error, kTimedOut);

  in_strand = false;
  io.restart();
  deadline mine{strand};
  sockets.near.async_read_some(buffer,
                               asio::bind_executor(strand, with_timeout(mine, 1ms, handler)));
  io.run();
  EXPECT_TRUE(in_strand);
  EXPECT_EQ(outcome.error, kTimedOut);

  io.restart();
  sockets.near.async_read_some(
      buffer, with_timeout(1h, asio::bind_cancellation_slot(
                                   signal.slot(),
                                   asio::bind_allocator(asio::recycling_allocator<void>(),
                                                        asio::bind_executor(strand, handler)))));
  asio::post(io, [&] { signal.emit(asio::cancellation_type::terminal); });
  io.run();
  EXPECT_EQ(outcome.error, kAborted);
}

TEST_F(CancelAfterTokens, ObjectsWithADefaultToken) {
  using Timer = asio::use_awaitable_t<>::as_default_on_t<asio::steady_timer>;
  run([&]() -> asio::awaitable<void> {
    Timer timer(io, 1h);
    deadline mine(timer.get_executor());
    for (int i = 0; i < 2; ++i) {
      const auto [error] =
          co_await timer.async_wait(with_timeout(mine, 1ms, asio::as_tuple(asio::use_awaitable)));
      EXPECT_EQ(error, kTimedOut);
    }
    timer.async_wait(with_timeout(1ms, outcome.handler()));
  });
  EXPECT_EQ(outcome.calls, 1);
}

TEST_F(CancelAfterTokens, NestedToAnyDepth) {
  deadline mine{io};
  using Times = std::array<std::chrono::nanoseconds, 3>;
  for (const auto& [outer, middle, inner] :
       {Times{1h, 1h, 20ms}, Times{1h, 20ms, 1h}, Times{20ms, 1h, 1h}}) {
    io.restart();
    const auto begin = Clock::now();
    sockets.near.async_read_some(
        buffer,
        timers::cancel_after(
            outer, timers::cancel_after(mine, middle, with_timeout(inner, outcome.handler()))));
    io.run();
    EXPECT_EQ(outcome.error, inner == 20ms ? kTimedOut : kAborted);
    EXPECT_GE(Clock::now() - begin, 20ms);
    EXPECT_EQ(mine.expired(), middle == 20ms);
  }
  EXPECT_EQ(outcome.calls, 3);
}

TEST_F(CancelAfterOperations, WaitOfATimer) {
  asio::steady_timer timer(io, 1h);
  timer.async_wait(with_timeout(1ms, outcome.handler()));
  io.run();
  EXPECT_EQ(outcome.error, kTimedOut);
}

TEST_F(CancelAfterOperations, ComposedRead) {
  send("four");
  asio::async_read(sockets.near, buffer, with_timeout(20ms, outcome.handler()));
  io.run();
  EXPECT_EQ(outcome.error, kTimedOut);
  EXPECT_EQ(outcome.size, 4u); // what had arrived
}

TEST_F(CancelAfterOperations, Connect) {
  asio::ip::tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), 0});
  asio::ip::tcp::socket socket(io);
  socket.async_connect(acceptor.local_endpoint(), with_timeout(1h, outcome.handler()));
  io.run();
  EXPECT_EQ(outcome.calls, 1);
  EXPECT_EQ(outcome.error, ErrorCode());
  acceptor.async_accept(with_timeout(1h, [&](ErrorCode error, asio::ip::tcp::socket accepted) {
    outcome.error = error;
    outcome.calls += accepted.is_open();
  }));
  io.restart();
  io.run();
  EXPECT_EQ(outcome.calls, 2);
  acceptor.async_accept(with_timeout(
      1ms, [&](ErrorCode error, const asio::ip::tcp::socket&) { outcome.error = error; }));
  io.restart();
  io.run();
  EXPECT_EQ(outcome.error, kTimedOut);
}

// Before Boost 1.84 the initiations of Beast do not tell their executor.
TEST_F(CancelAfterOperations, HttpOfBeast) {
  boost::beast::flat_buffer input;
  http::request_parser<http::string_body> parser;
  deadline mine{io};
  send("GET / HTTP/1.1\r\nHo");
  http::async_read(sockets.near, input, parser, with_timeout(20ms, outcome.handler()));
  io.run();
  EXPECT_EQ(outcome.error, kTimedOut);

  io.restart();
  http::async_read(sockets.near, input, parser, with_timeout(mine, 20ms, outcome.handler()));
  io.run();
  EXPECT_EQ(outcome.error, kTimedOut);
  EXPECT_TRUE(mine.expired());

  io.restart();
  send("st: x\r\n\r\n");
  http::async_read(sockets.near, input, parser, with_timeout(mine, 1h, outcome.handler()));
  io.run();
  EXPECT_EQ(outcome.error, ErrorCode());
  EXPECT_EQ(parser.get()[http::field::host], "x");

  io.restart();
  http::request<http::string_body> message = parser.release();
  http::async_write(sockets.near, message, with_timeout(1h, outcome.handler()));
  io.run();
  EXPECT_EQ(outcome.error, ErrorCode());
  EXPECT_EQ(outcome.calls, 4);

  io.restart();
  http::async_read(sockets.near, input, message, with_timeout(20ms, outcome.handler()));
  io.run();
  EXPECT_EQ(outcome.error, kTimedOut);
}

TEST_F(CancelAfterOperations, WebSocketOfBeast) {
  boost::beast::websocket::stream<LocalSocket> near(std::move(sockets.near));
  near.async_accept(with_timeout(20ms, outcome.handler()));
  io.run();
  EXPECT_EQ(outcome.error, kTimedOut);

  SocketPair<> others(io);
  boost::beast::websocket::stream<LocalSocket> server(std::move(others.near));
  boost::beast::websocket::stream<LocalSocket> client(std::move(others.far));
  boost::beast::flat_buffer input;
  server.async_accept(with_timeout(1h, outcome.handler()));
  client.async_handshake("x", "/", with_timeout(1h, outcome.handler()));
  io.restart();
  io.run();
  EXPECT_EQ(outcome.calls, 3);
  EXPECT_EQ(outcome.error, ErrorCode());
  server.async_read(input, with_timeout(20ms, outcome.handler()));
  auto future = client.async_read(input, with_timeout(20ms, asio::use_future));
  io.restart();
  io.run();
  EXPECT_EQ(outcome.error, kTimedOut);
  EXPECT_EQ(thrown_by([&] { future.get(); }), kTimedOut);
}

enum class Event { none, data, half, end, cancel, slot };
enum class By { hand, token, deadline };

// A read of eight bytes, and what happens 60 ms after it has begun.
class Read {
public:
  Read(asio::io_context& io, Event event, bool composed, std::chrono::nanoseconds timeout, By by)
      : sockets_(io), event_(event), alarm_(io, 60ms), timer_(io, timeout), deadline_(io) {
    alarm_.async_wait([this](ErrorCode) { happen(); });
    auto handler = asio::bind_cancellation_slot(user_.slot(), outcome.handler());
    if (by == By::token) {
      start(composed, timers::cancel_after(timeout, handler));
    } else if (by == By::deadline) {
      start(composed, timers::cancel_after(deadline_, timeout, handler));
    } else {
      start_by_hand(composed);
    }
  }

  Outcome outcome;

private:
  template <class Token> void start(bool composed, Token&& token) {
    if (composed) {
      asio::async_read(sockets_.near, asio::buffer(bytes_), std::forward<Token>(token));
    } else {
      sockets_.near.async_read_some(asio::buffer(bytes_), std::forward<Token>(token));
    }
  }

  // What one writes without a token.
  void start_by_hand(bool composed) {
    timer_.async_wait([this](ErrorCode error) {
      if (!error && outcome.calls == 0) {
        signal_.emit(asio::cancellation_type::terminal);
      }
    });
    user_.slot().assign([this](asio::cancellation_type_t type) { signal_.emit(type); });
    start(composed,
          asio::bind_cancellation_slot(signal_.slot(), [this](ErrorCode error, std::size_t size) {
            outcome.handler()(error, size);
            user_.slot().clear();
            timer_.cancel();
          }));
  }

  void happen() {
    if (event_ == Event::data) {
      asio::write(sockets_.far, asio::buffer("12345678", 8));
    } else if (event_ == Event::half) {
      asio::write(sockets_.far, asio::buffer("1234", 4));
    } else if (event_ == Event::end) {
      sockets_.far.close();
    } else if (event_ == Event::cancel) {
      sockets_.near.cancel();
    } else if (event_ == Event::slot) {
      user_.emit(asio::cancellation_type::terminal);
    }
  }

  SocketPair<> sockets_;
  Event event_;
  asio::steady_timer alarm_;
  asio::steady_timer timer_;
  deadline deadline_;
  asio::cancellation_signal user_;
  asio::cancellation_signal signal_;
  std::array<char, 8> bytes_{};
};

TEST(CancelAfterByHand, GivesTheSameResults) {
  asio::io_context io;
  std::vector<std::array<std::unique_ptr<Read>, 3>> reads;
  for (const Event event :
       {Event::none, Event::data, Event::half, Event::end, Event::cancel, Event::slot}) {
    for (const bool composed : {false, true}) {
      for (const std::chrono::nanoseconds timeout : {0ms, 20ms, 120ms, 3600'000ms}) {
        auto& three = reads.emplace_back();
        for (const By by : {By::hand, By::token, By::deadline}) {
          three[static_cast<std::size_t>(by)] =
              std::make_unique<Read>(io, event, composed, timeout, by);
        }
      }
    }
  }
  io.run_for(250ms);
  int completed = 0;
  for (const auto& [by_hand, by_token, by_deadline] : reads) {
    SCOPED_TRACE(::testing::Message() << "read " << (&by_hand - &reads.front()[0]) / 3);
    completed += by_hand->outcome.calls;
    for (const Outcome& ours : {by_token->outcome, by_deadline->outcome}) {
      EXPECT_EQ(ours.calls, by_hand->outcome.calls);
      EXPECT_EQ(ours.error, by_hand->outcome.error);
      EXPECT_EQ(ours.size, by_hand->outcome.size);
    }
  }
  EXPECT_EQ(completed, 45); // all but three, in which nothing, or half of it, comes in an hour
}

} // namespace
} // namespace timers::test
