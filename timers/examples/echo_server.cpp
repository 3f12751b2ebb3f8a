// An echo server that closes a connection on which nothing came for ten seconds.
//   echo_server [PORT]      (default: 7777, on loopback)
#include "serving.hpp"

#include <timers/asio/driver.hpp>
#include <timers/hierarchical_wheel.hpp>

#include <boost/asio.hpp>

#include <array>
#include <chrono>
#include <iostream>
#include <memory>

namespace asio = boost::asio;
using asio::ip::tcp;
using namespace std::chrono_literals;

using Timers = timers::AsioDriver<timers::HierarchicalWheel>;

class Session : public std::enable_shared_from_this<Session> {
public:
  Session(tcp::socket socket, Timers& timers, Timers::Timeout idle_timeout)
      : socket_(std::move(socket)), timers_(timers), idle_timeout_(idle_timeout),
        idle_(timers, [this] { serving::close(socket_); }) {}

  void read() {
    idle_.rearm(idle_timeout_, timers_.now());
    socket_.async_read_some(asio::buffer(data_),
                            [self = shared_from_this()](auto error, auto size) {
                              if (!error) {
                                self->write(size);
                              }
                            });
  }

private:
  void write(std::size_t size) {
    asio::async_write(socket_, asio::buffer(data_, size),
                      [self = shared_from_this()](auto error, auto) {
                        if (!error) {
                          self->read();
                        }
                      });
  }

  tcp::socket socket_;
  Timers& timers_;
  const Timers::Timeout idle_timeout_;
  Timers::Timer idle_;
  std::array<char, 4096> data_;
};

int main(int argc, char** argv) {
  return serving::run([&] {
    const serving::Arguments arguments{argc, argv, "echo_server [PORT]", 0, 1};
    const auto port = arguments.port(0);
    asio::io_context io{1};
    Timers timers{io.get_executor()};
    const auto ten_seconds = timers.timeout(10s); // once: it divides
    const auto serve = [&](tcp::socket socket) {
      std::make_shared<Session>(std::move(socket), timers, ten_seconds)->read();
    };
    serving::Listener listener{io, serving::loopback(port), serve};
    std::cout << "echo on " << listener.endpoint() << std::endl;
    io.run();
  });
}
