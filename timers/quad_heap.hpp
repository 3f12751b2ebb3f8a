// Scheme 3 of Varghese & Lauck, trees: a heap in which each node has four children. The array keeps
// each deadline beside its timer's address. The heap has half the levels of a binary heap, and the
// four children that are compared on the way down share one cache line. libev keeps its timers in
// the same way.
//
//   arm           O(log4 n), amortised, because the array may grow
//   rearm         O(log4 n), in place: one sift, no removal
//   disarm        O(log4 n)
//   advance       O(1)
//   pop_expired   O(log4 n), four comparisons per level
//   wake-ups      exactly one per distinct deadline
//   lateness      0 ticks: due in the first advance() at or after its deadline
//   bytes/timer   8 in the owner (index) and 16 in the array
//
// When to choose it: you re-arm eagerly and want the exact next deadline, timeouts are arbitrary,
// and timers mostly do expire. It is faster than binary-heap when there are many timers, because
// sifting reads only the array and touches a timer only to note its new index. Timers of one
// deadline come in no particular order.
#pragma once

#include "timers/aligned_allocator.hpp"
#include "timers/backend.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace timers {

class QuadHeap {
public:
  struct Node {
    std::size_t index = 0; // where the array names this node
  };

  static constexpr BackendInfo kInfo{
      .name = "quad-heap",
      .scheme = "3",
      .summary = "4-ary heap, deadlines in the array, siblings on a cache line: O(log n)",
      .peer_order = PeerOrder::any,
      .exact_next_deadline = true,
      .costs = {.arm = Cost::logarithmic,
                .rearm = Cost::logarithmic,
                .disarm = Cost::logarithmic,
                .expire = Cost::logarithmic},
      .bytes_per_timer = 40,
  };

  QuadHeap() : heap_(kRoot) {}

  TIMERS_FRAME void arm(Node& node, Tick deadline, Ticks /*timeout*/) {
    const Entry entry{deadline, &node};
    heap_.push_back(entry);
    sift_up(heap_.size() - 1, entry);
  }

  TIMERS_FRAME void rearm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    restore(node.index, {deadline, &node});
  }

  TIMERS_FRAME void disarm(Node& node) noexcept { remove(node.index); }

  TIMERS_FRAME void advance(Tick now) noexcept { now_ = std::max(now_, now); }

  TIMERS_FRAME Node* pop_expired() noexcept {
    if (empty() || heap_[kRoot].deadline > now_) {
      return nullptr;
    }
    Node* node = heap_[kRoot].node;
    remove(kRoot);
    return node;
  }

  Tick next_deadline() const noexcept { return empty() ? kNever : heap_[kRoot].deadline; }

  std::string_view check() const {
    for (std::size_t i = kRoot; i < heap_.size(); ++i) {
      if (heap_[i].node->index != i) {
        return "a timer's index is not its place";
      }
      if (i > kRoot && heap_[i].deadline < heap_[parent(i)].deadline) {
        return "a timer is due before its parent";
      }
    }
    return "";
  }

private:
  struct Entry {
    Tick deadline;
    Node* node;
  };
  static_assert(sizeof(Entry) == 16);

  static constexpr std::size_t kArity = 4;
  static constexpr std::size_t kCacheLine = kArity * sizeof(Entry);
  // The entries before the root stay unused, so that siblings begin at a multiple of four.
  static constexpr std::size_t kRoot = kArity - 1;

  static std::size_t parent(std::size_t i) noexcept { return i / kArity + kRoot - 1; }
  static std::size_t first_child(std::size_t i) noexcept { return (i - kRoot + 1) * kArity; }

  bool empty() const noexcept { return heap_.size() == kRoot; }

  void put(std::size_t i, Entry entry) noexcept {
    visit();
    heap_[i] = entry;
    entry.node->index = i;
  }

  // The last entry takes the place of the removed one. It may belong above that place or below it,
  // because the two can come from different branches.
  void remove(std::size_t i) noexcept {
    const Entry last = heap_.back();
    heap_.pop_back();
    if (i < heap_.size()) {
      restore(i, last);
    }
  }

  // Puts `entry` where it belongs on the path through place i, which is free.
  void restore(std::size_t i, Entry entry) noexcept {
    if (i > kRoot && entry.deadline < heap_[parent(i)].deadline) {
      sift_up(i, entry);
    } else {
      sift_down(i, entry);
    }
  }

  void sift_up(std::size_t i, Entry entry) noexcept {
    while (i > kRoot && entry.deadline < heap_[parent(i)].deadline) {
      put(i, heap_[parent(i)]);
      i = parent(i);
    }
    put(i, entry);
  }

  void sift_down(std::size_t i, Entry entry) noexcept {
    for (;;) {
      const std::size_t child = earliest_child(i);
      if (child >= heap_.size() || entry.deadline <= heap_[child].deadline) {
        break;
      }
      put(i, heap_[child]);
      i = child;
    }
    put(i, entry);
  }

  // The child of place i that is due first; past the end when i has no children.
  std::size_t earliest_child(std::size_t i) const noexcept {
    const std::size_t first = first_child(i);
    const std::size_t end = std::min(first + kArity, heap_.size());
    std::size_t earliest = first;
    for (std::size_t child = first + 1; child < end; ++child) {
      earliest = heap_[child].deadline < heap_[earliest].deadline ? child : earliest;
    }
    return earliest;
  }

  std::vector<Entry, AlignedAllocator<Entry, kCacheLine>> heap_;
  Tick now_ = 0;
};

} // namespace timers
