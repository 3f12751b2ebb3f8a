// An echo server whose idle timeout can be changed while it runs.
//   reload_timeouts FILE [PORT]      (default: 7777, on loopback)
//
// FILE holds the idle timeout in milliseconds. On SIGHUP the server reads it anew, and open
// connections get the new timeout too, counted from their last byte: change_timeout(). About once
// a second it says how many connections are open. Nobody minds when exactly, so that timer has half
// a second of slack, and wakes the loop together with others.
#include "serving.hpp"

#include <timers/asio/driver.hpp>
#include <timers/hierarchical_wheel.hpp>

#include <boost/asio.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <fstream>
#include <iostream>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>

namespace asio = boost::asio;
using asio::ip::tcp;
using namespace std::chrono_literals;

using Timers = timers::AsioDriver<timers::HierarchicalWheel>;

std::chrono::milliseconds read_timeout(const std::string& path) {
  long ms = 0;
  if (!(std::ifstream(path) >> ms) || ms <= 0) {
    throw std::runtime_error(path + " must hold a number of milliseconds");
  }
  return std::chrono::milliseconds(ms);
}

class Session;

struct Server {
  std::set<Session*> sessions; // outlives the io_context, whose handlers own the sessions
  asio::io_context io{1};
  Timers timers{io.get_executor()};
  Timers::Timeout idle_timeout = 0;
};

class Session : public std::enable_shared_from_this<Session> {
public:
  Session(tcp::socket socket, Server& server)
      : socket_(std::move(socket)), server_(server),
        idle_(server.timers, [this] { serving::close(socket_); }) {
    server_.sessions.insert(this);
  }
  ~Session() { server_.sessions.erase(this); }

  void change_timeout() { idle_.change_timeout(server_.idle_timeout, server_.timers.now()); }

  void read() {
    idle_.rearm(server_.idle_timeout, server_.timers.now());
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
  Server& server_;
  Timers::Timer idle_;
  std::array<char, 4096> data_;
};

// Runs about once a second, for as long as the server does.
class Report {
public:
  explicit Report(Server& server) : server_(server), timer_(server.timers, [this] { run(); }) {
    arm();
  }

private:
  void run() {
    std::cout << server_.sessions.size() << " open" << std::endl;
    arm();
  }

  void arm() { timer_.rearm(second_, server_.timers.now(), half_second_); }

  Server& server_;
  const Timers::Timeout second_ = server_.timers.timeout(1s);
  const Timers::Timeout half_second_ = server_.timers.timeout(500ms);
  Timers::Timer timer_;
};

void reload(Server& server, const std::string& path) {
  server.idle_timeout = server.timers.timeout(read_timeout(path));
  for (Session* session : server.sessions) {
    session->change_timeout();
  }
}

int main(int argc, char** argv) {
  return serving::run([&] {
    const serving::Arguments arguments{argc, argv, "reload_timeouts FILE [PORT]", 1, 2};
    const auto port = arguments.port(1);
    const std::string path = arguments.text(0);
    Server server;
    reload(server, path);
    Report report{server};

    asio::signal_set hangup{server.io, SIGHUP};
    const auto wait = [&](const auto& again) -> void {
      hangup.async_wait([&, again](auto, int) {
        try {
          reload(server, path);
        } catch (const std::runtime_error& error) {
          std::cerr << error.what() << "; the timeout stays as it is\n";
        }
        again(again);
      });
    };
    wait(wait);

    const auto serve = [&](tcp::socket socket) {
      std::make_shared<Session>(std::move(socket), server)->read();
    };
    serving::Listener listener{server.io, serving::loopback(port), serve};
    std::cout << "echo on " << listener.endpoint() << std::endl;
    server.io.run();
  });
}
