// What the examples on Boost.Asio share beside what they are about: a listener that waits when
// descriptors run out, and the end by a signal. program.hpp has what they share with all others.
#pragma once

#include "program.hpp"

#include <boost/asio.hpp>

#include <csignal>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace serving {

namespace asio = boost::asio;
using asio::ip::tcp;

// Closes a socket, whose client may have reset the connection.
inline void close(tcp::socket& socket) {
  boost::system::error_code ignored;
  socket.close(ignored);
}

inline tcp::endpoint loopback(unsigned short port) {
  return {asio::ip::address_v4::loopback(), port};
}

inline std::string name_of(const tcp::endpoint& endpoint) {
  return "port " + std::to_string(endpoint.port());
}
inline std::string name_of(const asio::local::stream_protocol::endpoint& endpoint) {
  return endpoint.path();
}

template <class Endpoint> auto listen(const asio::any_io_executor& executor, Endpoint endpoint) {
  try {
    return asio::basic_socket_acceptor<typename Endpoint::protocol_type>(executor, endpoint);
  } catch (const boost::system::system_error& error) {
    throw std::runtime_error("cannot listen on " + name_of(endpoint) + ": " +
                             error.code().message());
  }
}

// Whether the handlers of each connection run on a strand of its own. They must where several
// threads run the io_context.
enum class Strands { none, one_each };

// Hands each connection to on_accept(), which one thread at a time calls; not on the connection's
// strand.
template <class Endpoint, class OnAccept> class Listener {
public:
  Listener(asio::io_context& io, const Endpoint& endpoint, OnAccept on_accept,
           Strands strands = Strands::none)
      : io_(io), acceptor_(listen(io.get_executor(), endpoint)), pause_(io),
        on_accept_(std::move(on_accept)), strands_(strands) {
    accept();
  }

  Endpoint endpoint() const { return acceptor_.local_endpoint(); }

private:
  using Error = boost::system::error_code;
  using Protocol = typename Endpoint::protocol_type;

  asio::any_io_executor executor_of_next() {
    if (strands_ == Strands::one_each) {
      return asio::make_strand(io_);
    }
    return io_.get_executor();
  }

  void accept() {
    acceptor_.async_accept(executor_of_next(),
                           [this](Error error, typename Protocol::socket socket) {
                             if (error) {
                               pause(error);
                             } else {
                               on_accept_(std::move(socket));
                               accept();
                             }
                           });
  }

  void pause(Error error) {
    failures_.say(error.message());
    pause_.expires_after(AcceptFailures::kPause);
    pause_.async_wait([this](Error) { accept(); });
  }

  asio::io_context& io_;
  asio::basic_socket_acceptor<Protocol> acceptor_;
  asio::steady_timer pause_;
  OnAccept on_accept_;
  const Strands strands_;
  AcceptFailures failures_;
};

// Runs the io_context on so many threads until SIGINT or SIGTERM. Operations that are pending then
// end with the io_context.
inline void run_until_signal(asio::io_context& io, unsigned threads = 1) {
  asio::signal_set signals{io, SIGINT, SIGTERM};
  signals.async_wait([&io](auto, int) { io.stop(); });
  std::vector<std::jthread> others;
  const struct Stop {
    asio::io_context& io;
    ~Stop() { io.stop(); }
  } stop{io}; // also when a handler throws
  while (others.size() + 1 < threads) {
    others.emplace_back([&io] { io.run(); });
  }
  io.run();
}

// As run_program(), with the message alone of what Asio throws: what() adds where it was thrown.
template <class Program> int run(Program program) {
  return run_program([&] {
    try {
      program();
    } catch (const boost::system::system_error& error) {
      throw std::runtime_error(error.code().message());
    }
  });
}

} // namespace serving
