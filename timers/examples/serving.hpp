// What these examples share beside what they are about: arguments, a listener that waits when
// descriptors run out, the end by a signal, and one clear line about what went wrong.
#pragma once

#include <boost/asio.hpp>

#include <charconv>
#include <chrono>
#include <csignal>
#include <exception>
#include <iostream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace serving {

namespace asio = boost::asio;
using asio::ip::tcp;

// The arguments of a program, by their position: the first is at 0. What is missing has a default.
class Arguments {
public:
  // Throws std::invalid_argument with the usage, unless there are `least` to `most` arguments.
  Arguments(int argc, char** argv, const char* usage, std::size_t least, std::size_t most)
      : given_(argv + 1, argv + argc) {
    if (given_.size() < least || given_.size() > most) {
      throw std::invalid_argument(std::string("usage: ") + usage);
    }
  }

  bool has(std::size_t at) const { return at < given_.size(); }
  std::string text(std::size_t at, const char* missing = "") const {
    return has(at) ? given_[at] : missing;
  }

  // 0 is any free port.
  unsigned short port(std::size_t at) const {
    return static_cast<unsigned short>(number(at, 7777, 0, 65535, "port"));
  }
  unsigned threads(std::size_t at, unsigned missing) const {
    return static_cast<unsigned>(number(at, missing, 1, 256, "number of threads"));
  }
  std::chrono::milliseconds duration(std::size_t at, std::chrono::milliseconds missing) const {
    return std::chrono::milliseconds(
        number(at, missing.count(), 1, 1'000'000'000, "number of milliseconds"));
  }

private:
  long number(std::size_t at, long missing, long least, long most, const char* what) const {
    if (!has(at)) {
      return missing;
    }
    const std::string text = given_[at];
    const char* const end = text.data() + text.size();
    long value = 0;
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || rest != end || value < least || value > most) {
      throw std::invalid_argument("'" + text + "' is not a " + what + " (" + std::to_string(least) +
                                  " to " + std::to_string(most) + ")");
    }
    return value;
  }

  std::span<char*> given_;
};

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

// When accepting fails, as it does while there is no descriptor left, a server says so once and
// pauses. To try again at once would take a whole core, and free no descriptor.
class AcceptFailures {
public:
  static constexpr std::chrono::milliseconds kPause{100};

  void say(boost::system::error_code error) {
    if (!std::exchange(said_, true)) {
      std::cerr << "cannot accept a connection: " << error.message() << "; trying again every "
                << kPause.count() << " ms" << std::endl;
    }
  }

private:
  bool said_ = false;
};

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
    failures_.say(error);
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
  } catch (const boost::system::system_error& error) {
    std::cerr << error.code().message() << std::endl; // what() adds where in Asio it was thrown
    return 1;
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return 1;
  }
}

} // namespace serving
