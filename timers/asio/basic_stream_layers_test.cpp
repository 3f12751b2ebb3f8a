// What is written for Beast's streams works over these, after the one-line edit: HTTP and
// WebSocket, with all kinds of completion tokens (CONTRACT.md, line 42). basic_stream_tls_test.cpp
// has TLS.
#include "timers/asio/beast.hpp" // before Beast's own headers; basic_stream_types_test.cpp: after

#include "timers/testing/streams.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <exception>
#include <future>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

namespace timers::test {
namespace {

namespace asio = boost::asio;
// The edit.
namespace beast = timers::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;

using namespace std::chrono_literals;

using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;
using Stream = beast::basic_stream<Unix>;

static_assert(std::is_same_v<beast::tcp_stream, timers::tcp_stream>);
static_assert(std::is_same_v<Stream, timers::test::unix_stream>);
static_assert(std::is_same_v<beast::flat_buffer, boost::beast::flat_buffer>);
static_assert(std::is_same_v<beast::error_code, boost::system::error_code>);
static_assert(std::is_same_v<decltype(beast::error::timeout), boost::beast::error>);
static_assert(beast::is_sync_stream<Stream>::value && beast::is_async_stream<Stream>::value);
static_assert(std::is_same_v<beast::lowest_layer_type<Stream>, Stream>);
static_assert(std::is_same_v<beast::lowest_layer_type<websocket::stream<Stream>>, Stream>);

class Layers : public testing::Test {
protected:
  void run() {
    io.restart();
    io.run_for(kPatience);
    EXPECT_TRUE(io.stopped()) << "an operation is pending that should have ended";
  }

