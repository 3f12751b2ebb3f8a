// What the tests of timers share: a clock that is moved by hand, and an interface behind which any
// backend or service stands. A test takes the kind of backend as its parameter. So it is compiled
// once however many backends there are, and a changed backend recompiles only testing.cpp.
#pragma once

#include "timers/timer_service.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace timers::test {

using std::chrono::nanoseconds;

// For what must be overdue when a loop looks.
inline void spin_until(std::chrono::steady_clock::time_point end) {
  while (std::chrono::steady_clock::now() < end) {
  }
}

// Tests use small wheels, so that few ticks turn them several times and thousands are made quickly.
inline constexpr Ticks kSmallReach = 255;
inline constexpr std::size_t kSmallSlots = 64;

// A backend as it is, or with few slots if it is a wheel whose number of slots can be chosen.
template <TimerBackend Backend> struct Small : Backend {
  Small() = default;
  Small() requires BackendWithReach<Backend> : Backend(kSmallReach) {}
  Small() requires(!BackendWithReach<Backend> && std::constructible_from<Backend, std::size_t>)
      : Backend(kSmallSlots) {}
};

// A backend with nodes of its own, which are numbered from 0.
class AnyBackend {
public:
  virtual ~AnyBackend() = default;
  virtual const BackendInfo& info() const = 0;
  virtual void arm(std::size_t timer, Tick deadline) = 0;
  virtual void rearm(std::size_t timer, Tick deadline) = 0;
  virtual void disarm(std::size_t timer) = 0;
  virtual void advance(Tick now) = 0;
  virtual std::optional<std::size_t> pop_expired() = 0;
  virtual Tick next_deadline() const = 0;
  virtual std::string check() const = 0;
};

template <class Backend> class BackendOf : public AnyBackend {
public:
  explicit BackendOf(std::size_t timers) : nodes_(timers) {}

  const BackendInfo& info() const override { return Backend::kInfo; }
  void arm(std::size_t timer, Tick deadline) override {
    backend_.arm(nodes_[timer], deadline, timeout_to(deadline));
  }
  void rearm(std::size_t timer, Tick deadline) override {
    backend_.rearm(nodes_[timer], deadline, timeout_to(deadline));
  }
  void disarm(std::size_t timer) override { backend_.disarm(nodes_[timer]); }
  void advance(Tick now) override {
    now_ = std::max(now_, now);
    backend_.advance(now);
  }
  std::optional<std::size_t> pop_expired() override {
    auto* node = backend_.pop_expired();
    if (node == nullptr) {
      return std::nullopt;
    }
    return static_cast<std::size_t>(static_cast<Entry*>(node) - nodes_.data());
  }
  Tick next_deadline() const override { return backend_.next_deadline(); }
  std::string check() const override { return std::string(backend_.check()); }

private:
  struct Entry : Backend::Node {};

  Ticks timeout_to(Tick deadline) const { return deadline > now_ ? deadline - now_ : 0; }

  std::vector<Entry> nodes_;
  Small<Backend> backend_;
  Tick now_ = 0;
};

// The parameter of a test over the backends.
struct BackendKind {
  const BackendInfo& info;
  Ticks reach; // kNever: it holds any deadline
  std::unique_ptr<AnyBackend> (*make)(std::size_t timers);

  // The longest timeout that can be filed at `now`.
  Ticks furthest(Tick now) const { return std::min(kLatest - now, reach); }
};

template <TimerBackend Backend> BackendKind backend_kind() {
  return {Backend::kInfo, BackendWithReach<Backend> ? kSmallReach : kNever,
          [](std::size_t timers) -> std::unique_ptr<AnyBackend> {
            return std::make_unique<BackendOf<Backend>>(timers);
          }};
}

const std::vector<BackendKind>& backend_kinds(); // the one list

// A clock that reads a number of nanoseconds which the test keeps. The number is unsigned, so that
// the clock may pass its largest value.
struct VirtualClock {
  const std::uint64_t* ns = nullptr;

  std::chrono::steady_clock::time_point now() const noexcept {
    return std::chrono::steady_clock::time_point(nanoseconds(static_cast<std::int64_t>(*ns)));
  }
};

// Takes a copy, because the action may destroy the timer that holds it.
inline void run_copy(std::function<void()> action) { action(); }

class AnyTimer {
public:
  virtual ~AnyTimer() = default;
  virtual void arm(Ticks timeout, Instant now) = 0;
  virtual void rearm(Ticks timeout, Instant now, Ticks slack) = 0;
  virtual void change_timeout(Ticks timeout, Instant now) = 0;
  virtual bool disarm() = 0;
  virtual bool armed() const = 0;
};

using TimerPtr = std::unique_ptr<AnyTimer>;

