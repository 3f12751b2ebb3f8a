// The types that basic_stream is made with, and what can be made of it. Most of it is checked by
// the compiler.
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include "timers/asio/beast.hpp" // after Beast's own headers; basic_stream_layers_test.cpp: before

#include "timers/asio/basic_stream.hpp"
#include "timers/hashed_wheel.hpp"
#include "timers/testing/streams.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/io_context_strand.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/spawn.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace timers::test {
namespace {

using namespace std::chrono_literals;
namespace asio = boost::asio;
namespace beast = timers::beast;
namespace http = beast::http;
using asio::ip::tcp;

using Context = asio::io_context::executor_type;

// --- Names and special members.

static_assert(std::is_same_v<tcp_stream, basic_stream<tcp>>);
static_assert(std::is_same_v<tcp_stream::socket_type, tcp::socket>);
static_assert(std::is_same_v<tcp_stream::executor_type, asio::any_io_executor>);
static_assert(std::is_same_v<tcp_stream::protocol_type, tcp>);
static_assert(std::is_same_v<tcp_stream::endpoint_type, tcp::endpoint>);
static_assert(
    std::is_same_v<tcp_stream::rebind_executor<Context>::other, basic_stream<tcp, Context>>);
static_assert(std::is_same_v<beast::basic_stream<tcp, Context, beast::simple_rate_policy>,
                             basic_stream<tcp, Context, boost::beast::simple_rate_policy>>);
static_assert(std::is_same_v<decltype(std::declval<tcp_stream&>().socket()), tcp::socket&>);
static_assert(std::is_same_v<decltype(std::declval<tcp_stream&>().release_socket()), tcp::socket>);
static_assert(std::is_same_v<http::request<http::string_body>,
                             boost::beast::http::request<boost::beast::http::string_body>>);

static_assert(std::is_constructible_v<tcp_stream, asio::io_context&>);
static_assert(std::is_constructible_v<tcp_stream, asio::any_io_executor>);
static_assert(std::is_constructible_v<tcp_stream, asio::strand<Context>>);
static_assert(std::is_constructible_v<tcp_stream, asio::io_context&, tcp>);
static_assert(std::is_constructible_v<tcp_stream, Context, tcp::endpoint>);
static_assert(std::is_constructible_v<tcp_stream, Context, tcp, int>);
static_assert(std::is_constructible_v<tcp_stream, tcp::socket>);
static_assert(std::is_constructible_v<tcp_stream, asio::basic_stream_socket<tcp, Context>>);
static_assert(std::is_constructible_v<tcp_stream, basic_stream<tcp, Context>>);
static_assert(
    std::is_constructible_v<tcp_stream, boost::beast::unlimited_rate_policy, asio::io_context&>);
static_assert(!std::is_convertible_v<asio::io_context&, tcp_stream>);
static_assert(!std::is_constructible_v<tcp_stream, int>);
static_assert(!std::is_default_constructible_v<tcp_stream>);
static_assert(std::is_move_constructible_v<tcp_stream>);
static_assert(!std::is_move_assignable_v<tcp_stream>);
static_assert(!std::is_copy_constructible_v<tcp_stream>);
static_assert(!std::is_constructible_v<tcp_stream, tcp_stream&>);

// Beast has this; a stream without next_layer() is the lowest layer, where deadlines are set.
static_assert(
    std::is_same_v<decltype(beast::get_lowest_layer(std::declval<tcp_stream&>())), tcp_stream&>);

// Stackful coroutines, for which Boost.Context would have to be linked.
template <class Result, class Started> constexpr bool kResultIs = std::is_same_v<Result, Started>;
static_assert(
    kResultIs<std::size_t, decltype(std::declval<tcp_stream&>().async_read_some(
                               asio::mutable_buffer(), std::declval<asio::yield_context>()))>);
static_assert(kResultIs<tcp::endpoint, decltype(std::declval<tcp_stream&>().async_connect(
                                           std::declval<tcp::resolver::results_type>(),
                                           std::declval<asio::yield_context>()))>);

// --- Executors, and services.

template <class Stream, class Executor> void times_out(asio::io_context& io, Executor executor) {
  Connected<Stream> pair(executor);
  Operation read;
  Operation late;
  pair.stream.expires_after(10ms);
  pair.read(read.note());
  io.restart();
  io.run();
  EXPECT_EQ(read.result(), kTimedOut);
  pair.read(late.note());
  io.restart();
  io.run();
  EXPECT_EQ(late.result(), kTimedOut);
}

TEST(StreamTypes, TimeOutOnEveryExecutor) {
  asio::io_context io{1};
  times_out<basic_stream<Unix, Context>>(io, io.get_executor());
  times_out<basic_stream<Unix, asio::strand<Context>>>(io, asio::make_strand(io));
  times_out<basic_stream<Unix, asio::strand<asio::any_io_executor>>>(
      io, asio::make_strand(asio::any_io_executor(io.get_executor())));
  times_out<asio::use_awaitable_t<>::as_default_on_t<unix_stream>>(io, io.get_executor());
#if !defined(BOOST_ASIO_NO_TS_EXECUTORS)
  times_out<basic_stream<Unix, asio::io_context::strand>>(io, asio::io_context::strand(io));
#endif
}

TEST(StreamTypes, TimeOutOnAThreadPool) {
  asio::thread_pool pool(1);
  Connected<basic_stream<Unix, asio::thread_pool::executor_type>> pair(pool.get_executor());
  Operation read;
  asio::post(pool, [&] {
    pair.stream.expires_after(10ms);
    pair.read(read.note());
  });
  pool.join();
  EXPECT_EQ(read.result(), kTimedOut);
}

TEST(StreamTypes, TimeOutOnOtherServices) {
  asio::io_context io{1};
  using Limitless = boost::beast::unlimited_rate_policy;
  times_out<
      basic_stream<Unix, Context, Limitless, basic_wheel_service<HierarchicalWheel, NullMutex>>>(
      io, io.get_executor());
  times_out<basic_stream<Unix, Context, Limitless, basic_wheel_service<HashedWheel>>>(
      io, io.get_executor());
}

TEST(StreamTypes, AStreamTakesASocketOverAndGivesItAway) {
  asio::io_context io;
  tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), 0});
  tcp::socket plain(io);
  plain.connect(acceptor.local_endpoint());
  tcp_stream stream(std::move(plain));
  tcp::socket& inside = stream.socket();
  EXPECT_TRUE(inside.is_open());
  EXPECT_EQ(&stream.lowest_layer(), &inside);
  tcp::socket back = stream.release_socket();
  EXPECT_TRUE(back.is_open());
}

} // namespace
} // namespace timers::test
