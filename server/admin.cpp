#include "server/admin.hpp"

#include "server/connection.hpp"
#include "server/os_timer.hpp"
#include "server/transport.hpp"
#include "timers/asio/baseline.hpp"

#include <boost/asio/basic_socket_acceptor.hpp>
#include <spdlog/spdlog.h>

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <utility>

namespace server {
namespace {

using boost::asio::ip::tcp;
using Timers = timers::AsioBaseline;
using AdminConnection = Connection<Timers>;

constexpr std::size_t kMostConnections = 32;
constexpr auto kTimeout = std::chrono::seconds(30); // of idle connections and of requests
constexpr auto kLinger = std::chrono::seconds(2);
constexpr auto kPause = std::chrono::seconds(1);      // after a failure to accept
constexpr auto kTick = std::chrono::milliseconds(10); // of the kernel's clock of silence, at most

// No resource of the admin listener takes a body, so a request with one is refused.
constexpr RequestLimits kLimits{
    .max_header_bytes = 8192, .max_headers = 100, .max_body_bytes = 0, .site = Site::admin};

// A descriptor in reserve. It is given up when the process has no other left for a connection.
class SpareDescriptor {
public:
  SpareDescriptor() { take(); }
  ~SpareDescriptor() { give_up(); }
  SpareDescriptor(const SpareDescriptor&) = delete;
  SpareDescriptor& operator=(const SpareDescriptor&) = delete;

  void take() noexcept {
    if (descriptor_ < 0) {
      descriptor_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
  }
  // False when it was given up before.
  bool give_up() noexcept { return descriptor_ >= 0 && close(std::exchange(descriptor_, -1)) == 0; }

private:
  int descriptor_ = -1;
};

// What the admin listener answers with. Each request for figures collects them anew.
class AdminDocuments final : public Documents {
public:
  // `on_collected` is called when a document that was awaited may be there.
  AdminDocuments(AdminSource source, std::function<void()> on_collected)
      : source_(std::move(source)), on_collected_(std::move(on_collected)) {}

  std::uint64_t request(Resource::Kind kind) override {
    if (kind == Resource::Kind::health || kind == Resource::Kind::readiness) {
      return 0;
    }
    const std::uint64_t number = ++requested_;
    source_.snapshot([this, number](const Snapshot& snapshot) {
      snapshot_ = snapshot;
      collected_ = number;
      on_collected_();
    });
    return number;
  }

  std::optional<Document> take(Resource::Kind kind, std::uint64_t number) override {
    if (number > collected_) {
      return std::nullopt;
    }
    switch (kind) {
    case Resource::Kind::stats:
      return Document{.content_type = "application/json",
                      .body = stats_json(source_.settings, snapshot_)};
    case Resource::Kind::metrics:
      return Document{.content_type = "text/plain; version=0.0.4",
                      .body = metrics_text(source_.settings, snapshot_)};
    case Resource::Kind::readiness:
      if (!source_.ready()) {
        return Document{.status = Status::service_unavailable, .body = "draining\n"};
      }
      return Document{.body = "ready\n"};
    default:
      return Document{.body = "ok\n"};
    }
  }

private:
  const AdminSource source_;
  const std::function<void()> on_collected_;
  std::uint64_t requested_ = 0;
  std::uint64_t collected_ = 0; // the number of the latest request whose figures are here
  Snapshot snapshot_;
};

class AdminListener final : public Admin {
public:
  AdminListener(boost::asio::io_context& io, const tcp::endpoint& endpoint, AdminSource source)
      : io_(io), acceptor_(io, endpoint), pause_(io), timers_(io.get_executor()),
        documents_(std::move(source), [this] { resume_connections(); }), context_(make_context()) {
    acceptor_.set_option(tcp::no_delay(true));
    acceptor_.non_blocking(true);
    accept();
  }

  tcp::endpoint endpoint() const override { return acceptor_.local_endpoint(); }

  void resume() override {
    context_.transport.resume();
    if (done_) {
      end_idle(); // may have failed
    } else if (!waiting_ && acceptor_.is_open()) {
      accept();
    }
  }

  void drain() override { context_.draining = true; }

  void end(std::function<void()> done) override {
    done_ = std::move(done);
    context_.ends_idle = true;
    end_idle();
  }

  void cut() override {
    for_each_connection([](auto& connection) { connection.cut(); });
  }

private:
  using Acceptor = boost::asio::basic_socket_acceptor<tcp, boost::asio::io_context::executor_type>;

