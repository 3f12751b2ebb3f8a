// Before: a keep-alive server as Beast's documentation teaches it. tcp_stream keeps the timeout,
// and every operation arms an Asio timer and cancels it again.
//   beast_tcp_stream [PORT]      (default: 7777, on loopback)
#include "serving.hpp"

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

class Session : public std::enable_shared_from_this<Session> {
public:
  explicit Session(tcp::socket socket) : stream_(std::move(socket)) {}

  void read() {
    request_ = {};
    stream_.expires_after(120s);
    http::async_read(stream_, buffer_, request_, [self = shared_from_this()](auto error, auto) {
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
    stream_.expires_after(30s);
    http::async_write(stream_, response_, [self = shared_from_this()](auto error, auto) {
      if (!error && self->response_.keep_alive()) {
        self->read();
      }
    });
  }

  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  http::request<http::empty_body> request_;
  http::response<http::empty_body> response_;
};

int main(int argc, char** argv) {
  return serving::run([&] {
    const serving::Arguments arguments{argc, argv, "beast_tcp_stream [PORT]", 0, 1};
    const auto port = arguments.port(0);
    asio::io_context io{1};
    const auto serve = [](tcp::socket socket) {
      std::make_shared<Session>(std::move(socket))->read();
    };
    serving::Listener listener{io, serving::loopback(port), serve};
    std::cout << "http on " << listener.endpoint() << std::endl;
    io.run();
  });
}
