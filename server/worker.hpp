// One thread of the server: its own io_context, listener, timers, connections and counters.
#pragma once

#include "server/counters.hpp"
#include "server/options.hpp"

#include <boost/asio/ip/tcp.hpp>

#include <functional>
#include <memory>

namespace server {

// Everything but construction and run() may be called from any thread; what they ask for happens in
// the worker's own.
class Worker {
public:
  virtual ~Worker() = default;

  virtual boost::asio::ip::tcp::endpoint endpoint() const = 0;

  // Serves until drained or cut. Call once, in the worker's thread.
  virtual void run() = 0;

  // Accepts no more, closes idle connections, lets the others finish until the drain timeout.
  virtual void drain() = 0;

  // Ends every connection at once.
  virtual void cut() = 0;

  // Calls `done` in the worker's thread with a copy of its counters. Not after run() has returned.
  virtual void snapshot(std::function<void(Snapshot)> done) = 0;
};

// Binds and listens; throws boost::system::system_error when that fails. `port` and `share_port`
// take the place of the options', for the second thread and on.
template <class Timers>
std::unique_ptr<Worker> make_worker(const Options& options, std::uint16_t port, bool share_port);

} // namespace server
