// A websocket echo server. websocket::stream has a timer of its own, which it can cancel and start
// again with each read. Here that timer guards the handshake and the close only. Idle clients are
// found by idle_after() of the stream below: one call for the life of the connection, and every
// transfer in either direction restarts it, for a reading of the clock and a store.
//
// What this gives up: an idle client gets no ping, and no close frame; its connection is closed.
//   websocket_echo [PORT] [IDLE_MS]   (default: 7777 on loopback, 300000)
#include "serving.hpp"

#include <timers/asio/beast.hpp>

#include <boost/asio.hpp>
#include <boost/beast.hpp>
#include <boost/beast/websocket.hpp>

#include <chrono>
#include <cstddef>
#include <iostream>
#include <memory>

namespace beast = timers::beast;
namespace net = boost::asio;
namespace websocket = beast::websocket;
using net::ip::tcp;
using namespace std::chrono_literals;

class Session : public std::enable_shared_from_this<Session> {
public:
  Session(tcp::socket socket, std::chrono::milliseconds idle_timeout)
      : websocket_(std::move(socket)) {
    beast::get_lowest_layer(websocket_).idle_after(idle_timeout);
    websocket_.set_option(websocket::stream_base::timeout{
        .handshake_timeout = 30s,
        .idle_timeout = websocket::stream_base::none(),
        .keep_alive_pings = false,
    });
  }

  void start() {
    websocket_.async_accept([self = shared_from_this()](beast::error_code error) {
      if (!error) {
        self->read();
      }
    });
  }

private:
  void read() {
    websocket_.async_read(buffer_,
                          [self = shared_from_this()](beast::error_code error, std::size_t) {
                            if (!error) {
                              self->write();
                            }
                          });
  }

  void write() {
    websocket_.text(websocket_.got_text());
    websocket_.async_write(buffer_.data(),
                           [self = shared_from_this()](beast::error_code error, std::size_t size) {
                             if (!error) {
                               self->buffer_.consume(size);
                               self->read();
                             }
                           });
  }

  websocket::stream<beast::tcp_stream> websocket_;
  beast::flat_buffer buffer_;
};

int main(int argc, char** argv) {
  return serving::run([&] {
    const serving::Arguments arguments{argc, argv, "websocket_echo [PORT] [IDLE_MS]", 0, 2};
    const auto idle_timeout = arguments.duration(1, 300s);
    net::io_context io{1};
    const auto serve = [&](tcp::socket socket) {
      std::make_shared<Session>(std::move(socket), idle_timeout)->start();
    };
    serving::Listener listener{io, serving::loopback(arguments.port(0)), serve};
    std::cout << "websocket on " << listener.endpoint() << std::endl;
    serving::run_until_signal(io);
  });
}
