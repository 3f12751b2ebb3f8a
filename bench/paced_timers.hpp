// The timers of PacedPairs: those of a backend or a peer, those of a TimerService, and the floor of
// both. Each knows whether it is armed, has an action, and may be re-armed whether it is armed or
// not.
#pragma once

#include "bench/floor.hpp"
#include "bench/workload.hpp"

#include <utility>

namespace bench {

// Without a service.
template <class Backend> class BareTimers {
public:
  class Timer;

  BareTimers(timers::Rearm /*rearm*/, std::size_t /*most*/) {}

  // The tick at or before which run_until() must be called. A peer has a turn at each tick.
  Tick next_deadline() const noexcept {
    if constexpr (Peer<Backend>) {
      return now_ + 1;
    } else {
      return backend_.next_deadline();
    }
  }

  void run_until(Tick now) {
    now_ = now;
    if constexpr (Peer<Backend>) {
      backend_.run_until(now, [](auto& node) { static_cast<Timer&>(node).run(); });
    } else {
      backend_.advance(now);
      while (auto* node = backend_.pop_expired()) {
        static_cast<Timer&>(*node).run();
      }
    }
  }

  std::string_view check() const {
    if constexpr (Peer<Backend>) {
      return "";
    } else {
      return backend_.check();
    }
  }

private:
  Backend backend_;
  Tick now_ = 0;
};

template <class Backend> class BareTimers<Backend>::Timer : private Backend::Node {
public:
  Timer(BareTimers& timers, timers::Action action) : backend_(timers.backend_), action_(action) {
    if constexpr (Peer<Backend>) {
      backend_.introduce(*this);
    }
  }
  ~Timer() {
    disarm();
    if constexpr (Peer<Backend>) {
      backend_.retire(*this);
    }
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void rearm(Ticks timeout, Tick from) {
    if (armed_) {
      backend_.rearm(*this, from + timeout, timeout);
    } else {
      backend_.arm(*this, from + timeout, timeout);
      armed_ = true;
    }
  }
  void disarm() {
    if (armed_) {
      backend_.disarm(*this);
      armed_ = false;
    }
  }

private:
  friend class BareTimers;
  void run() {
    armed_ = false;
    timers::run_action(action_);
  }

  Backend& backend_;
  timers::Action action_;
  bool armed_ = false;
};

// By a TimerService.
template <class Service> class ServiceTimers {
public:
  class Timer : public Service::Timer {
  public:
    Timer(ServiceTimers& timers, timers::Action action) : Service::Timer(timers.service_, action) {}
    void rearm(Ticks timeout, Tick from) { Service::Timer::rearm(timeout, {from, from}); }
  };

  ServiceTimers(timers::Rearm rearm, std::size_t most)
      : service_({.rearm = rearm}, time_.clock()), most_(most) {}

  Tick next_deadline() const noexcept { return service_.next_deadline(); }
  void run_until(Tick now) {
    time_.set(now);
    run_due(service_, most_);
  }
  std::string_view check() const { return service_.check(); }

private:
  VirtualTime time_;
  Service service_;
  std::size_t most_; // timers
};

// A timer is a deadline, and what will run is told beforehand.
class FloorTimers {
public:
  class Timer;
  struct Due {
    Tick tick;
    Timer* timer;
  };

  FloorTimers(timers::Rearm /*rearm*/, std::size_t /*most*/) noexcept {}

  void foresee(std::vector<Due> due) {
    due_ = std::move(due);
    next_ = 0;
  }
  Tick next_deadline() const noexcept { return next_ == due_.size() ? kNever : due_[next_].tick; }
  TIMERS_FRAME inline void run_until(Tick now);
  std::string_view check() const noexcept { return ""; }

private:
  std::vector<Due> due_;
  std::size_t next_ = 0;
};

class FloorTimers::Timer {
public:
  Timer(FloorTimers& /*timers*/, timers::Action action) noexcept : action_(action) {}
  TIMERS_FRAME void rearm(Ticks timeout, Tick from) noexcept { deadline_ = from + timeout; }
  TIMERS_FRAME void disarm() noexcept { deadline_ = kNever; }

private:
  friend class FloorTimers;
  timers::Action action_;
  Tick deadline_ = kNever;
};

void FloorTimers::run_until(Tick now) {
  while (next_ != due_.size() && due_[next_].tick <= now) {
    timers::run_action(due_[next_++].timer->action_);
  }
}

// What PacedPairs is to use for a backend, a peer or the floor, and for a service or its floor.
template <class Backend>
using PacedBare =
    std::conditional_t<std::is_same_v<Backend, Floor>, FloorTimers, BareTimers<Backend>>;
template <class Service>
using PacedService =
    std::conditional_t<std::is_same_v<Service, FloorService>, FloorTimers, ServiceTimers<Service>>;

} // namespace bench
