// Scheme 1 of Varghese & Lauck: one list in no order, as in Node.js 0.12.
//
// The structure keeps a lower bound of the earliest deadline. Until time reaches that bound there
// is nothing to do; then every timer is looked at.
//
//   arm           O(1): appends
//   rearm         O(1): moves to the end
//   disarm        O(1)
//   advance       O(1) before the lower bound, then O(n); and O(d log d) to put the d due timers in
//                 order, if time jumped over some of them
//   pop_expired   O(1)
//   wake-ups      at most one idle wake-up for each time that the earliest timer is moved or
//                 disarmed, because the lower bound then stays where it was
//   lateness      0 ticks: due in the first advance() at or after its deadline
//   bytes/timer   24
//
// When to choose it: timers rarely expire, and the loop rarely wakes up for them, so that many
// re-arms share one scan. When short timeouts do expire, each of them makes it scan all timers.
#pragma once

#include "timers/node_list.hpp"

#include <algorithm>

namespace timers {

class UnorderedList {
public:
  using Node = ListNode;

  static constexpr BackendInfo kInfo{
      .name = "unordered-list",
      .scheme = "1",
      .summary = "unsorted list, scanned whole when the earliest may be due, as in Node.js 0.12",
      .peer_order = PeerOrder::moved,
      .exact_next_deadline = false,
      .costs = {.arm = Cost::constant,
                .rearm = Cost::constant,
                .disarm = Cost::constant,
                .expire = Cost::linear},
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

  TIMERS_FRAME void advance(Tick now) noexcept {
    now_ = std::max(now_, now);
    if (now_ < earliest_) {
      return;
    }
    collect();
    sort_by_deadline(due_); // mostly one tick's timers, in order already
  }

  TIMERS_FRAME Node* pop_expired() noexcept { return pop_front(due_); }

  Tick next_deadline() const noexcept {
    if (!due_.empty()) {
      return due_.front().deadline;
    }
    return list_.empty() ? kNever : earliest_;
  }

  std::string_view check() const {
    for (const Node& node : list_) {
      if (node.deadline < earliest_ || node.deadline <= now_) {
        return "a deadline lies before the lower bound, or is due";
      }
    }
    return check_due(due_, now_);
  }

private:
  void file(Node& node, Tick deadline) noexcept {
    node.deadline = deadline;
    if (deadline <= now_) {
      due_.push_back(node);
      return;
    }
    list_.push_back(node);
    earliest_ = std::min(earliest_, deadline);
  }

  // Moves the timers that are due to due_, and takes the lower bound from those that stay.
  void collect() noexcept {
    earliest_ = kNever;
    for (auto at = list_.begin(); at != list_.end();) {
      Node& node = *at++;
      visit();
      if (node.deadline <= now_) {
        unlink(node);
        due_.push_back(node);
      } else {
        earliest_ = std::min(earliest_, node.deadline);
      }
    }
  }

  NodeList list_;
  NodeList due_;
  Tick now_ = 0;
  Tick earliest_ = kNever; // no timer in list_ is due before this
};

} // namespace timers
