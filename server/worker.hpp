// One thread of the server: its own io_context, listener, timers, connections and counters.
#pragma once

#include "server/log_file.hpp"
#include "server/options.hpp"
#include "server/stats.hpp"
#include "server/transport.hpp"
#include "timers/backend.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace server {

// Lives in one thread: the one that runs its io_context. The next four functions may be
// called from any thread; what they ask for happens in the worker's thread.
class Worker {
public:
  virtual ~Worker() = default;

  virtual boost::asio::ip::tcp::endpoint endpoint() const = 0;

  // Accepts no more, closes idle connections, lets the others finish until the drain timeout.
  virtual void drain() = 0;

  // Accepts no more and ends every connection at once.
  virtual void cut() = 0;

  // To be called in the worker's thread after a handler of its io_context has thrown. Starts again
  // what that handler did not finish: accepting, held writes, draining. Throws std::bad_alloc.
  virtual void resume() = 0;

  // Takes over those options that can change while the server runs (configuration.hpp), and the
  // access log; null: there is none. Then calls `done` in the worker's thread. New limits and
  // timeouts hold for what begins from then on; a new idle timeout holds for all connections, and
  // starts anew.
  virtual void configure(const Options& options, std::shared_ptr<LogFile> access_log,
                         std::function<void()> done) = 0;

  // Calls `done` in the worker's thread with a copy of its counters.
  virtual void snapshot(std::function<void(Snapshot)> done) = 0;
};

struct WorkerConfig {
  boost::asio::io_context& io;         // run by one thread
  Transport& transport;                // of that io_context
  const Options& options;              // copied
  std::shared_ptr<LogFile> access_log; // null: none
  std::uint16_t port = 0;  // replaces options.port: later workers share the first one's port
  bool share_port = false; // SO_REUSEPORT; replaces options.reuse_port
  // Called once, in the worker's thread, when it was drained or cut and its last connection is
  // gone.
  std::function<void()> on_finished;
};

// The timer backends by the names that users type: the library's list, Asio's own timers, and
// `none`.
std::vector<BackendName> backend_names();

// What the backend of such a name says about itself.
const timers::BackendInfo& backend_info(const std::string& name);

// A worker whose timers are those of options.timer_backend, which must be one of the names. Binds
// and listens. Throws boost::system::system_error when that fails, and other exceptions when a log
// or trace cannot be opened or the backend cannot hold the timeouts.
std::unique_ptr<Worker> make_worker(WorkerConfig config);

} // namespace server
