// An HTTP client: one request, and 30 seconds for all of it. io.run() returns when the answer is
// there, and does not wait for the timeout to pass.
//   http_client HOST PORT [TARGET] [TIMEOUT_MS]   (default: /, 30000)
#include "serving.hpp"

#include <timers/asio/beast.hpp>

#include <boost/asio.hpp>
#include <boost/beast.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <utility>

namespace beast = timers::beast;
namespace http = beast::http;
namespace net = boost::asio;
using net::ip::tcp;
using namespace std::chrono_literals;

using Response = http::response<http::string_body>;

net::awaitable<Response> get(std::string host, std::string port, std::string target,
                             std::chrono::milliseconds timeout) {
  const auto executor = co_await net::this_coro::executor;
  tcp::resolver resolver{executor};
  const auto endpoints = co_await resolver.async_resolve(host, port, net::use_awaitable);

  beast::tcp_stream stream{executor};
  stream.expires_after(timeout);
  co_await stream.async_connect(endpoints, net::use_awaitable);

  http::request<http::empty_body> request{http::verb::get, target, 11};
  request.set(http::field::host, host);
  request.keep_alive(false);
  co_await http::async_write(stream, request, net::use_awaitable);

  beast::flat_buffer buffer;
  Response response;
  co_await http::async_read(stream, buffer, response, net::use_awaitable);
  co_return response;
}

// Throws std::runtime_error that says what could not be got, and why.
Response run_to_end(net::awaitable<Response> request, const std::string& url) {
  net::io_context io{1};
  std::exception_ptr failure;
  Response response;
  net::co_spawn(io, std::move(request), [&](std::exception_ptr thrown, Response got) {
    failure = thrown;
    response = std::move(got);
  });
  io.run(); // returns at once when there is a response, or an error
  try {
    if (failure) {
      std::rethrow_exception(failure);
    }
  } catch (const boost::system::system_error& error) {
    throw std::runtime_error("cannot get " + url + ": " + error.code().message());
  }
  return response;
}

int main(int argc, char** argv) {
  return serving::run([&] {
    const serving::Arguments arguments{argc, argv, "http_client HOST PORT [TARGET] [TIMEOUT_MS]", 2,
                                       4};
    const std::string host = arguments.text(0);
    const std::string port = arguments.text(1);
    const std::string target = arguments.text(2, "/");
    const Response response = run_to_end(get(host, port, target, arguments.duration(3, 30s)),
                                         "http://" + host + ":" + port + target);
    std::cout << response.result_int() << ' ' << response.reason() << '\n'
              << response.body() << std::flush;
  });
}
