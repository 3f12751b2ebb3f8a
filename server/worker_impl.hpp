// Worker, for one kind of timers. Included only where workers are made (backends.cpp).
#pragma once

#include "server/connection.hpp"
#include "server/listener.hpp"
#include "server/traced_timers.hpp"
#include "server/worker.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <functional>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace server {

template <timers::TimerFacility Timers> class WorkerOf final : public Worker {
public:
  explicit WorkerOf(WorkerConfig config)
      : io_(config.io), on_finished_(std::move(config.on_finished)),
        timers_(make_timers(config.options)), context_(make_context(config.options)),
        listener_(io_,
                  {.endpoint = {boost::asio::ip::make_address(config.options.address), config.port},
                   .share_port = config.share_port,
                   .backlog = config.options.backlog,
                   .user_timeout = user_timeout(config.options)},
                  [this](Socket socket) { admit(std::move(socket)); }),
        drain_limit_(io_) {
    context_.free_workspaces.reserve(kPooledWorkspaces); // giving one back never throws
  }

  boost::asio::ip::tcp::endpoint endpoint() const override { return listener_.endpoint(); }

  void drain() override {
    boost::asio::post(io_, [this] { start_draining(); });
  }

  void cut() override {
    boost::asio::post(io_, [this] { end_all(); });
  }

  void resume() override {
    listener_.resume();
    context_.held_writes.wait();
    if (context_.draining && !drain_begun_) {
      start_draining();
    } else if (drain_begun_ && context_.counters.open == 0) {
      finish();
    }
  }

  void snapshot(std::function<void(Snapshot)> done) override {
    boost::asio::post(io_, [this, done = std::move(done)] {
      Snapshot all{.server = context_.counters,
                   .timers = timers_.counters(),
                   .loop_stalls = context_.loop_probe.stalls()};
      all.server.accept_errors = listener_.errors();
      all.server.log_lines_dropped = context_.access_log.dropped();
      done(all);
    });
  }

private:
  using Connections =
      boost::intrusive::list<Connection<Timers>, boost::intrusive::constant_time_size<false>>;

  Timers make_timers(const Options& options) {
    const timers::DriverConfig config{
        .service = {.tick = options.tick,
                    .rearm = options.rearm,
                    .longest_timeout = std::max(
                        {options.idle_timeout, options.request_timeout, options.linger_timeout})}};
    if constexpr (std::is_same_v<Timers, TracedTimers>) {
      return Timers(io_.get_executor(), config, options.timer_trace);
    } else {
      return Timers(io_.get_executor(), config);
    }
  }

  // What the request timeout allows, but time enough for a few packets lost on the way.
  static std::chrono::milliseconds user_timeout(const Options& options) {
    using std::chrono::milliseconds;
    if (options.request_timeout.count() == 0) {
      return milliseconds(0);
    }
    const auto timeout = std::chrono::duration_cast<milliseconds>(options.request_timeout);
    return std::clamp<milliseconds>(timeout, std::chrono::seconds(10), std::chrono::hours(24));
  }

  WorkerContext<Timers> make_context(const Options& options) {
    return {.options = options,
            .limits = {.max_header_bytes = options.max_header_bytes,
                       .max_headers = options.max_headers,
                       .max_body_bytes = options.max_body_bytes,
                       .keep_request_line = !options.access_log.empty()},
            .timers = timers_,
            .idle_timeout = timers_.timeout(options.idle_timeout),
            .request_timeout = timers_.timeout(options.request_timeout),
            .linger_timeout = timers_.timeout(options.linger_timeout),
            .scenario = {options.scenario, options.mixed_period},
            .formatter = {},
            .held_writes = {io_, options.write_window_time},
            .access_log = {io_, options.access_log},
            .loop_probe = {io_, options.admin_port.has_value()},
            .counters = {},
            .free_workspaces = {},
            .on_last_connection = [this] { finish(); }};
  }

  void admit(Socket socket) {
    const std::size_t max = context_.options.max_connections;
    auto& connection = Connection<Timers>::start(context_, std::move(socket));
    connections_.push_back(connection);
    if (max != 0 && context_.serving > max) {
      connection.turn_away();
    }
  }

  void start_draining() {
    if (drain_begun_) {
      return;
    }
    context_.draining = true;
    listener_.stop();
    for_each_connection([](Connection<Timers>& connection) { connection.drain(); });
    drain_limit_.expires_after(context_.options.drain_timeout);
    drain_limit_.async_wait([this](Error cancelled) {
      if (!cancelled) {
        end_all();
      }
    });
    drain_begun_ = true;
    if (context_.counters.open == 0) {
      finish();
    }
  }

  void end_all() {
    context_.draining = true;
    listener_.stop();
    for_each_connection([](Connection<Timers>& connection) { connection.cut(); });
    if (context_.counters.open == 0) {
      finish();
    }
  }

  // After this nothing of the worker's keeps the io_context busy. Without memory to say so it says
  // so later: resume().
  void finish() noexcept {
    if (finished_) {
      return;
    }
    try {
      drain_limit_.cancel();
      timers_.stop();
      on_finished_();
      finished_ = true;
    } catch (const std::bad_alloc&) {
    }
  }

  // `visit` may delete the connection it is given.
  template <class Visit> void for_each_connection(Visit visit) {
    for (auto at = connections_.begin(); at != connections_.end();) {
      visit(*at++);
    }
  }

  boost::asio::io_context& io_;
  std::function<void()> on_finished_;
  Timers timers_;
  WorkerContext<Timers> context_;
  Listener listener_;
  OsTimer drain_limit_;
  Connections connections_;
  bool drain_begun_ = false;
  bool finished_ = false;
};

template <class Timers> std::unique_ptr<Worker> make_worker(WorkerConfig config) {
  return std::make_unique<WorkerOf<Timers>>(std::move(config));
}

} // namespace server
