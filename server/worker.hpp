// One thread of the server: its own io_context, listener, timers, connections and counters.
#pragma once

#include "server/counters.hpp"
#include "server/options.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <cstdint>
#include <functional>
#include <memory>

namespace server {

// Lives in one thread: the one that runs its io_context. drain(), cut() and snapshot() may be
// called from any; what they ask for happens in the worker's own.
class Worker {
public:
  virtual ~Worker() = default;

  virtual boost::asio::ip::tcp::endpoint endpoint() const = 0;

  // Accepts no more, closes idle connections, lets the others finish until the drain timeout.
  virtual void drain() = 0;

  // Accepts no more and ends every connection at once.
  virtual void cut() = 0;

  // After a handler of its io_context has thrown, in the same thread: waits again for what that
  // handler, or one that was to follow it, did not get round to. May throw in turn.
  virtual void resume() = 0;

  // Calls `done` in the worker's thread with a copy of its counters.
  virtual void snapshot(std::function<void(Snapshot)> done) = 0;
};

struct WorkerConfig {
  boost::asio::io_context& io; // run by one thread
  const Options& options;
  std::uint16_t port = 0;  // in place of the options': the second worker takes the first one's
  bool share_port = false; // likewise
  // Called in the worker's thread when it was drained or cut and its last connection has ended.
  std::function<void()> on_finished;
};

// Binds and listens; throws boost::system::system_error when that fails.
template <class Timers> std::unique_ptr<Worker> make_worker(WorkerConfig config);

} // namespace server
