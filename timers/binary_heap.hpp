// Scheme 3 of Varghese & Lauck, trees: a binary heap in an array. The 2014 study recommended it.
//
//   arm           O(log n), amortised, because the array may grow
//   rearm         O(log n), in place: one sift, no removal
//   disarm        O(log n)
//   advance       O(1)
//   pop_expired   O(log n)
//   wake-ups      exactly one per distinct deadline
//   lateness      0 ticks: due in the first advance() at or after its deadline
//   bytes/timer   16 in the owner (deadline, index) and 8 in the array, which never shrinks
//
// When to choose it: you re-arm eagerly and want the exact next deadline without tuning, and timers
// mostly do expire. Timers of one deadline come in no particular order. Re-arming an idle timer to
// the latest deadline of all sifts it down, from near the root through every level if it was due
// soon.
#pragma once

#include "timers/backend.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace timers {

class BinaryHeap {
public:
  struct Node {
    Tick deadline = 0;
    std::size_t index = 0; // where the array names this node
  };

  static constexpr BackendInfo kInfo{
      .name = "binary-heap",
      .scheme = "3",
      .summary = "binary heap with the index in the timer, re-armed in place: O(log n)",
      .peer_order = PeerOrder::any,
      .exact_next_deadline = true,
      .costs = {.arm = Cost::logarithmic,
                .rearm = Cost::logarithmic,
                .disarm = Cost::logarithmic,
                .expire = Cost::logarithmic},
      .bytes_per_timer = 32,
  };

  TIMERS_FRAME void arm(Node& node, Tick deadline, Ticks /*timeout*/) {
    heap_.push_back(&node);
    node.deadline = deadline;
    sift_up(heap_.size() - 1, node);
  }

  TIMERS_FRAME void rearm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    node.deadline = deadline;
    restore(node.index, node);
  }

  TIMERS_FRAME void disarm(Node& node) noexcept { remove(node); }

  TIMERS_FRAME void advance(Tick now) noexcept { now_ = std::max(now_, now); }

  TIMERS_FRAME Node* pop_expired() noexcept {
    Node* node = due();
    if (node != nullptr) {
      remove(*node);
    }
    return node;
  }

  // The node that pop_expired() would hand out, left where it is; null when none is due. O(1).
  Node* due() const noexcept {
    return heap_.empty() || heap_.front()->deadline > now_ ? nullptr : heap_.front();
  }

  Tick next_deadline() const noexcept { return heap_.empty() ? kNever : heap_.front()->deadline; }

  std::string_view check() const {
    for (std::size_t i = 0; i < heap_.size(); ++i) {
      if (heap_[i]->index != i) {
        return "a timer's index is not its place";
      }
      if (i > 0 && heap_[i]->deadline < heap_[parent(i)]->deadline) {
        return "a timer is due before its parent";
      }
    }
    return "";
  }

private:
  static std::size_t parent(std::size_t i) noexcept { return (i - 1) / 2; }

  void put(std::size_t i, Node& node) noexcept {
    visit();
    heap_[i] = &node;
    node.index = i;
  }

  // The last node takes the place of the removed one. It may belong above that place or below it,
  // because the two can come from different branches.
  void remove(Node& node) noexcept {
    Node& last = *heap_.back();
    heap_.pop_back();
    if (&last != &node) {
      restore(node.index, last);
    }
  }

  // Puts `node` where it belongs on the path through place i, which is free.
  void restore(std::size_t i, Node& node) noexcept {
    if (i > 0 && node.deadline < heap_[parent(i)]->deadline) {
      sift_up(i, node);
    } else {
      sift_down(i, node);
    }
  }

  void sift_up(std::size_t i, Node& node) noexcept {
    while (i > 0 && node.deadline < heap_[parent(i)]->deadline) {
      put(i, *heap_[parent(i)]);
      i = parent(i);
    }
    put(i, node);
  }

  void sift_down(std::size_t i, Node& node) noexcept {
    for (;;) {
      std::size_t child = 2 * i + 1;
      if (child >= heap_.size()) {
        break;
      }
      if (child + 1 < heap_.size() && heap_[child + 1]->deadline < heap_[child]->deadline) {
        ++child;
      }
      if (node.deadline <= heap_[child]->deadline) {
        break;
      }
      put(i, *heap_[child]);
      i = child;
    }
    put(i, node);
  }

  std::vector<Node*> heap_;
  Tick now_ = 0;
};

} // namespace timers
