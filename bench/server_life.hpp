// Workloads on a TimerService, eager or lazy: a sweep of re-arming, and the life of a server.
#pragma once

#include "bench/floor.hpp"
#include "bench/workload.hpp"

#include <deque>

namespace bench {

// One idle timer per owner, re-armed in turn while time goes on. The service makes no passes, so
// this is the cost of rearm alone. ServerLife includes the work that lazy re-arming puts off.
template <class Service> class RearmThroughService : public Workload {
public:
  RearmThroughService(std::size_t n, timers::Rearm rearm)
      : service_({.rearm = rearm}, time_.clock()) {
    for (std::size_t i = 0; i < n; ++i) {
      owners_.emplace_back(*this);
    }
    for (std::size_t which = 0; which < orders_.size(); ++which) {
      for (const std::uint32_t i : permutation(n, 4 + which)) {
        orders_[which].push_back(&owners_[i]);
      }
    }
    sweep();
  }

  Timed pass() override {
    const auto elapsed = stopwatch([this] { sweep(); });
    return {elapsed, owners_.size()};
  }

  std::string_view check() override {
    RunLog expected;
    bool stored_right = true;
    for (std::size_t i = 0; i < owners_.size(); ++i) {
      const Owner& owner = *orders_[(sweeps_ - 1) % 2][i];
      const Tick turn = sweep_start_ + 1 + i / operations_per_tick(owners_.size());
      expected.add(turn + kIdleTimeout, owner.address());
      if constexpr (std::is_same_v<Service, FloorService>) {
        stored_right &= owner.idle.deadline() == turn + kIdleTimeout;
      }
    }
    if constexpr (std::is_same_v<Service, FloorService>) {
      return stored_right ? "" : "a stored deadline is wrong";
    } else if (!run_dry(service_, time_, owners_.size())) {
      return "the service does not come to rest";
    }
    return log_ == expected ? "" : "not every timer ran once, at its deadline";
  }

private:
  struct alignas(64) Owner {
    explicit Owner(RearmThroughService& of)
        : idle(of.service_, [this] { workload->log_.add(workload->time_.tick(), address()); }),
          workload(&of) {}
    std::uint64_t address() const noexcept { return reinterpret_cast<std::uintptr_t>(this); }
    typename Service::Timer idle;
    RearmThroughService* workload;
  };

  void sweep() {
    const auto& order = orders_[sweeps_++ % 2];
    const std::size_t per_tick = operations_per_tick(order.size());
    sweep_start_ = time_.tick();
    for (std::size_t i = 0; i < order.size();) {
      time_.set(time_.tick() + 1);
      for (const std::size_t end = std::min(i + per_tick, order.size()); i < end; ++i) {
        order[i]->idle.rearm(kIdleTimeout, time_.now());
      }
    }
  }

  VirtualTime time_;
  RunLog log_;
  Service service_;
  std::deque<Owner> owners_; // a deque never moves its elements
  std::array<std::vector<Owner*>, 2> orders_;
  std::size_t sweeps_ = 0;
  Tick sweep_start_ = 0;
};

struct ServerLifeConfig {
  timers::Rearm rearm;
  Ticks idle_timeout;    // longer than the request timeout
  Ticks request_timeout; // longer than it takes until all connections have had their turn
};

// The timers of a server while n connections send one request each, in turn. A read re-arms `idle`
// and arms `request`. The write of the response disarms `request` and re-arms `idle`. Reads come in
// batches, as epoll reports them, and their writes follow. Each tick begins with a pass of the
// service.
//
// About two connections in a hundred are silent. Half of these wait for a response that never
// comes, until `request` runs. The others send nothing more, until `idle` runs. A connection that
// times out is closed and replaced by a new one. The start looks as if connections had been
// accepted evenly over the idle timeout before it, so that lazy re-files come at their steady rate
// from the first tick on.
template <class Service> class ServerLife : public Workload {
public:
  ServerLife(std::size_t n, ServerLifeConfig config)
      : config_(config), service_({.rearm = config.rearm}, time_.clock()) {
    for (std::size_t id = 0; id < n; ++id) {
      connections_.emplace_back(*this, id);
    }
    for (const std::uint32_t id : permutation(n, 6)) {
      order_.push_back(&connections_[id]);
    }
    silence_period_ = silence_period();
    accept_all();
  }

  Timed pass() override {
    operations_ = 0;
    const auto elapsed = stopwatch([this] { serve_everyone(); });
    ++passes_;
    return {elapsed, operations_};
  }

  std::string_view check() override {
    const std::vector<Fate> fates = predict();
    if constexpr (kFloor) {
      for (const Fate& fate : fates) {
        if (connections_[fate.id].idle.deadline() != fate.due) {
          return "a stored deadline is wrong";
        }
      }
      return "";
    } else {
      reconnects_ = false;
      if (pass_never_ended_ || !run_dry(service_, time_, 2 * fates.size())) {
        return "the service does not come to rest";
      }
      for (const Fate& fate : fates) {
        expected_.add(fate.due, 2 * fate.id + (fate.request ? 1 : 0));
      }
      return log_ == expected_ ? "" : "timeouts differ from what each connection's life says";
    }
  }

private:
  static constexpr bool kFloor = std::is_same_v<Service, FloorService>;
  static constexpr std::size_t kBatch = 16;

  struct alignas(64) Connection {
    Connection(ServerLife& of, std::size_t number)
        : idle(of.service_, [this] { life->on_idle(*this); }),
          request(of.service_, [this] { life->on_slow_request(*this); }), life(&of), id(number) {}
    typename Service::Timer idle;
    typename Service::Timer request;
    ServerLife* life;
    std::uint64_t id;
    bool silent = false;
  };

  // The next timeout of a connection, as plain arithmetic gives it.
  struct Fate {
    std::uint64_t id;
    Tick due;
    bool request = false; // true: its request times out; false: it is idle for too long
    bool silent = false;
  };

  std::size_t per_tick() const { return operations_per_tick(connections_.size()); }
  Tick start() const { return config_.idle_timeout; }

  // Of how many requests one falls silent, in either of the two ways. The result keeps about two
  // connections in 100 silent.
  std::uint64_t silence_period() const {
    const Ticks both = config_.idle_timeout + config_.request_timeout;
    return std::max<std::uint64_t>(2, 50 * both * per_tick() / connections_.size());
  }

  bool unanswered(std::uint64_t request) const { return !kFloor && request % silence_period_ == 0; }
  bool last(std::uint64_t request) const {
    return !kFloor && request % silence_period_ == silence_period_ / 2;
  }

  void accept_all() {
    const std::size_t n = connections_.size();
    for (std::size_t i = 0; i < n; ++i) {
      const Tick tick = i * config_.idle_timeout / n;
      connections_[i].idle.arm(config_.idle_timeout, {tick, tick});
    }
    for (std::size_t i = 0; i < n; ++i) {
      const Tick tick = start() - config_.request_timeout + i * config_.request_timeout / n;
      connections_[i].request.arm(config_.request_timeout, {tick, tick});
      connections_[i].request.disarm();
    }
    time_.set(start());
    for (Connection& connection : connections_) {
      connection.idle.rearm(config_.idle_timeout, time_.now());
    }
  }

  void serve_everyone() {
    const std::size_t n = connections_.size();
    for (std::size_t i = 0; i < n;) {
      time_.set(time_.tick() + 1);
      pass_never_ended_ |= !run_due(service_, 2 * n);
      const std::size_t end_of_tick = std::min(i + per_tick(), n);
      while (i < end_of_tick) {
        const std::size_t end = std::min(i + kBatch, end_of_tick);
        for (std::size_t at = i; at < end; ++at) {
          read(*order_[at], passes_ * n + at);
        }
        for (std::size_t at = i; at < end; ++at) {
          write(*order_[at], passes_ * n + at);
        }
        i = end;
      }
    }
  }

  void read(Connection& connection, std::uint64_t request) {
    if (connection.silent) {
      return;
    }
    connection.idle.rearm(config_.idle_timeout, time_.now());
    connection.request.arm(config_.request_timeout, time_.now());
    connection.silent = unanswered(request);
    operations_ += 2;
  }

  void write(Connection& connection, std::uint64_t request) {
    if (connection.silent) {
      return;
    }
    connection.request.disarm();
    connection.idle.rearm(config_.idle_timeout, time_.now());
    connection.silent = last(request);
    operations_ += 2;
  }

  void on_idle(Connection& connection) {
    log_.add(time_.tick(), 2 * connection.id);
    connect_anew(connection);
  }

  void on_slow_request(Connection& connection) {
    log_.add(time_.tick(), 2 * connection.id + 1);
    connection.idle.disarm();
    connect_anew(connection);
  }

  void connect_anew(Connection& connection) {
    if (reconnects_) {
      connection.silent = false;
      connection.idle.arm(config_.idle_timeout, time_.now());
    }
  }

  // Repeats all requests on connections that have no timers, only the tick of their next timeout.
  // Adds what should have run by now to expected_, and returns what is still to come.
  std::vector<Fate> predict() {
    std::vector<Fate> fates;
    for (const Connection& connection : connections_) {
      fates.push_back({.id = connection.id, .due = start() + config_.idle_timeout});
    }
    const std::size_t n = fates.size();
    const Tick ticks_per_pass = (n + per_tick() - 1) / per_tick();
    for (std::uint64_t request = 0; request < passes_ * n; ++request) {
      const Tick tick = start() + 1 + request / n * ticks_per_pass + request % n / per_tick();
      Fate& fate = fates[order_[request % n]->id];
      live_until(tick, fate);
      if (!fate.silent) {
        fate.request = unanswered(request);
        fate.silent = fate.request || last(request);
        fate.due = tick + (fate.request ? config_.request_timeout : config_.idle_timeout);
      }
    }
    for (Fate& fate : fates) {
      live_until(time_.tick(), fate);
    }
    return fates;
  }

  void live_until(Tick tick, Fate& fate) {
    while (fate.due <= tick) {
      expected_.add(fate.due, 2 * fate.id + (fate.request ? 1 : 0));
      fate = {.id = fate.id, .due = fate.due + config_.idle_timeout};
    }
  }

  const ServerLifeConfig config_;
  VirtualTime time_;
  RunLog log_;
  RunLog expected_;
  Service service_;
  std::deque<Connection> connections_; // a deque never moves its elements
  std::vector<Connection*> order_;
  std::uint64_t silence_period_ = 0;
  std::uint64_t passes_ = 0;
  std::uint64_t operations_ = 0;
  bool pass_never_ended_ = false; // a pass of the service exceeded its budget
  bool reconnects_ = true;        // false: a connection that timed out is not replaced
};

} // namespace bench
