// The floor: the cost of the cheapest imaginable timer. Its operations are out-of-line calls with
// the signatures of a backend, in the same loops over the same timers, but they only store the
// deadline in the timer's owner. Expiry hands out timers in an order that the workload tells it
// beforehand.
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
      .peer_order = timers::PeerOrder::any,
      .exact_next_deadline = false,
      .costs = {},
      .bytes_per_timer = 0,
  };

  TIMERS_FRAME void arm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    node.deadline = deadline;
  }
  TIMERS_FRAME void rearm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    node.deadline = deadline;
  }
  TIMERS_FRAME void disarm(Node& node) noexcept { node.deadline = kNever; }
  TIMERS_FRAME void advance(Tick now) noexcept { now_ = now; }

  // Sets the order in which the next calls of pop_expired() hand out the timers.
  void foresee(std::vector<Node*> order) {
    order_ = std::move(order);
    next_ = 0;
  }

  TIMERS_FRAME Node* pop_expired() noexcept {
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

inline std::string_view check_contents(Floor& /*floor*/, ScatteredTimers<Floor>& all,
                                       const std::vector<Tick>& deadlines) {
  for (std::size_t id = 0; id < deadlines.size(); ++id) {
    if (all[id].deadline != deadlines[id]) {
      return "a stored deadline is wrong";
    }
  }
  return "";
}

// Two more floors for expire-all-at-once: a plain loop over the nodes takes out each that is due.
// The floor above goes by address too, but makes a call for each timer and reads a list of
// pointers.
enum class StreamingOrder {
  by_address,
  as_armed, // the next node may lie anywhere in memory
};

template <StreamingOrder kOrder> class Streaming : public Workload {
public:
  explicit Streaming(std::size_t n) : timers_(n) {}

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
    return {elapsed, timers_.size()};
  }

  std::string_view check() override {
    return wrong_ ? "not every timer ran once, at its tick"
                  : check_contents(floor_, timers_, std::vector<Tick>(timers_.size(), kNever));
  }

private:
  template <class Act> void for_each(Act act) {
    if constexpr (kOrder == StreamingOrder::by_address) {
      for (auto& owner : timers_.by_address()) {
        act(owner);
      }
    } else {
      for (std::size_t id = 0; id < timers_.size(); ++id) {
        act(timers_[id]);
      }
    }
  }

  ScatteredTimers<Floor> timers_;
  Floor floor_;
  Tick now_ = 0;
  bool wrong_ = false;
};

// The floor of a TimerService: its handle is reduced to a deadline, and no timer ever runs.
class FloorService {
public:
  class Timer;
  FloorService(timers::ServiceConfig /*config*/, VirtualTime::Clock clock) : clock_(clock) {}

  TIMERS_FRAME timers::Pass run_due(std::size_t /*budget*/) noexcept {
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

  TIMERS_FRAME void arm(Ticks timeout, timers::Instant now) noexcept {
    deadline_ = now.ceil + timeout;
  }
  TIMERS_FRAME void rearm(Ticks timeout, timers::Instant now) noexcept {
    deadline_ = now.ceil + timeout;
  }
  TIMERS_FRAME bool disarm() noexcept {
    deadline_ = kNever;
    return true;
  }
  Tick deadline() const noexcept { return deadline_; }

private:
  Tick deadline_ = kNever;
};

// The floor of a TimerService that runs timers: an array in the order of arming. It holds timers of
// one deadline, which come due together and are not moved or disarmed.
class ArrayFloor {
public:
  struct Node {};

  static constexpr timers::BackendInfo kInfo = Floor::kInfo;

  TIMERS_FRAME void arm(Node& node, Tick deadline, Ticks /*timeout*/) {
    if (next_ == order_.size()) {
      order_.clear();
      next_ = 0;
    }
    deadline_ = deadline;
    order_.push_back(&node);
  }
  void rearm(Node& /*node*/, Tick /*deadline*/, Ticks /*timeout*/) noexcept {}
  void disarm(Node& /*node*/) noexcept {}
  TIMERS_FRAME void advance(Tick now) noexcept { now_ = now; }
  TIMERS_FRAME Node* pop_expired() noexcept {
    return next_ < order_.size() && deadline_ <= now_ ? order_[next_++] : nullptr;
  }
  Tick next_deadline() const noexcept { return next_ < order_.size() ? deadline_ : kNever; }
  std::string_view check() const noexcept { return ""; }

private:
  std::vector<Node*> order_;
  std::size_t next_ = 0;
  Tick deadline_ = kNever;
  Tick now_ = 0;
};

} // namespace bench
