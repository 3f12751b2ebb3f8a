#include "server/server.hpp"

#include "server/admin.hpp"
#include "server/configuration.hpp"
#include "server/log_file.hpp"
#include "server/one_line.hpp"
#include "server/os_timer.hpp"
#include "server/quantity.hpp"
#include "server/service_manager.hpp"
#include "server/signals.hpp"
#include "server/worker.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <spdlog/spdlog.h>

#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

// How much longer than --drain-timeout the process may take to end.
constexpr auto kEnding = std::chrono::seconds(5);

// The hard limit costs nothing until it is used, and the soft one is often 1024.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

std::string url(const tcp::endpoint& endpoint) {
  std::ostringstream text;
  text << "http://" << endpoint;
  return text.str();
}

// Throws when the port is taken. Listeners that share a port (SO_REUSEPORT) would also share it
// with another process that does the same.
void require_free_port(const tcp::endpoint& endpoint) {
  asio::io_context io;
  tcp::acceptor(io, endpoint);
}

void check_timer_trace(const std::string& file) {
  try {
    if (!file.empty() && file != "-") { // "-" is a file here
      require_inherited(file);
    }
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(std::string("timer trace: ") + error.what());
  }
}

// A thread's event loop. Other threads may only post to it and stop it.
std::unique_ptr<asio::io_context> make_io() {
  return std::make_unique<asio::io_context>(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE_IO);
}

// The main thread runs the first worker, the admin listener and the signals. Every further worker
// has a thread of its own. So with one worker the process has one thread. The C library then takes
// no locks, and perf can follow the stacks of its cancellable system calls.
class Process {
public:
  explicit Process(const Options& options) : configuration_(options, backend_names()) {
    make_loops(options.io);
    signals_.emplace(*main_);
    drain_limit_.emplace(*main_);
    watchdog_.emplace(*main_);
    listening_on({asio::ip::make_address(options.address), options.port},
                 [this](const tcp::endpoint& endpoint) { make_workers(endpoint); });
    if (options.admin_port) {
      listening_on({asio::ip::make_address(options.admin_address), *options.admin_port},
                   [this](const tcp::endpoint& endpoint) { listen_for_admins(endpoint); });
    }
  }

  void run() {
    handle_signals();
    const Threads threads(others_, workers_);
    announce();
    manager_.ready(status());
    watch();
    run_until_finished(*main_, [this] {
      watch();
      workers_.front()->resume();
      if (admin_ != nullptr) {
        admin_->resume();
      }
      await_signal();
    });
    hold_signals();
  }

private:
  using Loops = std::vector<std::unique_ptr<asio::io_context>>;

  // Runs each loop in a thread of its own until destroyed. Loop i is run for worker i + 1; worker 0
  // runs in the main thread. Throws std::system_error.
  class Threads {
  public:
    Threads(const Loops& loops, const std::vector<std::unique_ptr<Worker>>& workers)
        : loops_(loops) {
      try {
        for (std::size_t i = 0; i < loops_.size(); ++i) {
          threads_.emplace_back([&io = *loops_[i], &worker = *workers[i + 1]] {
            run_until_finished(io, [&worker] { worker.resume(); });
          });
        }
      } catch (...) {
        end();
        throw;
      }
    }
    ~Threads() { end(); }
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;

  private:
    void end() {
      for (const auto& io : loops_) {
        io->stop();
      }
      for (std::thread& thread : threads_) {
        thread.join();
      }
    }

    const Loops& loops_;
    std::vector<std::thread> threads_;
  };

  // Runs the step. When that fails, the exception names the address.
  template <class Step> static void listening_on(const tcp::endpoint& endpoint, Step step) {
    try {
      step(endpoint);
    } catch (const boost::system::system_error& error) {
      std::ostringstream text;
      text << "cannot listen on " << endpoint << ": " << error.code().message();
      throw std::runtime_error(text.str());
    }
  }

  // All loops have transports of one kind. With `auto` that is the kind that all of them can have.
  void make_loops(Io kind) {
    main_ = make_io();
    transports_ = {&make_transport(*main_, kind)};
    kind = transports_.front()->name() == to_string(Io::epoll) ? Io::epoll : kind;
    others_.clear();
    for (std::size_t i = 1; i < options().threads; ++i) {
      others_.push_back(make_io());
      transports_.push_back(&make_transport(*others_.back(), kind));
      if (transports_.back()->name() != transports_.front()->name()) {
        return make_loops(Io::epoll);
      }
    }
  }

