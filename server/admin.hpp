// The admin listener answers /healthz, /readyz, /stats and /metrics on a port of its own. It uses
// plain Beast, and costs the request path nothing until someone asks.
#pragma once

#include "server/stats.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <memory>
#include <string>

namespace server {

// Where the answers of the admin listener come from.
struct AdminSource {
  std::string backend;
  std::string rearm;
  std::function<bool()> ready; // false once the server drains
  // Calls its argument, in the admin listener's thread, with the sum over all workers.
  std::function<void(std::function<void(Snapshot)>)> snapshot;
};

struct AdminShared; // what the listener and its sessions share

// Serves at most 32 sessions at a time, and closes the connections of further clients. One session
// is possible even when other clients have taken every descriptor.
class Admin {
public:
  // Binds and listens; throws boost::system::system_error when that fails.
  Admin(boost::asio::io_context& io, const boost::asio::ip::tcp::endpoint& endpoint,
        AdminSource source);

  boost::asio::ip::tcp::endpoint endpoint() const { return acceptor_.local_endpoint(); }

  // To be called after a handler of the io_context has thrown for lack of memory. Waits for clients
  // again if that handler was the listener's. Throws std::bad_alloc.
  void resume();

private:
  void accept();
  void accept_one();
  void wait_and_accept();

  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer pause_; // until accepting is tried again
  std::shared_ptr<AdminShared> shared_;
  bool waiting_ = false; // for a client, or for the end of a pause
};

} // namespace server
