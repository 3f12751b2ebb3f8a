// Accepts connections on one socket, and survives when there are no descriptors for them.
#pragma once

#include "server/channel.hpp"
#include "server/os_timer.hpp"

#include <boost/asio/basic_socket_acceptor.hpp>

#include <chrono>
#include <cstdint>
#include <functional>

namespace server {

struct ListenerConfig {
  boost::asio::ip::tcp::endpoint endpoint;
  bool share_port = false; // SO_REUSEPORT
  int backlog = 0;
  // TCP_USER_TIMEOUT of each connection: how long what was sent may go unacknowledged, also after
  // the connection was closed here. 0: as long as the kernel likes, which is minutes.
  std::chrono::milliseconds user_timeout{0};
};

class Listener {
public:
  // Binds and listens; throws boost::system::system_error when that fails. Accepted sockets inherit
  // TCP_NODELAY, because batching is the write queue's, and a limit to what waits in the kernel.
  // on_accept may throw std::bad_alloc, after which the socket is gone.
  Listener(boost::asio::io_context& io, const ListenerConfig& config,
           std::function<void(Socket)> on_accept);

  boost::asio::ip::tcp::endpoint endpoint() const { return acceptor_.local_endpoint(); }

  // Accepts what waits, at most a backlog of it, then no more; what cannot be accepted is reset,
  // and counted as an error. Afterwards on_accept is not called again.
  void stop();

  // After a handler of the io_context has thrown, for lack of memory: goes on if it was this one's.
  // May throw in turn.
  void resume();

  std::uint64_t errors() const noexcept { return errors_; }

private:
  using Acceptor = boost::asio::basic_socket_acceptor<boost::asio::ip::tcp,
                                                      boost::asio::io_context::executor_type>;

  void wait();
  void accept_some();
  Error accept_all(int limit);
  Error hand_over(Socket socket);
  void pause(Error error);

  boost::asio::io_context& io_;
  const int backlog_;
  Acceptor acceptor_;
  OsTimer pause_;
  std::function<void(Socket)> on_accept_;
  std::uint64_t errors_ = 0;
  bool waiting_ = false; // for a connection, or for the end of a pause
};

} // namespace server