  void listen_for_admins(const tcp::endpoint& endpoint) {
    admin_ = make_admin(*main_, endpoint,
                        AdminSource{.settings = {.backend = options().timer_backend,
                                                 .rearm = std::string(to_string(options().rearm)),
                                                 .io = std::string(transports_.front()->name())},
                                    .ready = [this] { return !draining_; },
                                    .snapshot = [this](auto done) { collect(std::move(done)); }});
  }

  void make_workers(const tcp::endpoint& endpoint) {
    const bool share = options().reuse_port || options().threads > 1;
    if (share && !options().reuse_port && options().port != 0) {
      require_free_port(endpoint);
    }
    const auto add_worker = [&](asio::io_context& io, std::uint16_t port) {
      workers_.push_back(make_worker({.io = io,
                                      .transport = *transports_[workers_.size()],
                                      .options = options(),
                                      .access_log = configuration_.access_log(),
                                      .port = port,
                                      .share_port = share,
                                      .on_finished = [this] { on_worker_finished(); }}));
    };
    add_worker(*main_, options().port);
    for (const auto& io : others_) {
      add_worker(*io, workers_.front()->endpoint().port());
    }
    running_ = workers_.size();
  }

  // Nobody has to read this: a standard output that is closed or full does not keep the server from
  // serving.
  void announce() const {
    std::ostringstream line;
    line << "listening on " << url(workers_.front()->endpoint())
         << " backend=" << options().timer_backend << " rearm=" << to_string(options().rearm)
         << " threads=" << options().threads << " io=" << transports_.front()->name();
    if (admin_ != nullptr) {
      line << " admin=" << url(admin_->endpoint());
    }
    line << '\n';
    try {
      std::string text = line.str();
      LogFile("-").append(text);
    } catch (const std::runtime_error&) {
    }
  }

  // Runs until stopped, because a worker that has finished can still be asked for its counters.
  // Connections handle their own exceptions. After any other exception a listener, for instance,
  // may wait for nothing any more, so `resume` makes it wait again.
  template <class Resume> static void run_until_finished(asio::io_context& io, Resume resume) {
    const auto work = asio::make_work_guard(io);
    for (bool failed = false; !io.stopped();) {
      try {
        if (failed) {
          io.run_one_for(std::chrono::milliseconds(10)); // may free the memory that was lacking
          resume();
          failed = false;
        }
        io.run();
      } catch (const std::exception& error) {
        spdlog::error("a handler failed: {}", error.what());
        failed = true;
      }
    }
  }

  // Called in the thread of the worker that has finished.
  void on_worker_finished() {
    asio::post(*main_, [this] {
      if (--running_ == 0) {
        end();
      }
    });
  }

  // The admin listener ends last, so that the drain can be watched.
  void end() {
    if (admin_ == nullptr) {
      return main_->stop();
    }
    admin_->end([this] { main_->stop(); });
    if (drain_is_over_) {
      admin_->cut();
    }
  }

  // Until the workers have finished, the admin listener can be asked about them.
  void end_drain() {
    drain_is_over_ = true;
    if (running_ == 0 && admin_ != nullptr) {
      admin_->cut();
    }
  }

  void begin_drain() {
    if (admin_ != nullptr) {
      admin_->drain();
    }
    const auto limit = options().drain_timeout;
    manager_.stopping("draining for at most " + format_duration(limit),
                      std::chrono::duration_cast<std::chrono::microseconds>(limit) + kEnding);
    drain_limit_->expires_after(limit);
    drain_limit_->async_wait([this](boost::system::error_code cancelled) {
      if (!cancelled) {
        end_drain();
      }
    });
  }

  // Until now a signal could end a start that waits, for a file for example.
  void handle_signals() {
    for (const int signal : kDrainSignals) {
      signals_->add(signal);
    }
    for (const int signal : kReopenSignals) {
      signals_->add(signal);
    }
    await_signal();
    let_signals_through();
  }

