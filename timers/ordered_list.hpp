// Scheme 2 of Varghese & Lauck: one list, soonest deadline first, as in Node.js 0.11.
//
//   arm           O(n): walks from the soonest end to the first timer that is due later
//   rearm         O(n): takes the timer out and walks again
//   disarm        O(1)
//   advance       O(1)
//   pop_expired   O(1)
//   wake-ups      exactly one per distinct deadline
//   lateness      0 ticks: due in the first advance() at or after its deadline
//   bytes/timer   24
//
// When to choose it: never for a server. It is here because the 2014 study is about it. An idle
// timer that is re-armed becomes the latest of all, and the walk starts at the other end, so every
// re-arm visits every timer. In that study this took 34.4 % of all CPU ticks at 400 connections.
// The list suits a handful of timers, or timers that are mostly due sooner than those already
// armed.
#pragma once

#include "timers/node_list.hpp"

namespace timers {

class OrderedList {
public:
  using Node = ListNode;

  static constexpr BackendInfo kInfo{
      .name = "ordered-list",
      .scheme = "2",
      .summary = "sorted list walked from the soonest end, as in Node.js 0.11: O(n) to re-arm",
      .peer_order = PeerOrder::moved,
      .exact_next_deadline = true,
      .costs = {.arm = Cost::linear,
                .rearm = Cost::linear,
                .disarm = Cost::constant,
                .expire = Cost::constant},
      .bytes_per_timer = 24,
  };

  TIMERS_FRAME void arm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    file(node, deadline);
  }

  TIMERS_FRAME void rearm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    unlink(node);
    file(node, deadline);
  }

  TIMERS_FRAME void disarm(Node& node) noexcept { unlink(node); }

  TIMERS_FRAME void advance(Tick now) noexcept { now_ = now > now_ ? now : now_; }

  TIMERS_FRAME Node* pop_expired() noexcept { return pop_due(list_, now_); }

  Tick next_deadline() const noexcept { return list_.empty() ? kNever : list_.front().deadline; }

  std::string_view check() const { return is_sorted(list_) ? "" : "the list is out of order"; }

private:
  // Goes behind its peers of the same deadline, so they are handed out in arm order.
  void file(Node& node, Tick deadline) noexcept {
    node.deadline = deadline;
    auto at = list_.begin();
    while (at != list_.end() && at->deadline <= deadline) {
      visit();
      ++at;
    }
    list_.insert(at, node);
  }

  NodeList list_;
  Tick now_ = 0;
};

} // namespace timers
