// An echo server that closes a connection on which nothing came for ten seconds.
//   echo_server [PORT]      (default: 7777, on loopback)
#include <timers/asio/driver.hpp>
#include <timers/hierarchical_wheel.hpp>

#include <boost/asio.hpp>

#include <array>
#include <chrono>
#include <iostream>
#include <memory>
#include <string>

namespace asio = boost::asio;
using asio::ip::tcp;
using namespace std::chrono_literals;

using Timers = timers::AsioDriver<timers::HierarchicalWheel>;

class Session : public std::enable_shared_from_this<Session> {
public:
  Session(tcp::socket socket, Timers& timers, Timers::Timeout idle_timeout)
      : socket_(std::move(socket)), timers_(timers), idle_timeout_(idle_timeout),
        idle_(timers, [this] { socket_.close(); }) {}

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
  const auto port = static_cast<unsigned short>(argc > 1 ? std::stoi(argv[1]) : 7777);
  asio::io_context io{1};
  Timers timers{io.get_executor()};
  const auto ten_seconds = timers.timeout(10s); // once: it divides
  tcp::acceptor acceptor{io, {asio::ip::address_v4::loopback(), port}};
  const auto accept = [&](const auto& again) -> void {
    acceptor.async_accept([&, again](auto error, tcp::socket socket) {
      if (!error) {
        std::make_shared<Session>(std::move(socket), timers, ten_seconds)->read();
      }
      again(again);
    });
  };
  accept(accept);
  std::cout << "echo on " << acceptor.local_endpoint() << std::endl;
  io.run();
}