inline constexpr std::size_t kNoBudget = static_cast<std::size_t>(-1);

class AnyService {
public:
  virtual ~AnyService() = default;
  virtual TimerPtr timer(std::function<void()> action) = 0;
  virtual Instant now() = 0;
  virtual Ticks timeout(Nanoseconds duration) const = 0;
  virtual nanoseconds tick() const = 0;
  virtual Pass run_due(std::size_t budget) = 0;
  virtual Tick next_deadline() const = 0;
  virtual nanoseconds time_of(Tick tick) const = 0;
  virtual void on_earlier_deadline(std::function<void()>* wake) = 0;
  virtual void expect_wake(Tick tick) = 0;
  virtual const TimerCounters& counters() const = 0;
  virtual std::string check() const = 0;
};

inline constexpr Ticks kServiceReach = 100;

template <class Backend> class ServiceOf : public AnyService {
public:
  ServiceOf(ServiceConfig config, VirtualClock clock) : service_(small(config), clock) {}

  TimerPtr timer(std::function<void()> action) override {
    return std::make_unique<TimerOf>(service_, std::move(action));
  }
  Instant now() override { return service_.now(); }
  Ticks timeout(Nanoseconds duration) const override { return service_.timeout(duration); }
  nanoseconds tick() const override { return service_.tick(); }
  Pass run_due(std::size_t budget) override { return service_.run_due(budget); }
  Tick next_deadline() const override { return service_.next_deadline(); }
  nanoseconds time_of(Tick tick) const override { return service_.time_of(tick); }
  void on_earlier_deadline(std::function<void()>* wake) override {
    service_.on_earlier_deadline([wake] { (*wake)(); });
  }
  void expect_wake(Tick tick) override { service_.expect_wake(tick); }
  const TimerCounters& counters() const override { return service_.counters(); }
  std::string check() const override { return std::string(service_.check()); }

private:
  using Sized = std::conditional_t<BackendWithReach<Backend>, Backend, Small<Backend>>;
  using Service = TimerService<Sized, VirtualClock>;

  static ServiceConfig small(ServiceConfig config) {
    config.longest_timeout = static_cast<std::int64_t>(kServiceReach) * config.tick;
    return config;
  }

  class TimerOf : public AnyTimer {
  public:
    TimerOf(Service& service, std::function<void()> action)
        : action_(std::move(action)), timer_(service, [this] { run_copy(action_); }) {}

    void arm(Ticks timeout, Instant now) override { timer_.arm(timeout, now); }
    void rearm(Ticks timeout, Instant now, Ticks slack) override {
      timer_.rearm(timeout, now, slack);
    }
    void change_timeout(Ticks timeout, Instant now) override {
      timer_.change_timeout(timeout, now);
    }
    bool disarm() override { return timer_.disarm(); }
    bool armed() const override { return timer_.armed(); }

  private:
    std::function<void()> action_;
    typename Service::Timer timer_;
  };

  Service service_;
};

// The parameter of a test over backends and ways to re-arm.
struct ServiceKind {
  const BackendInfo& info;
  Rearm rearm;
  Ticks reach; // timeouts up to this are filed where they are due; kNever: all are
  std::unique_ptr<AnyService> (*make)(ServiceConfig config, VirtualClock clock);

  bool lazy() const { return rearm == Rearm::lazy; }
  bool exact_next_deadline() const {
    return info.exact_next_deadline && !lazy() && reach == kNever;
  }
};

template <TimerBackend Backend> ServiceKind service_kind(Rearm rearm) {
  return {Backend::kInfo, rearm, BackendWithReach<Backend> ? kServiceReach : kNever,
          [](ServiceConfig config, VirtualClock clock) -> std::unique_ptr<AnyService> {
            return std::make_unique<ServiceOf<Backend>>(config, clock);
          }};
}

const std::vector<ServiceKind>& service_kinds(); // the one list, lazy and eager

inline void PrintTo(const BackendKind& kind, std::ostream* out) { *out << kind.info.name; }
inline void PrintTo(const ServiceKind& kind, std::ostream* out) {
  *out << kind.info.name << (kind.lazy() ? ", lazy" : ", eager");
}

// The name of a kind within gtest's names of tests. It has no '-', because a filter of gtest reads
// that as "but not".
inline std::string test_id(const BackendInfo& info) {
  std::string id(info.name);
  std::replace(id.begin(), id.end(), '-', '_');
  return id;
}
inline std::string test_id(const BackendInfo& info, Rearm rearm) {
  return test_id(info) + (rearm == Rearm::lazy ? "_lazy" : "_eager");
}
inline std::string backend_id(const ::testing::TestParamInfo<BackendKind>& test) {
  return test_id(test.param.info);
}
inline std::string service_id(const ::testing::TestParamInfo<ServiceKind>& test) {
  return test_id(test.param.info, test.param.rearm);
}

