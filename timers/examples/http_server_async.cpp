// A keep-alive HTTP server as Beast's documentation teaches it: callbacks, several threads that run
// one io_context, and a strand for each connection. One line makes its timeouts cheap: the alias
// `beast` names timers::beast. (The build also makes http_server_async_stock, where it names
// boost::beast.)
//   http_server_async [PORT] [THREADS] [TIMEOUT_MS]   (default: 7777 on loopback, 2, 30000)
#include "serving.hpp"

#include <timers/asio/beast.hpp>

#include <boost/asio.hpp>
#include <boost/beast.hpp>

#include <chrono>
#include <cstddef>
#include <iostream>
#include <memory>

namespace beast = timers::beast;
namespace http = beast::http;
namespace net = boost::asio;
using net::ip::tcp;
using namespace std::chrono_literals;

class Session : public std::enable_shared_from_this<Session> {
public:
  Session(tcp::socket socket, std::chrono::milliseconds timeout)
      : stream_(std::move(socket)), timeout_(timeout) {}

  // The first step on the strand, as all that follow.
  void start() {
    net::dispatch(stream_.get_executor(),
                  beast::bind_front_handler(&Session::read, shared_from_this()));
  }

private:
  void read() {
    request_ = {};
    stream_.expires_after(timeout_);
    http::async_read(stream_, buffer_, request_,
                     beast::bind_front_handler(&Session::on_read, shared_from_this()));
  }

  void on_read(beast::error_code error, std::size_t) {
    if (error == http::error::end_of_stream) {
      stream_.socket().shutdown(tcp::socket::shutdown_send, error);
    } else if (!error) {
      write();
    }
  }

  void write() {
    response_ = {http::status::ok, request_.version()};
    response_.set(http::field::content_type, "text/plain");
    response_.keep_alive(request_.keep_alive());
    response_.body() = "hello\n";
    response_.prepare_payload();
    stream_.expires_after(timeout_);
    http::async_write(stream_, response_,
                      beast::bind_front_handler(&Session::on_write, shared_from_this()));
  }

  void on_write(beast::error_code error, std::size_t) {
    if (error) {
      return;
    }
    if (response_.keep_alive()) {
      read();
    } else {
      stream_.socket().shutdown(tcp::socket::shutdown_send, error);
    }
  }

  beast::tcp_stream stream_;
  const std::chrono::milliseconds timeout_;
  beast::flat_buffer buffer_;
  http::request<http::string_body> request_;
  http::response<http::string_body> response_;
};

int main(int argc, char** argv) {
  return serving::run([&] {
    const serving::Arguments arguments{argc, argv,
                                       "http_server_async [PORT] [THREADS] [TIMEOUT_MS]", 0, 3};
    const auto threads = arguments.threads(1, 2);
    const auto timeout = arguments.duration(2, 30s);
    net::io_context io{static_cast<int>(threads)};
    const auto serve = [&](tcp::socket socket) {
      std::make_shared<Session>(std::move(socket), timeout)->start();
    };
    serving::Listener listener{io, serving::loopback(arguments.port(0)), serve,
                               serving::Strands::one_each};
    std::cout << "http on " << listener.endpoint() << std::endl;
    serving::run_until_signal(io, threads);
  });
}
