#include "server/server.hpp"

#include "server/admin.hpp"
#include "server/backends.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <spdlog/spdlog.h>

#include <sys/resource.h>

#include <csignal>
#include <cstddef>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <sstream>
#include <thread>
#include <utility>
#include <vector>

namespace server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

// The hard limit costs nothing until it is used, and the soft one is often 1024.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

std::string to_string(timers::Rearm rearm) {
  return rearm == timers::Rearm::lazy ? "lazy" : "eager";
}

std::string url(const tcp::endpoint& endpoint) {
  std::ostringstream text;
  text << "http://" << endpoint;
  return text.str();
}

// With several listeners on one port the kernel would also let in those of another process.
void require_free_port(const tcp::endpoint& endpoint) {
  asio::io_context io;
  tcp::acceptor(io, endpoint);
}

std::vector<std::unique_ptr<Worker>> make_workers(const Options& options) {
  const bool share = options.reuse_port || options.threads > 1;
  if (share && !options.reuse_port && options.port != 0) {
    require_free_port({asio::ip::make_address(options.address), options.port});
  }
  std::vector<std::unique_ptr<Worker>> workers;
  std::uint16_t port = options.port;
  for (std::size_t i = 0; i < options.threads; ++i) {
    workers.push_back(make_worker(options.timer_backend, options, port, share));
    port = workers.front()->endpoint().port();
  }
  return workers;
}

class Process {
public:
  explicit Process(const Options& options)
      : options_(options), workers_(make_workers(options)), signals_(control_, SIGTERM, SIGINT) {
    if (options.admin_port) {
      admin_ = std::make_unique<Admin>(
          control_,
          tcp::endpoint(asio::ip::make_address(options.admin_address), *options.admin_port),
          AdminSource{.backend = options.timer_backend,
                      .rearm = to_string(options.rearm),
                      .ready = [this] { return !draining_; },
                      .snapshot = [this](auto done) { collect(std::move(done)); }});
    }
  }

  void run() {
    await_signal();
    std::vector<std::thread> threads;
    running_ = workers_.size();
    for (const auto& worker : workers_) {
      threads.emplace_back([this, &worker] { run_worker(*worker); });
    }
    announce();
    control_.run();
    for (std::thread& thread : threads) {
      thread.join();
    }
  }

private:
  void announce() const {
    std::cout << "listening on " << url(workers_.front()->endpoint())
              << " backend=" << options_.timer_backend << " rearm=" << to_string(options_.rearm)
              << " threads=" << options_.threads;
    if (admin_ != nullptr) {
      std::cout << " admin=" << url(admin_->endpoint());
    }
    std::cout << std::endl;
  }

  void run_worker(Worker& worker) {
    for (bool done = false; !done;) {
      try {
        worker.run();
        done = true;
      } catch (const std::exception& error) {
        spdlog::error("a connection failed: {}", error.what());
      }
    }
    asio::post(control_, [this] {
      if (--running_ == 0) {
        control_.stop();
      }
    });
  }

  void await_signal() {
    signals_.async_wait([this](boost::system::error_code error, int signal) {
      if (!error) {
        on_signal(signal);
        await_signal();
      }
    });
  }

  void on_signal(int signal) {
    const bool again = std::exchange(draining_, true);
    spdlog::info("signal {}: {}", signal, again ? "closing all connections" : "draining");
    for (const auto& worker : workers_) {
      again ? worker->cut() : worker->drain();
    }
  }

  // Asks every worker for its counters, one after the other, and hands on their sum.
  void collect(std::function<void(Snapshot)> done, std::size_t next = 0,
               std::shared_ptr<Snapshot> sum = std::make_shared<Snapshot>()) {
    if (next == workers_.size()) {
      return done(*sum);
    }
    workers_[next]->snapshot([this, done = std::move(done), next, sum](const Snapshot& one) {
      asio::post(control_, [this, done, next, sum, one] {
        sum->merge(one);
        collect(done, next + 1, sum);
      });
    });
  }

  const Options& options_;
  asio::io_context control_{1}; // run by the main thread: signals and the admin listener
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Admin> admin_;
  asio::signal_set signals_;
  std::size_t running_ = 0;
  bool draining_ = false;
};

} // namespace

ExitCode serve(const Options& options) {
  raise_descriptor_limit();
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGHUP, SIG_IGN);
  if (options.timer_backend == "none") {
    spdlog::warn("--timer-backend none: THERE ARE NO TIMEOUTS; slow and dead clients are kept for "
                 "ever. For measuring only.");
  }
  try {
    Process process(options);
    process.run();
    return kExitDone;
  } catch (const std::exception& error) {
    std::cerr << "idlewheel-server: " << error.what() << '\n';
    return kExitFailure;
  }
}

} // namespace server
