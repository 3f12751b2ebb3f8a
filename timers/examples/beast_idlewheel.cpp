// After: the same server (beast_tcp_stream.cpp) with its timeouts on idlewheel. The stream is a
// plain socket, and expires_after() has become rearm(): a few stores, unless the timer must run
// earlier than it is filed.
//   beast_idlewheel [PORT]      (default: 7777, on loopback)
#include "serving.hpp"

#include <timers/asio/driver.hpp>
#include <timers/hierarchical_wheel.hpp>

#include <boost/asio.hpp>
#include <boost/beast.hpp>

#include <chrono>
#include <iostream>
#include <memory>

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using namespace std::chrono_literals;

using Timers = timers::AsioDriver<timers::HierarchicalWheel>;

struct Timeouts {
  Timers::Timeout read;
  Timers::Timeout write;
};

class Session : public std::enable_shared_from_this<Session> {
public:
  Session(tcp::socket socket, Timers& timers, const Timeouts& timeouts)
      : socket_(std::move(socket)), timers_(timers), timeouts_(timeouts),
        timeout_(timers, [this] { serving::close(socket_); }) {}

  void read() {
    request_ = {};
    timeout_.rearm(timeouts_.read, timers_.now());
    http::async_read(socket_, buffer_, request_, [self = shared_from_this()](auto error, auto) {
      if (!error) {
        self->write();
      }
    });
  }

private:
  void write() {
    response_ = {http::status::ok, request_.version()};
    response_.keep_alive(request_.keep_alive());
    response_.prepare_payload();
    timeout_.rearm(timeouts_.write, timers_.now());
    http::async_write(socket_, response_, [self = shared_from_this()](auto error, auto) {
      if (!error && self->response_.keep_alive()) {
        self->read();
      }
    });
  }

  tcp::socket socket_;
  Timers& timers_;
  const Timeouts& timeouts_;
  Timers::Timer timeout_;
  beast::flat_buffer buffer_;
  http::request<http::empty_body> request_;
  http::response<http::empty_body> response_;
};

int main(int argc, char** argv) {
  return serving::run([&] {
    const serving::Arguments arguments{argc, argv, "beast_idlewheel [PORT]", 0, 1};
    const auto port = arguments.port(0);
    asio::io_context io{1};
    Timers timers{io.get_executor()};
    // timeout() divides, so each timeout is converted once.
    const Timeouts timeouts{.read = timers.timeout(120s), .write = timers.timeout(30s)};
    const auto serve = [&](tcp::socket socket) {
      std::make_shared<Session>(std::move(socket), timers, timeouts)->read();
    };
    serving::Listener listener{io, serving::loopback(port), serve};
    std::cout << "http on " << listener.endpoint() << std::endl;
    io.run();
  });
}
