// The floor: what the cheapest imaginable timer would cost. Out-of-line calls of the same
// signatures, in the same loops over the same tables, that only store the deadline in the timer's
// owner. Expiry hands out timers in an order that was known beforehand.
#pragma once

#include "bench/workload.hpp"

#include <vector>

namespace bench {

class Floor {
public:
  struct Node {
    Tick deadline = kNever;
  };

  static constexpr timers::BackendInfo kInfo{
      .name = "floor",
      .scheme = "-",
      .summary = "stores the deadline and does nothing else",
      .fifo = false,
      .exact_next_deadline = false,
      .costs = {},
      .bytes_per_timer = 0,
  };

  TIMERS_STRUCTURAL void arm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    node.deadline = deadline;
  }
  TIMERS_STRUCTURAL void rearm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    node.deadline = deadline;
  }
  TIMERS_STRUCTURAL void disarm(Node& node) noexcept { node.deadline = kNever; }
  TIMERS_STRUCTURAL void advance(Tick now) noexcept { now_ = now; }

  // The order in which the next pop_expired() calls are to find the timers.
  void foresee(std::vector<Node*> order) {
    order_ = std::move(order);
    next_ = 0;
  }

  TIMERS_STRUCTURAL Node* pop_expired() noexcept {
    if (next_ == order_.size() || order_[next_]->deadline > now_) {
      return nullptr;
    }
    Node* node = order_[next_++];
    node->deadline = kNever;
    return node;
  }

private:
  std::vector<Node*> order_;
  std::size_t next_ = 0;
  Tick now_ = 0;
};

inline std::string_view compare(Floor& /*floor*/, TimerTable<Floor>& table,
                                const std::vector<Tick>& deadlines) {
  for (std::size_t id = 0; id < deadlines.size(); ++id) {
    if (table[id].deadline != deadlines[id]) {
      return "a stored deadline is wrong";
    }
  }
  return "";
}

// The other floors of expire-all-at-once: go over the nodes once and take out each that is due. The
// floor above does so by address, through a call a timer and a list of pointers.
enum class Visits { by_address, as_armed }; // as armed, they lie anywhere

template <Visits kVisits> class Streaming : public Workload {
public:
  explicit Streaming(std::size_t n) : table_(n) {}

  Timed pass() override {
    ++now_;
    RunLog expected;
    for_each([&](auto& owner) {
      owner.deadline = now_;
      expected.add(now_, owner.id);
    });
    RunLog log;
    const auto elapsed = stopwatch([&] {
      for_each([&](auto& owner) {
        if (owner.deadline <= now_) {
          owner.deadline = kNever;
          log.add(now_, owner.id);
        }
      });
    });
    wrong_ |= log != expected;
    return {elapsed, table_.size()};
  }

  std::string_view check() override {
    return wrong_ ? "not every timer ran once, at its tick"
                  : compare(floor_, table_, std::vector<Tick>(table_.size(), kNever));
  }

private:
  template <class Act> void for_each(Act act) {
    if constexpr (kVisits == Visits::by_address) {
      for (auto& owner : table_.by_address()) {
        act(owner);
      }
    } else {
      for (std::size_t id = 0; id < table_.size(); ++id) {
        act(table_[id]);
      }
    }
  }

  TimerTable<Floor> table_;
  Floor floor_;
  Tick now_ = 0;
  bool wrong_ = false;
};

// The same under a TimerService: its handle, reduced to a deadline. Never runs anything.
class FloorService {
public:
  class Timer;
  FloorService(timers::ServiceConfig /*config*/, VirtualTime::Clock clock) : clock_(clock) {}

  TIMERS_STRUCTURAL timers::Pass run_due(std::size_t /*budget*/) noexcept {
    now_ = clock_.time->tick();
    return timers::Pass::done;
  }

private:
  VirtualTime::Clock clock_;
  Tick now_ = 0;
};

class FloorService::Timer {
public:
  Timer(FloorService& /*service*/, timers::Action /*action*/) noexcept {}

  TIMERS_STRUCTURAL void arm(Ticks timeout, timers::Instant now) noexcept {
    deadline_ = now.ceil + timeout;
  }
  TIMERS_STRUCTURAL void rearm(Ticks timeout, timers::Instant now) noexcept {
    deadline_ = now.ceil + timeout;
  }
  TIMERS_STRUCTURAL bool disarm() noexcept {
    deadline_ = kNever;
    return true;
  }
  Tick deadline() const noexcept { return deadline_; }

private:
  Tick deadline_ = kNever;
};

} // namespace bench
