// The admin listener: /healthz, /readyz, /stats and /metrics on a port of its own, with stock
// Beast, so that it costs the request path nothing until someone asks.
#pragma once

#include "server/counters.hpp"

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

class Admin {
public:
  // Binds and listens; throws boost::system::system_error when that fails.
  Admin(boost::asio::io_context& io, const boost::asio::ip::tcp::endpoint& endpoint,
        AdminSource source);

  boost::asio::ip::tcp::endpoint endpoint() const { return acceptor_.local_endpoint(); }

private:
  void accept();
  void wait_and_accept();

  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer pause_; // of accepting
  std::shared_ptr<const AdminSource> source_;
};

} // namespace server
