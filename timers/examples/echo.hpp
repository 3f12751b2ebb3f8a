// An echo server that closes a connection on which nothing came for a while, on any event loop. The
// programs loop_*.cpp each have such a loop, which is a class with these members:
//   Timers            a driver of timers/loops/
//   timers()          the one that this loop drives
//   Watch             made of the loop, a descriptor and an action: calls the action whenever the
//                     descriptor is readable, until it is destroyed, which the action may do
//   run() and stop()  serves until it is stopped
#pragma once

#include "program.hpp"

#include <timers/action.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <iostream>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace echo {

// Returns what a system call returned, unless it failed.
inline int checked(int result, const std::string& what) {
  if (result < 0) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
  }
  return result;
}

class Descriptor {
public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() { close(value_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  operator int() const { return value_; }

private:
  const int value_;
};

inline int tcp_socket() {
  return checked(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
                 "cannot make a socket");
}

// A socket that listens on loopback.
class Listener : public Descriptor {
public:
  // 0 is any free port.
  explicit Listener(unsigned short port) : Descriptor(tcp_socket()) {
    const std::string what = "cannot listen on port " + std::to_string(port);
    const int reuse = 1;
    checked(setsockopt(*this, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse), what);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    checked(bind(*this, generic(address), sizeof address), what);
    checked(listen(*this, SOMAXCONN), what);
  }

  unsigned short port() const {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    checked(getsockname(*this, generic(address), &size), "cannot find the port");
    return ntohs(address.sin_port);
  }

private:
  static sockaddr* generic(sockaddr_in& address) { return reinterpret_cast<sockaddr*>(&address); }
};

// A descriptor that is readable when the program is to end.
inline int end_signals() {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  checked(sigprocmask(SIG_BLOCK, &ends, nullptr), "cannot block signals");
  return checked(signalfd(-1, &ends, SFD_NONBLOCK | SFD_CLOEXEC), "cannot wait for signals");
}

template <class Loop> class Server {
  using Timers = typename Loop::Timers;
  using Watch = typename Loop::Watch;

public:
  Server(Loop& loop, unsigned short port, std::chrono::milliseconds idle_timeout)
      : loop_(loop), idle_timeout_(loop.timers().timeout(idle_timeout)),
        pause_ticks_(loop.timers().timeout(serving::AcceptFailures::kPause)), listener_(port) {
    watch_listener();
  }

  unsigned short port() const { return listener_.port(); }

private:
  class Session {
  public:
    Session(Server& server, int socket)
        : server_(server), socket_(socket), readable_(server.loop_, socket, [this] { read(); }),
          idle_(server.loop_.timers(), [this] { end(); }) {
      rearm();
    }

  private:
    void rearm() { idle_.rearm(server_.idle_timeout_, server_.loop_.timers().now()); }

    // A client that does not read what it is sent has its connection closed.
    void read() {
      const ssize_t size = recv(socket_, data_.data(), data_.size(), 0);
      if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
      }
      if (size > 0 &&
          send(socket_, data_.data(), static_cast<std::size_t>(size), MSG_NOSIGNAL) == size) {
        rearm();
      } else {
        end();
      }
    }

    void end() { server_.sessions_.erase(socket_); } // this is gone

    Server& server_;
    const Descriptor socket_;
    Watch readable_;
    typename Timers::Timer idle_;
    std::array<char, 4096> data_;
  };

  void watch_listener() {
    acceptable_.emplace(loop_, listener_, [this] { accept(); });
  }

  void accept() {
    const int socket = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socket >= 0) {
      sessions_.try_emplace(socket, *this, socket);
    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
      failures_.say(std::strerror(errno));
      acceptable_.reset();
      pause_.rearm(pause_ticks_, loop_.timers().now());
    }
  }

  Loop& loop_;
  const typename Timers::Timeout idle_timeout_;
  const typename Timers::Timeout pause_ticks_;
  const Listener listener_;
  std::optional<Watch> acceptable_;
  typename Timers::Timer pause_{loop_.timers(), [this] { watch_listener(); }};
  serving::AcceptFailures failures_;
  const Descriptor signals_{end_signals()};
  Watch ending_{loop_, signals_, [this] { loop_.stop(); }};
  std::map<int, Session> sessions_; // by socket
};

// The main part of each of these programs.
template <class Loop> int run(int argc, char** argv, const std::string& name) {
  return serving::run_program([&] {
    const std::string usage = name + " [PORT] [IDLE_TIMEOUT_MS]";
    const serving::Arguments arguments{argc, argv, usage.c_str(), 0, 2};
    const auto port = arguments.port(0);
    const auto idle_timeout = arguments.duration(1, std::chrono::seconds(10));
    Loop loop;
    Server server{loop, port, idle_timeout};
    std::cout << "echo on 127.0.0.1:" << server.port() << std::endl;
    loop.run();
  });
}

} // namespace echo