  ConnectionContext<Timers> make_context() {
    return {.transport = epoll_transport(io_),
            .counters = counters_,
            .exchanges = ExchangePool({.limits = kLimits,
                                       .window = {},
                                       .scenario = {Scenario::respond, 1},
                                       .counters = counters_,
                                       .documents = &documents_}),
            .timers = timers_,
            .timeouts = {.idle = timers_.timeout(kTimeout),
                         .request = timers_.timeout(kTimeout),
                         .linger = timers_.timeout(kLinger),
                         .discard = timers_.timeout(kTimeout)},
            .held_writes = {io_, std::chrono::nanoseconds(0)},
            .loop_probe = {io_, false},
            .on_gone = [this] { on_gone(); }};
  }

  void accept() {
    acceptor_.async_wait(Acceptor::wait_read, [this](Error error) {
      waiting_ = false;
      if (!error && acceptor_.is_open()) {
        accept_one();
      }
    });
    waiting_ = true;
  }

  void accept_one() {
    const Error error = accept_client();
    if (error && error != boost::asio::error::would_block) {
      spdlog::warn("the admin listener cannot accept: {}", error.message());
      return pause();
    }
    accept();
  }

  // Accepts a client that waits. Without a descriptor for it, the spare one is given up first, and
  // then other connections.
  Error accept_client() {
    Error error;
    const int listener = acceptor_.native_handle();
    std::optional<Socket> socket = accept_from(listener, error);
    while (error && error != boost::asio::error::would_block && (spare_.give_up() || make_room())) {
      socket = accept_from(listener, error);
    }
    if (socket) {
      begin(*std::move(socket));
    }
    return error;
  }

  void pause() {
    pause_.expires_after(kPause);
    pause_.async_wait([this](Error cancelled) {
      waiting_ = false;
      if (!cancelled) {
        accept();
      }
    });
    waiting_ = true;
  }

  // At the end all that wait are served, because nobody will connect after them.
  void begin(Socket socket) {
    if (!done_ && connections_.size() >= kMostConnections) {
      make_room();
    }
    connections_.push_back(AdminConnection::start(context_, std::move(socket)));
  }

  void end_idle() {
    stop_accepting();
    for_each_connection([](auto& connection) { connection.drain({}); });
    finish_if_idle();
  }

  // Accepts what waits first, because closing the socket resets connections that were not accepted.
  void stop_accepting() {
    if (!acceptor_.is_open()) {
      return;
    }
    for (int i = 0; i < tcp::acceptor::max_listen_connections && !accept_client(); ++i) {
    }
    Error error;
    acceptor_.close(error);
    pause_.cancel();
  }

  // Ends the connection that is idle for longest, or the oldest if none is idle. False if there is
  // none. Connections are in the order in which they were accepted.
  bool make_room() {
    AdminConnection* least = connections_.empty() ? nullptr : &connections_.front();
    auto least_heard = Timers::Instant::max();
    for (AdminConnection& connection : connections_) {
      // The clock is read for each, because this loop may be interrupted for long.
      const auto heard = timers_.now() - connection.silence();
      if (!connection.busy() && heard + kTick < least_heard) {
        least = &connection;
        least_heard = heard;
      }
    }
    if (least == nullptr) {
      return false;
    }
    connections_.erase(connections_.iterator_to(*least));
    least->cut();
    return true;
  }

  void resume_connections() {
    for_each_connection([](auto& connection) { connection.resume(); });
  }

  // `visit` may delete the connection it is given.
  template <class Visit> void for_each_connection(Visit visit) {
    for (auto at = connections_.begin(); at != connections_.end();) {
      visit(*at++);
    }
  }

  void on_gone() {
    spare_.take();
    finish_if_idle();
  }

  void finish_if_idle() {
    if (done_ && counters_.open == 0) {
      timers_.stop();
      std::exchange(done_, nullptr)();
    }
  }

  boost::asio::io_context& io_;
  Acceptor acceptor_;
  OsTimer pause_; // until accepting is tried again
  Timers timers_;
  Counters counters_;
  AdminDocuments documents_;
  ConnectionContext<Timers> context_;
  SpareDescriptor spare_;
  boost::intrusive::list<AdminConnection, boost::intrusive::constant_time_size<false>> connections_;
  std::function<void()> done_;
  bool waiting_ = false; // for a client, or for the end of a pause
};

} // namespace

std::unique_ptr<Admin> make_admin(boost::asio::io_context& io, const tcp::endpoint& endpoint,
                                  AdminSource source) {
  return std::make_unique<AdminListener>(io, endpoint, std::move(source));
}

} // namespace server
