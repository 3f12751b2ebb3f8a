// The drop-in layer in stackful coroutines, by asio::yield_context (CONTRACT.md, lines 42 to 44).
// Needs Boost.Context.
#if !defined(TIMERS_TEST_STACKFUL)

#include <gtest/gtest.h>

#include <cstdlib>

// Where scripts/test has installed everything, nothing may be missing.
TEST(Stackful, Coroutines) {
  ASSERT_EQ(std::getenv("IDLEWHEEL_SKIP_NOTHING"), nullptr) << "Boost.Context was not found";
  GTEST_SKIP() << "Boost.Context was not found";
}

#else

#include "timers/asio/beast.hpp"
#include "timers/asio/cancel_after.hpp"
#include "timers/asio/steady_timer.hpp"
#include "timers/testing/streams.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/spawn.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <exception>
#include <utility>

namespace timers::test {
namespace {

namespace asio = boost::asio;
namespace beast = timers::beast;
namespace http = beast::http;
using boost::system::error_code;
using namespace std::chrono_literals;

class Stackful : public testing::Test {
protected:
  template <class Function> void spawn(Function function) {
    asio::spawn(io, std::move(function), [](std::exception_ptr thrown) {
      if (thrown) {
        std::rethrow_exception(thrown);
      }
    });
  }

  void run() {
    io.run_for(kPatience);
    EXPECT_TRUE(io.stopped()) << "a coroutine waits that should have ended";
  }

  asio::io_context io;
};

TEST_F(Stackful, ServeHttpAndTimeOut) {
  beast::basic_stream<Unix> client(io);
  beast::basic_stream<Unix> server(io);
  asio::local::connect_pair(client.socket(), server.socket());
  error_code end;
  http::response<http::empty_body> answer;
  spawn([&](asio::yield_context yield) {
    beast::flat_buffer buffer;
    http::request<http::empty_body> request;
    server.expires_after(kPatience);
    http::async_read(server, buffer, request, yield);
    server.expires_after(kPatience);
    http::async_write(server, http::response<http::empty_body>(http::status::ok, 11), yield);
    server.expires_after(kSoon);
    http::async_read(server, buffer, request, yield[end]);
  });
  spawn([&](asio::yield_context yield) {
    beast::flat_buffer buffer;
    client.expires_never();
    http::async_write(client, http::request<http::empty_body>(http::verb::get, "/", 11), yield);
    http::async_read(client, buffer, answer, yield);
  });
  run();
  EXPECT_EQ(answer.result(), http::status::ok);
  EXPECT_EQ(end, beast::error::timeout);
}

TEST_F(Stackful, WaitForATimer) {
  timers::steady_timer timer(io);
  error_code cancelled;
  spawn([&](asio::yield_context yield) {
    timer.expires_after(1ms);
    timer.async_wait(yield);
    timer.expires_after(kPatience);
    timer.async_wait(yield[cancelled]);
  });
  spawn([&](asio::yield_context yield) {
    timers::async_sleep(yield.get_executor(), kSoon, yield);
    EXPECT_EQ(timer.cancel(), 1U);
  });
  run();
  EXPECT_EQ(cancelled, asio::error::operation_aborted);
}

TEST_F(Stackful, TellATimeoutFromACancel) {
  Unix::socket near(io);
  Unix::socket far(io);
  asio::local::connect_pair(near, far);
  timers::deadline deadline(io.get_executor());
  error_code timed_out;
  error_code again;
  spawn([&](asio::yield_context yield) {
    std::array<char, 1> byte{};
    near.async_read_some(asio::buffer(byte), timers::with_timeout(kSoon, yield[timed_out]));
    near.async_read_some(asio::buffer(byte), timers::cancel_after(deadline, kSoon, yield[again]));
  });
  run();
  EXPECT_EQ(timed_out, asio::error::timed_out);
  EXPECT_EQ(again, asio::error::operation_aborted);
}

} // namespace
} // namespace timers::test

#endif
