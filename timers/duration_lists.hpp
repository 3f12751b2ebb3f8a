// What Node.js does since version 5: a list for each timeout value, found by hashing it, and a heap
// of the lists by their earliest deadline.
//
// Timers of one timeout come due in the order in which they were armed, so each goes to the end of
// its list and the list is sorted by construction. Only its head can be the next to run, and only
// the heads are in the heap; a server has as many lists as it has flags for timeouts.
//
//   In ticks: armed at 3 for 10, at 4 for 2, at 5 for 10. Two lists, "10": 13, 15 and "2": 6. The
//   heap says 6, then 13. Armed anew at 6, the first timer of "10" goes behind 15 as 16; the heap
//   still says 13, finds 15 there at 13 and files the list under 15.
//
//   arm           O(1); the first timer of a timeout value makes its list: an allocation, a hash
//                 insertion and O(log lists)
//   rearm         O(1) when the timeout stays; else as disarm and arm
//   disarm        O(1); the last timer of a list takes the list with it: O(log lists)
//   advance       O(1)
//   pop_expired   O(log lists), O(1) with a single list
//   arm and rearm walk from the end of the list over timers that are due later: none, except when a
//                 service that re-arms lazily files a timer again under the deadline it moved to
//                 long ago. Then O(timers of its timeout), which kInfo does not count
//   wake-ups      at most one idle wake-up per list and timeout, because a list that lost its head
//                 keeps its place in the heap until it comes up
//   lateness      0 ticks: due in the first advance() at or after its deadline
//   bytes/timer   32; about 150 a list
//
// When to choose it: few distinct timeouts and eager re-arming, which then costs as little as a
// list walked from its latest end. Timeouts that all differ make it a heap with a list at each
// place.
//
// To move a lone timer, arm the next one before disarming it (or rearm it), as Node's authors tell:
// the other way round its list is destroyed and made again each time.
#pragma once

#include "timers/binary_heap.hpp"
#include "timers/node_list.hpp"

#include <unordered_map>

namespace timers {

class DurationLists {
  // All timers of one timeout. Filed in the heap under the deadline of its first timer or one that
  // it had before, hence never later.
  struct Bucket : BinaryHeap::Node {
    explicit Bucket(Ticks bucket_timeout) : timeout(bucket_timeout) {}
    const Ticks timeout;
    NodeList list;
  };

public:
  struct Node : ListNode {
    Bucket* bucket = nullptr;
  };

  static constexpr BackendInfo kInfo{
      .name = "duration-lists",
      .scheme = "Node.js 5+",
      .summary = "a list per timeout value, a heap of lists, as in Node.js today: O(1) to re-arm",
      .fifo = false,
      .exact_next_deadline = false,
      .costs = {.arm = Cost::logarithmic,
                .rearm = Cost::logarithmic,
                .disarm = Cost::logarithmic,
                .expire = Cost::logarithmic},
      .bytes_per_timer = 32,
  };

  TIMERS_STRUCTURAL void arm(Node& node, Tick deadline, Ticks timeout) {
    Bucket& bucket = bucket_of(timeout, deadline);
    file(node, deadline, bucket);
  }

  TIMERS_STRUCTURAL void rearm(Node& node, Tick deadline, Ticks timeout) {
    Bucket& from = *node.bucket;
    Bucket& to = timeout == from.timeout ? from : bucket_of(timeout, deadline);
    unlink(node);
    file(node, deadline, to);
    drop_if_empty(from);
  }

  TIMERS_STRUCTURAL void disarm(Node& node) noexcept {
    unlink(node);
    drop_if_empty(*node.bucket);
  }

  TIMERS_STRUCTURAL void advance(Tick now) noexcept { heap_.advance(now); }

  TIMERS_STRUCTURAL Node* pop_expired() noexcept {
    drop_emptied();
    while (auto* due = heap_.due()) {
      Bucket& bucket = static_cast<Bucket&>(*due);
      auto& first = static_cast<Node&>(bucket.list.front());
      if (first.deadline > bucket.deadline) {
        heap_.rearm(bucket, first.deadline, 0); // its head has moved on
        continue;
      }
      bucket.list.pop_front();
      if (bucket.list.empty()) {
        heap_.disarm(bucket);
        emptied_ = &bucket;
      }
      return &first;
    }
    return nullptr;
  }

  Tick next_deadline() const noexcept { return heap_.next_deadline(); }

  std::string_view check() const {
    for (const auto& [timeout, bucket] : buckets_) {
      if (bucket.list.empty()) {
        if (&bucket == emptied_) {
          continue;
        }
        return "a list is empty";
      }
      if (bucket.list.front().deadline < bucket.deadline) {
        return "a list is filed later than its first timer is due";
      }
      if (!is_sorted(bucket.list)) {
        return "a list is out of order";
      }
      for (const ListNode& node : bucket.list) {
        if (static_cast<const Node&>(node).bucket != &bucket) {
          return "a timer names another list than its own";
        }
      }
    }
    return heap_.check();
  }

private:
  // Made and filed under `deadline` when there is none. When that throws, nothing has changed.
  Bucket& bucket_of(Ticks timeout, Tick deadline) {
    const auto [at, is_new] = buckets_.try_emplace(timeout, timeout);
    Bucket& bucket = at->second;
    if (bucket.list.empty()) {
      try {
        heap_.arm(bucket, deadline, 0);
      } catch (...) {
        if (is_new) {
          buckets_.erase(at);
        }
        throw;
      }
    }
    return bucket;
  }

  void file(Node& node, Tick deadline, Bucket& bucket) noexcept {
    node.deadline = deadline;
    node.bucket = &bucket;
    insert_from_rear(bucket.list, node);
    if (deadline < bucket.deadline) {
      heap_.rearm(bucket, deadline, 0);
    }
  }

  void drop_if_empty(Bucket& bucket) noexcept {
    if (bucket.list.empty()) {
      heap_.disarm(bucket);
      emptied_ = emptied_ == &bucket ? nullptr : emptied_;
      drop(bucket);
    }
  }

  void drop_emptied() noexcept {
    if (emptied_ != nullptr && emptied_->list.empty()) {
      drop(*emptied_);
    }
    emptied_ = nullptr;
  }

  void drop(const Bucket& bucket) noexcept {
    const Ticks timeout = bucket.timeout; // erase() may read its argument after the bucket
    buckets_.erase(timeout);
  }

  std::unordered_map<Ticks, Bucket> buckets_;
  BinaryHeap heap_;
  // Lost its last timer to pop_expired(). Kept, though not in the heap, until the next pop: who is
  // given the timer may file it again under the same timeout, and that must not allocate.
  Bucket* emptied_ = nullptr;
};

} // namespace timers
