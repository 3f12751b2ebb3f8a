#include "server/listener.hpp"

#include <boost/asio/error.hpp>
#include <spdlog/spdlog.h>

#include <sys/socket.h>

#include <utility>

namespace server {
namespace {

using boost::asio::ip::tcp;
using ReusePort = boost::asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;

// Long enough not to burn the CPU that could free a descriptor, short enough not to be noticed.
constexpr auto kPause = std::chrono::milliseconds(100);
constexpr std::uint64_t kErrorsPerLogLine = 100;

} // namespace

Listener::Listener(boost::asio::io_context& io, const ListenerConfig& config,
                   std::function<void(Socket)> on_accept)
    : io_(io), acceptor_(io), pause_(io), on_accept_(std::move(on_accept)) {
  acceptor_.open(config.endpoint.protocol());
  acceptor_.set_option(boost::asio::socket_base::reuse_address(true));
  acceptor_.set_option(tcp::no_delay(true));
  if (config.share_port) {
    acceptor_.set_option(ReusePort(true));
  }
  acceptor_.bind(config.endpoint);
  acceptor_.listen(config.backlog);
  accept();
}

void Listener::accept() {
  acceptor_.async_accept(io_, [this](Error error, Socket socket) {
    if (!acceptor_.is_open()) {
      return;
    }
    if (!error) {
      on_accept_(std::move(socket));
    } else if (error != boost::asio::error::connection_aborted) {
      return pause(error);
    }
    accept();
  });
}

// Out of descriptors or memory: a pending connection would fail again at once, and again.
void Listener::pause(Error error) {
  if (errors_++ % kErrorsPerLogLine == 0) {
    spdlog::warn("cannot accept a connection: {}; trying again every {} ms", error.message(),
                 kPause.count());
  }
  pause_.expires_after(kPause);
  pause_.async_wait([this](Error cancelled) {
    if (!cancelled && acceptor_.is_open()) {
      accept();
    }
  });
}

void Listener::stop() {
  Error error;
  acceptor_.close(error);
  pause_.cancel();
}

} // namespace server