  asio::io_context io;
  Stream client{io};
  Stream server{io};
  beast::flat_buffer client_buffer;
  beast::flat_buffer server_buffer;
  Request request{http::verb::get, "/", 11, std::string(100'000, 'q')};
  Response response{http::status::ok, 11, std::string(100'000, 'r')};

  void SetUp() override {
    asio::local::connect_pair(client.socket(), server.socket());
    request.prepare_payload();
    response.prepare_payload();
  }
};

TEST_F(Layers, HttpWithCallbacks) {
  Request received;
  Response answer;
  Operation sent;
  Operation answered;
  client.expires_after(kPatience);
  server.expires_after(kPatience);
  http::async_write(client, request, sent.note());
  http::async_read(server, server_buffer, received, [&](beast::error_code error, std::size_t) {
    EXPECT_FALSE(error);
    server.expires_after(kPatience);
    http::async_write(server, response,
                      [&](beast::error_code failed, std::size_t) { EXPECT_FALSE(failed); });
  });
  http::async_read(client, client_buffer, answer, answered.note());
  run();
  EXPECT_FALSE(sent.result()->error);
  EXPECT_FALSE(answered.result()->error);
  EXPECT_EQ(received.body(), request.body());
  EXPECT_EQ(answer.body(), response.body());
}

TEST_F(Layers, HttpTimesOut) {
  Operation read;
  Request received;
  server.expires_after(kSoon);
  http::async_read(server, server_buffer, received, read.note());
  run();
  EXPECT_EQ(read.result()->error, beast::error::timeout);
  EXPECT_FALSE(beast::get_lowest_layer(server).socket().is_open());
}

TEST_F(Layers, ComposedOperationsOfAsio) {
  std::string sent(1'000'000, 's');
  std::string received(sent.size(), ' ');
  Operation write;
  Operation read;
  client.expires_after(kPatience);
  server.expires_after(kPatience);
  asio::async_write(client, asio::buffer(sent), write.note());
  asio::async_read(server, asio::buffer(received), read.note());
  run();
  EXPECT_EQ(write.result(), success(sent.size()));
  EXPECT_EQ(read.result(), success(sent.size()));
  EXPECT_EQ(received, sent);
}

asio::awaitable<void> serve(Stream& stream, const Response& response) {
  beast::flat_buffer buffer;
  Request request;
  stream.expires_after(kPatience);
  co_await http::async_read(stream, buffer, request, asio::use_awaitable);
  stream.expires_after(kPatience);
  co_await http::async_write(stream, response, asio::use_awaitable);
  stream.expires_after(kSoon);
  try {
    co_await http::async_read(stream, buffer, request, asio::use_awaitable);
    ADD_FAILURE() << "it should have timed out";
  } catch (const boost::system::system_error& error) {
    EXPECT_EQ(error.code(), beast::error::timeout);
  }
}

TEST_F(Layers, HttpWithCoroutines) {
  std::exception_ptr failed;
  Response answer;
  asio::co_spawn(io, serve(server, response), [&](std::exception_ptr error) { failed = error; });
  asio::co_spawn(
      io,
      [&]() -> asio::awaitable<void> {
        client.expires_after(kPatience);
        co_await http::async_write(client, request, asio::use_awaitable);
        co_await http::async_read(client, client_buffer, answer, asio::use_awaitable);
      },
      asio::detached);
  run();
  EXPECT_FALSE(failed);
  EXPECT_EQ(answer.body(), response.body());
}

TEST_F(Layers, ADefaultTokenOfTheExecutor) {
  using Awaited = asio::use_awaitable_t<>::as_default_on_t<Stream>;
  static_assert(std::is_same_v<Awaited, asio::use_awaitable_t<>::as_default_on_t<unix_stream>>);
  std::size_t read = 0;
  asio::co_spawn(
      io,
      [&]() -> asio::awaitable<void> {
        Awaited stream(server.release_socket());
        char buffer[4];
        stream.expires_after(kPatience);
        co_await stream.async_write_some(asio::buffer("four", 4));
        read = co_await stream.async_read_some(asio::buffer(buffer));
      },
      asio::detached);
  asio::write(client, asio::buffer("four", 4));
  run();
  EXPECT_EQ(read, 4U);
}

TEST_F(Layers, FuturesAndDeferredOperations) {
  char buffer[4];
  client.expires_after(kPatience);
  server.expires_after(kPatience);
  auto operation = server.async_read_some(asio::buffer(buffer), asio::deferred);
  auto written = client.async_write_some(asio::buffer("four", 4), asio::use_future);
  auto read = std::move(operation)(asio::use_future); // begins only here
  run();
  EXPECT_EQ(written.get(), 4U);
  EXPECT_EQ(read.get(), 4U);
  server.expires_after(kSoon);
  auto late = server.async_read_some(asio::buffer(buffer), asio::use_future);
  run();
  try {
    late.get();
    ADD_FAILURE() << "it should have timed out";
  } catch (const boost::system::system_error& error) {
    EXPECT_EQ(error.code(), beast::error::timeout);
  }
}

asio::awaitable<void> echo(websocket::stream<Stream>& stream) {
  beast::flat_buffer buffer;
  co_await stream.async_accept(asio::use_awaitable);
  co_await stream.async_read(buffer, asio::use_awaitable);
  co_await stream.async_write(buffer.data(), asio::use_awaitable);
  try {
    co_await stream.async_read(buffer, asio::use_awaitable);
    ADD_FAILURE() << "it should have been closed";
  } catch (const boost::system::system_error& error) {
    EXPECT_EQ(error.code(), websocket::error::closed);
  }
}

asio::awaitable<std::string> talk(websocket::stream<Stream>& stream, std::string text) {
  beast::flat_buffer buffer;
  co_await stream.async_handshake("localhost", "/", asio::use_awaitable);
  co_await stream.async_write(asio::buffer(text), asio::use_awaitable);
  co_await stream.async_read(buffer, asio::use_awaitable);
  co_await stream.async_close(websocket::close_code::normal, asio::use_awaitable);
  co_return beast::buffers_to_string(buffer.data());
}

TEST_F(Layers, WebSocketWithCoroutines) {
  websocket::stream<Stream> one(std::move(server));
  websocket::stream<Stream> other(std::move(client));
  one.set_option(websocket::stream_base::timeout::suggested(beast::role_type::server));
  other.set_option(websocket::stream_base::timeout::suggested(beast::role_type::client));
  beast::get_lowest_layer(one).expires_never();
  beast::get_lowest_layer(other).expires_never();
  const std::string text(100'000, 'w');
  std::string echoed;
  std::exception_ptr failed;
  asio::co_spawn(io, echo(one), [&](std::exception_ptr error) { failed = error; });
  asio::co_spawn(io, talk(other, text),
                 [&](std::exception_ptr, std::string answer) { echoed = answer; });
  run();
  EXPECT_FALSE(failed);
  EXPECT_EQ(echoed, text);
  EXPECT_FALSE(beast::get_lowest_layer(one).socket().is_open()) << "teardown closes it";
}

TEST_F(Layers, WebSocketWithCallbacksAndTheStreamsDeadline) {
  websocket::stream<Stream> one(std::move(server));
  websocket::stream<Stream> other(std::move(client));
  Operation accepted;
  Operation shaken;
  Operation read;
  beast::get_lowest_layer(one).expires_after(kPatience);
  one.async_accept(accepted.note());
  other.async_handshake("localhost", "/", shaken.note());
  run();
  EXPECT_EQ(accepted.result(), success(0));
  EXPECT_EQ(shaken.result(), success(0));
  beast::get_lowest_layer(one).expires_after(kSoon);
  one.async_read(server_buffer, read.note());
  run();
  EXPECT_EQ(read.result()->error, beast::error::timeout);
}

TEST_F(Layers, WebSocketsOwnTimeoutClosesTheStream) {
  websocket::stream<Stream> one(std::move(server));
  Operation accepted;
  one.set_option(websocket::stream_base::timeout{kSoon, websocket::stream_base::none(), false});
  one.async_accept(accepted.note());
  run();
  EXPECT_EQ(accepted.result()->error, beast::error::timeout);
  EXPECT_FALSE(beast::get_lowest_layer(one).socket().is_open());
}

} // namespace
} // namespace timers::test
