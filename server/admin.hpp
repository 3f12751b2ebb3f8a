// The admin listener: /healthz, /readyz, /stats and /metrics on a port of its own, with stock
// Beast, so that it costs the request path nothing until someone asks.
#pragma once

#include "server/stats.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <memory>
#include <string>

namespace server {

// Where its answers come from.
struct AdminSource {
  std::string backend;
  std::string rearm;
  std::function<bool()> ready;
  // Calls back, in the admin's own thread, with the sum over all workers.
  std::function<void(std::function<void(Snapshot)>)> snapshot;
};

struct AdminShared; // what outlives the listener while a session does

// At most 32 sessions at a time; one can be had also when clients have taken every descriptor.
class Admin {
public:
  // Binds and listens; throws boost::system::system_error when that fails.
  Admin(boost::asio::io_context& io, const boost::asio::ip::tcp::endpoint& endpoint,
        AdminSource source);

  boost::asio::ip::tcp::endpoint endpoint() const { return acceptor_.local_endpoint(); }

  // As Listener::resume().
  void resume();

private:
  void accept();
  void accept_one();
  void wait_and_accept();

  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer pause_; // of accepting
  std::shared_ptr<AdminShared> shared_;
  bool waiting_ = false; // for a client, or for the end of a pause
};

} // namespace server
