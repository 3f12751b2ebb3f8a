// The server of http_server_async.cpp over TLS, as Beast's documentation teaches it. The timeouts
// belong to the lowest layer, and guard the handshake and the close too.
//   http_server_ssl [PORT] [THREADS] [TIMEOUT_MS] [PEM]   (default: 7777 on loopback, 2, 30000)
//
// PEM is a file with a certificate and its key. Without it the server makes a certificate that no
// authority has signed. Try it with: curl --insecure https://localhost:7777/
#include "self_signed.hpp"
#include "serving.hpp"

#include <timers/asio/beast.hpp>

#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast.hpp>

#include <chrono>
#include <cstddef>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

namespace beast = timers::beast;
namespace http = beast::http;
namespace net = boost::asio;
namespace ssl = net::ssl;
using net::ip::tcp;
using namespace std::chrono_literals;

class Session : public std::enable_shared_from_this<Session> {
public:
  Session(tcp::socket socket, ssl::context& context, std::chrono::milliseconds timeout)
      : stream_(std::move(socket), context), timeout_(timeout) {}

  void start() {
    net::dispatch(stream_.get_executor(),
                  beast::bind_front_handler(&Session::handshake, shared_from_this()));
  }

private:
  void restart_timeout() { beast::get_lowest_layer(stream_).expires_after(timeout_); }

  void handshake() {
    restart_timeout();
    stream_.async_handshake(ssl::stream_base::server,
                            [self = shared_from_this()](beast::error_code error) {
                              if (!error) {
                                self->read();
                              }
                            });
  }

  void read() {
    request_ = {};
    restart_timeout();
    http::async_read(stream_, buffer_, request_,
                     beast::bind_front_handler(&Session::on_read, shared_from_this()));
  }

  void on_read(beast::error_code error, std::size_t) {
    if (error == http::error::end_of_stream) {
      close();
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
    restart_timeout();
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
      close();
    }
  }

  void close() {
    restart_timeout();
    stream_.async_shutdown([self = shared_from_this()](beast::error_code) {});
  }

  ssl::stream<beast::tcp_stream> stream_;
  const std::chrono::milliseconds timeout_;
  beast::flat_buffer buffer_;
  http::request<http::string_body> request_;
  http::response<http::string_body> response_;
};

void load_certificate(ssl::context& context, const std::string& pem) {
  try {
    context.use_certificate_chain_file(pem);
    context.use_private_key_file(pem, ssl::context::pem);
  } catch (const boost::system::system_error& error) {
    throw std::runtime_error("no certificate with its key in " + pem + ": " +
                             error.code().message());
  }
}

int main(int argc, char** argv) {
  return serving::run([&] {
    const serving::Arguments arguments{argc, argv,
                                       "http_server_ssl [PORT] [THREADS] [TIMEOUT_MS] [PEM]", 0, 4};
    const auto threads = arguments.threads(1, 2);
    const auto timeout = arguments.duration(2, 30s);
    ssl::context context{ssl::context::tls_server};
    if (arguments.has(3)) {
      load_certificate(context, arguments.text(3));
    } else {
      serving::use_self_signed(context);
    }
    net::io_context io{static_cast<int>(threads)};
    const auto serve = [&](tcp::socket socket) {
      std::make_shared<Session>(std::move(socket), context, timeout)->start();
    };
    serving::Listener listener{io, serving::loopback(arguments.port(0)), serve,
                               serving::Strands::one_each};
    std::cout << "https on " << listener.endpoint() << std::endl;
    serving::run_until_signal(io, threads);
  });
}
