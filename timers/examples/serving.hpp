// What the servers of these examples share: the port from the command line, a listener that waits
// when descriptors run out, closing a socket, and one clear line about what went wrong.
#pragma once

#include <boost/asio.hpp>

#include <charconv>
#include <chrono>
#include <csignal>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace serving {

namespace asio = boost::asio;
using asio::ip::tcp;

// The argument at `at`, which is the last one and may be missing: 7777 then. 0 is any free port.
inline unsigned short port_argument(int argc, char** argv, int at, const char* usage) {
  if (argc > at + 1 || argc < at) {
    throw std::invalid_argument(std::string("usage: ") + usage);
  }
  const std::string_view text = argc > at ? argv[at] : "7777";
  const char* const end = text.data() + text.size();
  unsigned short port = 0;
  const auto [rest, error] = std::from_chars(text.data(), end, port);
  if (error != std::errc() || rest != end) {
    throw std::invalid_argument("'" + std::string(text) + "' is not a port (0 to 65535)");
  }
  return port;
}

// Closes a socket, whose client may have reset the connection.
inline void close(tcp::socket& socket) {
  boost::system::error_code ignored;
  socket.close(ignored);
}

// Hands each connection on loopback to on_accept(). When accepting fails, as it does while there is
// no descriptor left, it says so once and pauses. To try again at once would take a whole core, and
// free no descriptor.
template <class OnAccept> class Listener {
public:
  Listener(asio::io_context& io, unsigned short port, OnAccept on_accept)
      : acceptor_(listen(io, port)), pause_(io), on_accept_(std::move(on_accept)) {
    accept();
  }

  tcp::endpoint endpoint() const { return acceptor_.local_endpoint(); }

private:
  using Error = boost::system::error_code;
  static constexpr std::chrono::milliseconds kPause{100};

  static tcp::acceptor listen(asio::io_context& io, unsigned short port) {
    try {
      return tcp::acceptor(io, {asio::ip::address_v4::loopback(), port});
    } catch (const boost::system::system_error& error) {
      throw std::runtime_error("cannot listen on port " + std::to_string(port) + ": " +
                               error.code().message());
    }
  }

  void accept() {
    acceptor_.async_accept([this](Error error, tcp::socket socket) {
      if (error) {
        pause(error);
      } else {
        on_accept_(std::move(socket));
        accept();
      }
    });
  }

  void pause(Error error) {
    if (!std::exchange(said_, true)) {
      std::cerr << "cannot accept a connection: " << error.message() << "; trying again every "
                << kPause.count() << " ms" << std::endl;
    }
    pause_.expires_after(kPause);
    pause_.async_wait([this](Error) { accept(); });
  }

  tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  OnAccept on_accept_;
  bool said_ = false;
};

// Runs the main part of a program and returns its exit code. What it throws becomes one line on
// standard error, and the code 2 for a bad argument, else 1.
template <class Program> int run(Program program) {
  std::signal(SIGPIPE, SIG_IGN); // whoever reads our output may go
  try {
    program();
    return 0;
  } catch (const std::invalid_argument& error) {
    std::cerr << error.what() << std::endl;
    return 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return 1;
  }
}

} // namespace serving
