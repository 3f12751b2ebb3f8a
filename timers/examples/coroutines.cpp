// An echo server of coroutines, with a timeout for each operation in place of one for the stream.
// with_timeout() completes with timed_out, which no other cancellation does, so the session can say
// goodbye. cancel_after() just cancels. async_sleep() is a pause.
//   coroutines [PORT] [IDLE_MS]   (default: 7777 on loopback, 10000)
#include "serving.hpp"

#include <timers/asio/cancel_after.hpp>
#include <timers/asio/net.hpp>

#include <boost/asio.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <iostream>
#include <string_view>
#include <utility>

namespace net = timers::net;
using net::ip::tcp;
using namespace std::chrono_literals;

constexpr auto kAsTuple = net::as_tuple(net::use_awaitable); // errors as values

net::awaitable<void> echo(tcp::socket socket, std::chrono::milliseconds idle_timeout) {
  timers::deadline deadline{socket.get_executor()}; // for one operation after the other
  std::array<char, 4096> data;
  for (;;) {
    const auto [error, size] = co_await socket.async_read_some(
        net::buffer(data), timers::with_timeout(deadline, idle_timeout, kAsTuple));
    if (error == net::error::timed_out) {
      constexpr std::string_view kGoodbye = "too slow\n";
      co_await net::async_write(socket, net::buffer(kGoodbye),
                                timers::cancel_after(deadline, 1s, kAsTuple));
    }
    if (error) {
      co_return;
    }
    const auto [failure, sent] = co_await net::async_write(
        socket, net::buffer(data, size), timers::cancel_after(deadline, idle_timeout, kAsTuple));
    if (failure) {
      co_return;
    }
  }
}

net::awaitable<void> accept(tcp::acceptor acceptor, std::chrono::milliseconds idle_timeout) {
  serving::AcceptFailures failures;
  for (;;) {
    auto [error, socket] = co_await acceptor.async_accept(kAsTuple);
    if (error) {
      failures.say(error.message());
      co_await net::async_sleep(acceptor.get_executor(), failures.kPause, net::use_awaitable);
    } else {
      net::co_spawn(acceptor.get_executor(), echo(std::move(socket), idle_timeout), net::detached);
    }
  }
}

int main(int argc, char** argv) {
  return serving::run([&] {
    const serving::Arguments arguments{argc, argv, "coroutines [PORT] [IDLE_MS]", 0, 2};
    const auto idle_timeout = arguments.duration(1, 10s);
    net::io_context io{1};
    auto acceptor = serving::listen(io.get_executor(), serving::loopback(arguments.port(0)));
    std::cout << "echo on " << acceptor.local_endpoint() << std::endl;
    net::co_spawn(io, accept(std::move(acceptor), idle_timeout), net::detached);
    serving::run_until_signal(io);
  });
}