  // Waits for the next signal, unless it waits already.
  void await_signal() {
    if (awaits_signal_) {
      return;
    }
    signals_->async_wait([this](boost::system::error_code error, int signal) {
      awaits_signal_ = false;
      if (!error) {
        on_signal(signal);
        await_signal();
      }
    });
    awaits_signal_ = true;
  }

  void on_signal(int signal) {
    if (std::ranges::find(kReopenSignals, signal) != kReopenSignals.end()) {
      return refresh(signal);
    }
    const bool again = std::exchange(draining_, true);
    if (again && signal == SIGXCPU) { // the kernel sends it every second
      return;
    }
    spdlog::info("signal {}: {}", signal, again ? "closing all connections" : "draining");
    for (const auto& worker : workers_) {
      again ? worker->cut() : worker->drain();
    }
    again ? end_drain() : begin_drain();
  }

  // Nothing is to be configured any more while the server drains.
  void refresh(int signal) {
    if (signal != kReloadSignal || !configuration_.has_file() || draining_) {
      return configuration_.reopen_access_log(signal);
    }
    manager_.reloading();
    reload_failed_ = !configuration_.reload(signal);
    configure();
  }

  // Gives every worker the configuration in use, one after the other.
  void configure(std::size_t next = 0) {
    if (next < workers_.size()) {
      workers_[next]->configure(options(), configuration_.access_log(), [this, next] {
        asio::post(*main_, [this, next] { configure(next + 1); });
      });
    } else if (!draining_) {
      manager_.ready(status());
    }
  }

  // The watchdog of the service manager hears from the server as long as every thread answers. Does
  // nothing when that is under way.
  void watch() {
    if (watching_ || !manager_.watchdog_period()) {
      return;
    }
    watchdog_->expires_after(*manager_.watchdog_period());
    watchdog_->async_wait([this](boost::system::error_code cancelled) {
      watching_ = false;
      if (!cancelled) {
        watch();
        collect([this](const Snapshot& sum) {
          manager_.alive(status() + "; " + std::to_string(sum.server.open) + " connections, " +
                         std::to_string(sum.server.requests) + " requests so far");
        });
      }
    });
    watching_ = true;
  }

  // One line for people who ask the service manager.
  std::string status() const {
    return (draining_ ? "draining " : "serving on ") + url(workers_.front()->endpoint()) +
           (reload_failed_ ? "; the last reload failed" : "");
  }

  // Asks every worker for its counters, one after the other, and calls `done` with their sum.
  void collect(std::function<void(Snapshot)> done, std::size_t next = 0,
               std::shared_ptr<Snapshot> sum = std::make_shared<Snapshot>()) {
    if (next == workers_.size()) {
      sum->reload_failed = reload_failed_;
      return done(*sum);
    }
    workers_[next]->snapshot([this, done = std::move(done), next, sum](const Snapshot& one) {
      asio::post(*main_, [this, done, next, sum, one] {
        sum->merge(one);
        collect(done, next + 1, sum);
      });
    });
  }

  const Options& options() const noexcept { return configuration_.options(); }

  // Opens the access log before any other descriptor, so that a name like /dev/fd/5 is none of the
  // server's own.
  Configuration configuration_;
  ServiceManager manager_;
  std::unique_ptr<asio::io_context> main_;
  Loops others_;
  std::vector<Transport*> transports_; // of all loops, the main one first
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Admin> admin_;
  std::optional<asio::signal_set> signals_;
  std::optional<OsTimer> drain_limit_;
  std::optional<OsTimer> watchdog_;
  std::size_t running_ = 0; // workers that have not finished
  bool draining_ = false;
  bool drain_is_over_ = false;
  bool awaits_signal_ = false;
  bool watching_ = false; // waits for the next message to the watchdog
  bool reload_failed_ = false;
};

} // namespace

ExitCode serve(const Options& options) {
  raise_descriptor_limit();
  if (options.timer_backend == "none") {
    spdlog::warn("--timer-backend none: THERE ARE NO TIMEOUTS; slow and dead clients are kept for "
                 "ever. For measuring only.");
  }
  try {
    check_timer_trace(options.timer_trace);
    Process process(options);
    process.run();
    return kExitDone;
  } catch (const std::exception& error) {
    std::cerr << "idlewheel-server: " << on_one_line(error.what()) << '\n';
    return kExitFailure;
  }
}

} // namespace server
