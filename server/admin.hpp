// The admin listener answers /healthz, /readyz, /stats and /metrics on a port of its own. Its
// connections are those of the main port, so it is as strict about requests. It costs the request
// path nothing until someone asks.
#pragma once

#include "server/stats.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <functional>
#include <memory>
#include <string>

namespace server {

// Where the answers of the admin listener come from.
struct AdminSource {
  Settings settings;
  std::function<bool()> ready; // false once the server drains
  // Calls its argument, in the admin listener's thread, with the sum over all workers.
  std::function<void(std::function<void(Snapshot)>)> snapshot;
};

// Serves at most 32 connections at a time. A further one takes the place of the one that is idle
// for longest, or of the oldest if none is idle, so nobody can shut out a health check. One
// connection is possible even when other clients have taken every descriptor.
//
// Lives in the thread of its io_context.
class Admin {
public:
  virtual ~Admin() = default;

  virtual boost::asio::ip::tcp::endpoint endpoint() const = 0;

  // To be called after a handler of the io_context has thrown for lack of memory. Waits for clients
  // again if that handler was the listener's. Throws std::bad_alloc.
  virtual void resume() = 0;

  // From now on each connection ends with its next response.
  virtual void drain() = 0;

  // To be called after drain(). Accepts no more than the clients that wait, answers the requests
  // that were received, closes idle connections, and calls `done` once none is left. To be called
  // before it is destroyed if the io_context has run.
  virtual void end(std::function<void()> done) = 0;

  // Ends at once the connections that end() waits for.
  virtual void cut() = 0;
};

// Binds and listens; throws boost::system::system_error when that fails.
std::unique_ptr<Admin> make_admin(boost::asio::io_context& io,
                                  const boost::asio::ip::tcp::endpoint& endpoint,
                                  AdminSource source);

} // namespace server