// An entry says which timer ran, and in the pass of which tick.
struct LogEntry {
  Tick tick;
  int timer;
  auto operator<=>(const LogEntry&) const = default;
};

inline void PrintTo(const LogEntry& run, std::ostream* out) {
  *out << "timer " << run.timer << " at tick " << run.tick;
}

// A service, its clock, and the log of what ran.
class Rig {
public:
  explicit Rig(const ServiceKind& kind, std::uint64_t start_ns = 0,
               nanoseconds tick = std::chrono::milliseconds(1))
      : start_ns_(start_ns), clock_ns_(start_ns), tick_(tick),
        service_(kind.make({.tick = tick, .rearm = kind.rearm}, VirtualClock{&clock_ns_})) {}

  AnyService& service() { return *service_; }
  void destroy_service() { service_.reset(); }

  nanoseconds elapsed() const {
    return nanoseconds(static_cast<std::int64_t>(clock_ns_ - start_ns_));
  }
  void move_to(nanoseconds elapsed) {
    clock_ns_ = start_ns_ + static_cast<std::uint64_t>(elapsed.count());
  }
  void move_by(nanoseconds step) { move_to(elapsed() + step); }
  // Moves the clock to the first instant of a tick.
  void move_to_tick(Tick tick) {
    clock_ns_ = start_ns_ + tick * static_cast<std::uint64_t>(tick_.count());
  }

  TimerPtr timer(std::function<void()> action) { return service_->timer(std::move(action)); }
  // Makes a timer that notes in the log that it ran.
  TimerPtr timer(int id) {
    return timer([this, id] { note(id); });
  }
  void note(int id) { log.push_back({service_->now().floor, id}); }

  void arm(const TimerPtr& timer, Nanoseconds timeout) {
    timer->arm(service_->timeout(timeout), service_->now());
  }
  void rearm(const TimerPtr& timer, Nanoseconds timeout, Ticks slack = 0) {
    timer->rearm(service_->timeout(timeout), service_->now(), slack);
  }
  void change_timeout(const TimerPtr& timer, Nanoseconds timeout) {
    timer->change_timeout(service_->timeout(timeout), service_->now());
  }

  // Runs a pass, and checks that the structure is whole afterwards.
  Pass pass(std::size_t budget = kNoBudget) {
    const Pass outcome = service_->run_due(budget);
    if (outcome != Pass::destroyed) {
      EXPECT_EQ(service_->check(), "");
    }
    return outcome;
  }

  std::vector<int> ids() const {
    std::vector<int> all;
    for (const LogEntry& run : log) {
      all.push_back(run.timer);
    }
    return all;
  }

  std::vector<LogEntry> log;

private:
  const std::uint64_t start_ns_;
  std::uint64_t clock_ns_;
  const nanoseconds tick_;
  std::unique_ptr<AnyService> service_;
};

// A rig's service as what is made of a facility takes it, such as a PeriodicTimer. So its tests too
// are compiled once for all backends.
class AnyFacility {
public:
  using Instant = timers::Instant;
  using Timeout = Ticks;

  class Timer {
  public:
    Timer(AnyFacility& facility, Action action)
        : timer_(facility.service_.timer([action]() mutable { action(); })) {}

    void arm(Ticks timeout, Instant now) { timer_->arm(timeout, now); }
    void rearm(Ticks timeout, Instant now) { timer_->rearm(timeout, now, 0); }
    bool disarm() noexcept { return timer_->disarm(); }
    bool armed() const noexcept { return timer_->armed(); }

  private:
    TimerPtr timer_;
  };

  explicit AnyFacility(AnyService& service) noexcept : service_(service) {}

  Instant now() { return service_.now(); }
  Ticks timeout(Nanoseconds duration) const { return service_.timeout(duration); }
  nanoseconds tick() const { return service_.tick(); }

private:
  AnyService& service_;
};

// Distances in ticks around which structures go wrong, ascending: every power of two and every slot
// edge of wheels of 64 slots, each ±1.
inline std::vector<Ticks> edge_distances(Ticks largest) {
  std::vector<Ticks> edges;
  const auto add_around = [&](Ticks edge) {
    for (const Ticks distance : {edge - 1, edge, edge + 1}) {
      if (distance <= largest) {
        edges.push_back(distance);
      }
    }
  };
  for (unsigned bit = 0; bit < 64; ++bit) {
    add_around(Ticks{1} << bit);
  }
  for (unsigned level = 0; level < 60; level += 6) {
    for (const unsigned slot : {2U, 31U, 32U, 33U, 62U, 63U}) {
      add_around(Ticks{slot} << level);
    }
  }
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  return edges;
}

} // namespace timers::test
