// Scheme 2 of Varghese & Lauck, searched from the other end: one list, soonest deadline first. The
// place of a timer is looked for from the latest end. The paper mentions this variant.
//
//   arm           O(1 + number of timers due later than this one); O(1) when timeouts are equal
//   rearm         as arm
//   disarm        O(1)
//   advance       O(1)
//   pop_expired   O(1)
//   wake-ups      exactly one per distinct deadline
//   lateness      0 ticks: due in the first advance() at or after its deadline
//   bytes/timer   24
//
// When to choose it: every timer has the same timeout. Then a timer that is re-armed is the latest
// of all, and the search ends before its first step. No other exact structure is this cheap. With
// mixed timeouts a short one walks past every longer one, which is O(n), as bad as ordered-list.
#pragma once

#include "timers/node_list.hpp"

#include <algorithm>

namespace timers {

class OrderedListRear {
public:
  using Node = ListNode;

  static constexpr BackendInfo kInfo{
      .name = "ordered-list-rear",
      .scheme = "2",
      .summary = "sorted list walked from the latest end: O(1) when all timeouts are equal",
      .peer_order = PeerOrder::moved,
      .exact_next_deadline = true,
      .costs = {.arm = Cost::linear,
                .rearm = Cost::linear,
                .disarm = Cost::constant,
                .expire = Cost::constant},
      .bytes_per_timer = 24,
  };

  TIMERS_FRAME void arm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    node.deadline = deadline;
    insert_from_rear(list_, node);
  }

  TIMERS_FRAME void rearm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    unlink(node);
    node.deadline = deadline;
    insert_from_rear(list_, node);
  }

  TIMERS_FRAME void disarm(Node& node) noexcept { unlink(node); }

  TIMERS_FRAME void advance(Tick now) noexcept { now_ = std::max(now_, now); }

  TIMERS_FRAME Node* pop_expired() noexcept { return pop_due(list_, now_); }

  Tick next_deadline() const noexcept { return list_.empty() ? kNever : list_.front().deadline; }

  std::string_view check() const { return is_sorted(list_) ? "" : "the list is out of order"; }

private:
  NodeList list_;
  Tick now_ = 0;
};

} // namespace timers
