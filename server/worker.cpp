// The whole server is compiled once per timer backend in this file. The backend is picked by name
// once, at start-up.
#include "server/worker.hpp"

#include "server/access_log.hpp"
#include "server/connection.hpp"
#include "server/listener.hpp"
#include "server/os_timer.hpp"
#include "server/traced_timers.hpp"
#include "timers/asio/baseline.hpp"
#include "timers/asio/driver.hpp"
#include "timers/backends.hpp"
#include "timers/none.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace server {
namespace {

using std::chrono::nanoseconds;

// A time of 0 on the command line turns off what it bounds.
std::optional<nanoseconds> unless_off(nanoseconds time) {
  return time.count() == 0 ? std::nullopt : std::optional(time);
}

// A number of 0 on the command line is no limit.
std::size_t limit_of(std::size_t number) {
  return number == 0 ? std::numeric_limits<std::size_t>::max() : number;
}

// How long handing over the port waits for the end of handshakes, and then for first requests. It
// covers round trips that are not much longer. Meanwhile clients that connect may be put off for a
// second, so it is short.
constexpr auto kHandOverStep = std::chrono::milliseconds(200);

// A Worker with one kind of timers.
template <timers::TimerFacility Timers> class WorkerOf final : public Worker {
public:
  explicit WorkerOf(WorkerConfig config)
      : io_(config.io), transport_(config.transport), options_(config.options),
        on_finished_(std::move(config.on_finished)), timers_(make_timers()),
        access_log_(io_, std::move(config.access_log)), context_(make_context()),
        listener_(io_,
                  {.endpoint = {boost::asio::ip::make_address(options_.address), config.port},
                   .share_port = config.share_port,
                   .backlog = options_.backlog,
                   .user_timeout = user_timeout()},
                  [this](Socket socket) { admit(std::move(socket)); }),
        hand_over_step_(io_), drain_limit_(io_) {}

  boost::asio::ip::tcp::endpoint endpoint() const override { return listener_.endpoint(); }

  void drain() override {
    boost::asio::post(io_, [this] { start_draining(); });
  }

  void cut() override {
    boost::asio::post(io_, [this] { end_all(); });
  }

  void configure(const Options& options, std::shared_ptr<LogFile> access_log,
                 std::function<void()> done) override {
    boost::asio::post(io_,
                      [this, options, access_log = std::move(access_log), done = std::move(done)] {
                        change_options(options, access_log);
                        done();
                      });
  }

  void resume() override {
    transport_.resume();
    listener_.resume();
    context_.held_writes.wait();
    if (context_.draining && !drain_begun_) {
      start_draining();
    } else if (drain_begun_) {
      end_idle(); // a step of handing over may be lost
    }
  }

  void snapshot(std::function<void(Snapshot)> done) override {
    boost::asio::post(io_, [this, done = std::move(done)] {
      Snapshot all{.server = counters_,
                   .timers = timers_.counters(),
                   .loop_stalls = context_.loop_probe.stalls()};
      all.server.accept_errors = listener_.errors();
      all.server.log_lines_dropped = access_log_.dropped();
      done(all);
    });
  }

private:
  using Connections =
      boost::intrusive::list<Connection<Timers>, boost::intrusive::constant_time_size<false>>;

  Timers make_timers() {
    const timers::DriverConfig config{
        .service = {.tick = options_.tick,
                    .rearm = options_.rearm,
                    .longest_timeout = std::max({options_.idle_timeout, options_.request_timeout,
                                                 options_.linger_timeout})}};
    if constexpr (std::is_same_v<Timers, TracedTimers>) {
      return Timers(io_.get_executor(), config, options_.timer_trace);
    } else {
      return Timers(io_.get_executor(), config);
    }
  }

  // How long the kernel may keep what a client does not acknowledge: as long as a request may take,
  // but at least ten seconds, so that a few packets may be lost. Without a request timeout the
  // kernel decides.
  std::chrono::milliseconds user_timeout() const {
    using std::chrono::milliseconds;
    const auto request_timeout = unless_off(options_.request_timeout);
    if (!request_timeout) {
      return milliseconds(0);
    }
    return std::clamp(std::chrono::duration_cast<milliseconds>(*request_timeout),
                      milliseconds(std::chrono::seconds(10)), milliseconds(std::chrono::hours(24)));
  }

  // Somebody who is refused may send no longer than a request may take.
  nanoseconds discard_timeout() const {
    return unless_off(options_.request_timeout).value_or(std::chrono::seconds(30));
  }

  ConnectionContext<Timers> make_context() {
    return {.transport = transport_,
            .counters = counters_,
            .exchanges = ExchangePool(exchange_context()),
            .timers = timers_,
            .timeouts = make_timeouts(),
            .held_writes = {io_, options_.write_window_time},
            .loop_probe = {io_, options_.admin_port.has_value()}};
  }

  Timeouts<Timers> make_timeouts() const {
    return {.idle = timeout(options_.idle_timeout),
            .request = timeout(options_.request_timeout),
            .linger = timeout(options_.linger_timeout),
            .discard = timers_.timeout(discard_timeout())};
  }

  RequestLimits request_limits() const {
    return {.max_header_bytes = options_.max_header_bytes,
            .max_headers = options_.max_headers,
            .max_body_bytes = options_.max_body_bytes};
  }

  ResponseLog* response_log() noexcept { return access_log_.enabled() ? &access_log_ : nullptr; }

  // Connections that are idle may have no timer yet, or one that is too late.
  void change_options(const Options& options, std::shared_ptr<LogFile> access_log) {
    const bool silence_changes = options.idle_timeout != options_.idle_timeout;
    options_ = options;
    access_log_.change_file(std::move(access_log));
    context_.exchanges.change(request_limits(), response_log());
    context_.timeouts = make_timeouts();
    listener_.change_user_timeout(user_timeout());
    if (silence_changes) {
      for_each_connection([](auto& connection) { connection.restart_silence(); });
    }
  }

  ExchangeContext exchange_context() {
    return {.limits = request_limits(),
            .window = {.bytes = options_.write_window_bytes,
                       .responses = limit_of(options_.write_window_responses)},
            .scenario = {options_.scenario, options_.mixed_period},
            .counters = counters_,
            .log = response_log()};
  }

  std::optional<typename Timers::Timeout> timeout(nanoseconds time) const {
    const auto bounded = unless_off(time);
    return bounded ? std::optional(timers_.timeout(*bounded)) : std::nullopt;
  }

  void admit(Socket socket) {
    auto& connection = Connection<Timers>::start(context_, std::move(socket));
    connections_.push_back(connection);
    if (counters_.serving() > limit_of(options_.max_connections)) {
      connection.turn_away();
    }
  }

  void start_draining() {
    if (drain_begun_) {
      return;
    }
    begin_to_end();
    drain_limit_.expires_after(options_.drain_timeout);
    drain_limit_.async_wait([this](Error cancelled) {
      if (!cancelled) {
        end_all();
      }
    });
    options_.reuse_port ? hand_over() : end_idle();
    drain_begun_ = true;
  }

  void begin_to_end() {
    context_.draining = true;
    context_.on_gone = [this] { finish_if_idle(); };
  }

  // Another process is about to serve the port alone, and no request is to be lost on the way.
  // Handshakes that have begun end here, and whoever has just connected or got an answer may be
  // sending a request.
  void hand_over() {
    listener_.leave();
    drain_silent();
    hand_over_step([this] {
      listener_.stop();
      drain_silent();
      hand_over_step([this] { end_idle(); });
      finish_if_idle();
    });
  }

  void drain_silent() {
    for_each_connection([](auto& connection) { connection.drain(kHandOverStep); });
  }

  template <class Step> void hand_over_step(Step step) {
    hand_over_step_.expires_after(kHandOverStep);
    hand_over_step_.async_wait([step](Error cancelled) {
      if (!cancelled) {
        step();
      }
    });
  }

  void end_idle() {
    context_.ends_idle = true;
    listener_.stop();
    for_each_connection([](auto& connection) { connection.drain({}); });
    finish_if_idle();
  }

  void end_all() {
    begin_to_end();
    context_.ends_idle = true;
    listener_.stop();
    for_each_connection([](auto& connection) { connection.cut(); });
    finish_if_idle();
  }

  void finish_if_idle() {
    if (counters_.open == 0 && listener_.stopped()) {
      finish();
    }
  }

  // Reports that the worker has finished. Nothing of it keeps the io_context busy afterwards. When
  // memory runs out here, resume() tries again.
  void finish() noexcept {
    if (finished_) {
      return;
    }
    try {
      hand_over_step_.cancel();
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
  Transport& transport_;
  Options options_;
  std::function<void()> on_finished_;
  Timers timers_;
  Counters counters_;
  AccessLog access_log_;
  ConnectionContext<Timers> context_;
  Listener listener_;
  OsTimer hand_over_step_;
  OsTimer drain_limit_;
  Connections connections_;
  bool drain_begun_ = false;
  bool finished_ = false;
};

using MakeWorker = std::unique_ptr<Worker> (*)(WorkerConfig);

template <class Timers> std::unique_ptr<Worker> make(WorkerConfig config) {
  return std::make_unique<WorkerOf<Timers>>(std::move(config));
}

struct Entry {
  const timers::BackendInfo& info;
  MakeWorker make;
};

std::vector<Entry> entries() {
  std::vector<Entry> all;
  timers::for_each_backend(timers::AllBackends{}, [&all]<class Backend>() {
    all.push_back({Backend::kInfo, make<timers::AsioDriver<Backend>>});
  });
  all.push_back({timers::AsioBaseline::kInfo, make<timers::AsioBaseline>});
  all.push_back({timers::None::kInfo, make<timers::None>});
  return all;
}

Entry entry_of(const std::string& name) {
  for (const Entry& entry : entries()) {
    if (entry.info.name == name) {
      return entry;
    }
  }
  throw std::invalid_argument("no such timer backend");
}

} // namespace

std::vector<BackendName> backend_names() {
  std::vector<BackendName> names;
  for (const Entry& entry : entries()) {
    names.push_back({.name = std::string(entry.info.name),
                     .scheme = std::string(entry.info.scheme),
                     .summary = std::string(entry.info.summary),
                     .is_default = entry.info.name == timers::DefaultBackend::kInfo.name});
  }
  return names;
}

const timers::BackendInfo& backend_info(const std::string& name) { return entry_of(name).info; }

std::unique_ptr<Worker> make_worker(WorkerConfig config) {
  if (!config.options.timer_trace.empty()) {
    return make<TracedTimers>(std::move(config));
  }
  return entry_of(config.options.timer_backend).make(std::move(config));
}

} // namespace server
