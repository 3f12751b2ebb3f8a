// HTTP over a Unix socket, as local daemons speak it. basic_stream takes any stream protocol of
// Asio, and each connection is a coroutine. Try it with: curl --unix-socket PATH http://localhost/
//   http_unix PATH [TIMEOUT_MS]   (default: 30000)
#include "serving.hpp"

#include <timers/asio/beast.hpp>

#include <boost/asio.hpp>
#include <boost/beast.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>
#include <utility>

namespace beast = timers::beast;
namespace http = beast::http;
namespace net = boost::asio;
using local = net::local::stream_protocol;
using namespace std::chrono_literals;

using Stream = beast::basic_stream<local>;

net::awaitable<void> answer(Stream stream, std::chrono::milliseconds timeout) {
  beast::flat_buffer buffer;
  bool keep_alive = true;
  while (keep_alive) {
    http::request<http::string_body> request;
    stream.expires_after(timeout);
    co_await http::async_read(stream, buffer, request, net::use_awaitable);

    http::response<http::string_body> response{http::status::ok, request.version()};
    keep_alive = request.keep_alive();
    response.keep_alive(keep_alive);
    response.body() = "hello\n";
    response.prepare_payload();
    stream.expires_after(timeout);
    co_await http::async_write(stream, response, net::use_awaitable);
  }
}

int main(int argc, char** argv) {
  return serving::run([&] {
    const serving::Arguments arguments{argc, argv, "http_unix PATH [TIMEOUT_MS]", 1, 2};
    const std::string path = arguments.text(0);
    const auto timeout = arguments.duration(1, 30s);
    net::io_context io{1};
    const auto serve = [&](local::socket socket) {
      // An error, such as the timeout, ends the coroutine, and with its stream the connection.
      net::co_spawn(io, answer(Stream{std::move(socket)}, timeout), [](std::exception_ptr) {});
    };
    serving::Listener listener{io, local::endpoint(path), serve};
    std::cout << "http on " << listener.endpoint() << std::endl;
    serving::run_until_signal(io);
    std::remove(path.c_str());
  });
}
