// Accepts connections on one socket, and goes on after descriptors or memory have run out.
#pragma once

#include "server/os_timer.hpp"
#include "server/socket.hpp"

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <chrono>
#include <cstdint>
#include <functional>

namespace server {

struct ListenerConfig {
  boost::asio::ip::tcp::endpoint endpoint;
  bool share_port = false; // SO_REUSEPORT
  int backlog = 0;         // connections that the kernel holds until they are accepted
  // TCP_USER_TIMEOUT of each connection: how long sent bytes may stay unacknowledged, even after
  // the connection was closed here. 0: the kernel decides, and takes minutes.
  std::chrono::milliseconds user_timeout{0};
};

class Listener {
public:
  // Binds and listens; throws boost::system::system_error when that fails. Accepted sockets inherit
  // TCP_NODELAY, because the write queue does the batching, and a limit on the unsent bytes that
  // the kernel holds. on_accept may throw std::bad_alloc or boost::system::system_error; the
  // connection is then lost.
  Listener(boost::asio::io_context& io, const ListenerConfig& config,
           std::function<void(Socket)> on_accept);

  boost::asio::ip::tcp::endpoint endpoint() const { return acceptor_.local_endpoint(); }

  // Takes no part in new handshakes, while those that have begun end here, and their connections
  // are accepted. To be called some time before stop() when other sockets listen on the same port
  // (SO_REUSEPORT): closing a socket resets what waits in it. A client whose handshake is left out
  // tries again after a second, and then comes to another socket. Where the kernel is set to move
  // what waits to another socket (net.ipv4.tcp_migrate_req), this does nothing.
  void leave();

  // For the connections that are accepted from now on.
  void change_user_timeout(std::chrono::milliseconds timeout) noexcept;

  // Accepts the connections that wait, at most as many as the backlog, and then stops listening.
  // When one of them cannot be accepted, the rest are reset, which counts as one error. on_accept
  // is not called afterwards. A second call does nothing.
  void stop();

  // To be called after a handler of the io_context has thrown for lack of memory. Accepts again if
  // that handler was the listener's. Throws std::bad_alloc.
  void resume();

  bool stopped() const { return !acceptor_.is_open(); }

  // How often accepting has failed.
  std::uint64_t errors() const noexcept { return errors_; }

private:
  using Acceptor = boost::asio::basic_socket_acceptor<boost::asio::ip::tcp,
                                                      boost::asio::io_context::executor_type>;

  void wait();
  void accept_some();
  Error accept_all(int limit);
  Error hand_over(Socket socket);
  void pause(Error error);

  const int backlog_;
  Acceptor acceptor_;
  OsTimer pause_;
  std::function<void(Socket)> on_accept_;
  std::uint64_t errors_ = 0;
  bool waiting_ = false; // for a connection, or for the end of a pause
};

} // namespace server
