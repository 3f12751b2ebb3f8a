// One thread of the server: its own io_context, listener, timers, connections and counters.
#pragma once

#include "server/options.hpp"
#include "server/stats.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

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

  // To be called in the worker's thread after a handler of its io_context has thrown. Waits again
  // for what that handler, or one that was to follow it, did not get to. May throw in turn.
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

// The timer backends by the name users type: the library's list, Asio's own timers, and none.
std::vector<BackendName> backend_names();

// A worker whose timers are those of options.timer_backend, which must be one of the names. Binds
// and listens; throws boost::system::system_error when that fails.
std::unique_ptr<Worker> make_worker(WorkerConfig config);

} // namespace server
