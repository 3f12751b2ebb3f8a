// A program of Asio with one line changed.
#include "timers/asio/net.hpp"

#include "timers/testing/steady_timers.hpp"

#include <boost/asio.hpp>
#include <gtest/gtest.h>

#include <string>
#include <type_traits>

namespace {

namespace net = timers::net; // the line

using namespace timers::test;

static_assert(std::is_same_v<net::steady_timer, timers::steady_timer>);
static_assert(std::is_same_v<net::io_context, boost::asio::io_context>);
static_assert(std::is_same_v<net::ip::tcp::socket, boost::asio::ip::tcp::socket>);
static_assert(std::is_same_v<net::system_timer, boost::asio::system_timer>);

// Sends a word to itself, with a timeout that each step moves, and sleeps a little.
net::awaitable<void> converse(std::string& heard) {
  const auto executor = co_await net::this_coro::executor;
  net::ip::tcp::acceptor acceptor(executor, {net::ip::address_v4::loopback(), 0});
  net::ip::tcp::socket client(executor);
  net::steady_timer timeout(executor, kPatience);
  timeout.async_wait([&](error_code error) {
    if (!error) {
      acceptor.close();
    }
  });
  co_await client.async_connect(acceptor.local_endpoint(), net::use_awaitable);
  auto server = co_await acceptor.async_accept(net::use_awaitable);
  timeout.rearm_after(kPatience);
  co_await net::async_write(client, net::buffer("word", 4), net::use_awaitable);
  heard.resize(4);
  co_await net::async_read(server, net::buffer(heard), net::use_awaitable);
  const auto start = Clock::now();
  co_await net::async_sleep(executor, 20ms, net::use_awaitable);
  EXPECT_GE(Clock::now() - start, 20ms);
  timeout.cancel();
}

TEST(Net, IsAsioWithAnotherTimer) {
  net::io_context io;
  std::string heard;
  net::co_spawn(io, converse(heard), net::detached);
  run_out(io);
  EXPECT_EQ(heard, "word");
}

TEST(AsyncSleep, CompletesAfterItsDuration) {
  net::io_context io;
  Log log;
  const auto start = Clock::now();
  net::async_sleep(io.get_executor(), 40ms, log.handler(2));
  net::async_sleep(io.get_executor(), 0s, log.handler(1));
  run_out(io);
  EXPECT_GE(Clock::now() - start, 40ms);
  EXPECT_EQ(log.entries, (std::vector<Log::Entry>{{1, kSuccess}, {2, kSuccess}}));
}

TEST(AsyncSleep, BeginsWhenItIsStarted) {
  net::io_context io;
  Log log;
  auto sleep = net::async_sleep(io.get_executor(), 40ms, net::deferred);
  const auto start = Clock::now();
  std::move(sleep)(log.handler(1));
  run_out(io);
  EXPECT_GE(Clock::now() - start, 40ms);
}

TEST(AsyncSleep, EndsWhenItIsCancelled) {
  net::io_context io;
  Log log;
  net::cancellation_signal signal;
  net::async_sleep(io.get_executor(), kLong,
                   net::bind_cancellation_slot(signal.slot(), log.handler(1)));
  signal.emit(net::cancellation_type::total);
  run_out(io);
  EXPECT_EQ(log.entries, (std::vector<Log::Entry>{{1, kAborted}}));
}

TEST(AsyncSleep, IsDestroyedWithItsContext) {
  const auto kept = std::make_shared<int>();
  {
    net::io_context io;
    net::async_sleep(io.get_executor(), kLong, [kept](error_code) { FAIL(); });
    EXPECT_EQ(kept.use_count(), 2);
  }
  EXPECT_EQ(kept.use_count(), 1);
}

TEST(AsyncSleep, WorksWithFuturesOnAPool) {
  net::thread_pool pool(1);
  auto done = net::async_sleep(pool.get_executor(), 20ms, net::use_future);
  EXPECT_EQ(done.wait_for(kPatience), std::future_status::ready);
  pool.join();
}

} // namespace
