// The scheme of Node.js since version 5: a list for each timeout value, found by hashing the value,
// and a heap of the lists by their earliest deadline.
//
// Timers of one timeout come due in the order in which they were armed, so each goes to the end of
// its list, and the list is always sorted. Only the head of a list can be the next to run, so the
// heap holds only the lists. A server has as many lists as it has different timeouts.
//
//   In ticks: timers are armed at 3 for 10, at 4 for 2, at 5 for 10. This makes two lists, "10"
//   with 13 and 15, and "2" with 6. The heap says 6, then 13. At 6 the first timer of "10" is armed
//   anew and goes behind 15, as 16. The heap still says 13; at 13 it finds that the list begins
//   with 15, and files it under 15.
//
//   arm           O(1). The first timer of a timeout value makes its list: an allocation, a hash
//                 insertion and O(log lists)
//   rearm         O(1) when the timeout stays the same, else as disarm and arm
//   disarm        O(1). The last timer of a list takes the list with it: O(log lists)
//   advance       O(1)
//   pop_expired   O(log lists), O(1) with a single list
//   walks         arm and rearm walk from the end of the list over timers that are due later. There
//                 are none, except when a service that re-arms lazily files a timer again under a
//                 deadline that was set long ago. Then they are O(timers of this timeout), which
//                 kInfo does not count
//   wake-ups      at most one idle wake-up per list and timeout, because a list that lost its head
//                 keeps its place in the heap until it comes up
//   lateness      0 ticks: due in the first advance() at or after its deadline
//   bytes/timer   32, and about 150 per list
//
// When to choose it: you have few distinct timeouts and re-arm eagerly. This then costs as little
// as ordered-list-rear. When all timeouts differ, the structure is a heap with a list at each
// place.
//
// To replace the only timer of a timeout, arm the new one before you disarm the old one, or re-arm
// it. Otherwise its list is destroyed and made again each time.
#pragma once

#include "timers/binary_heap.hpp"
#include "timers/failure.hpp"
#include "timers/node_list.hpp"

#include <unordered_map>

namespace timers {

class DurationLists {
  // All timers of one timeout. The heap holds it under the deadline of its first timer, or of one
  // that was first before; so never under a later one.
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
      .summary = "a list per timeout value, a heap of lists, as in Node.js 5+: O(1) to re-arm",
      .peer_order = PeerOrder::any,
      .exact_next_deadline = false,
      .costs = {.arm = Cost::logarithmic,
                .rearm = Cost::logarithmic,
                .disarm = Cost::logarithmic,
                .expire = Cost::logarithmic},
      .bytes_per_timer = 32,
  };

  TIMERS_FRAME void arm(Node& node, Tick deadline, Ticks timeout) {
    Bucket& bucket = bucket_of(timeout, deadline);
    file(node, deadline, bucket);
  }

  TIMERS_FRAME void rearm(Node& node, Tick deadline, Ticks timeout) {
    Bucket& from = *node.bucket;
    Bucket& to = timeout == from.timeout ? from : bucket_of(timeout, deadline);
    unlink(node);
    file(node, deadline, to);
    drop_if_empty(from);
  }

  TIMERS_FRAME void disarm(Node& node) noexcept {
    unlink(node);
    drop_if_empty(*node.bucket);
  }

  TIMERS_FRAME void advance(Tick now) noexcept { heap_.advance(now); }

  TIMERS_FRAME Node* pop_expired() noexcept {
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
  // Finds the list of a timeout. Makes it and files it under `deadline` if there is none; when that
  // throws, nothing has changed.
  Bucket& bucket_of(Ticks timeout, Tick deadline) {
    const auto found = buckets_.try_emplace(timeout, timeout);
    Bucket& bucket = found.first->second;
    if (bucket.list.empty()) {
      OnFailure erase([this, &found] {
        if (found.second) { // it is new
          buckets_.erase(found.first);
        }
      });
      heap_.arm(bucket, deadline, 0);
      erase.dismiss();
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
  // A list that lost its last timer to pop_expired(). It is kept, although not in the heap, until
  // the next pop: whoever got the timer may file it again under the same timeout, which must not
  // allocate.
  Bucket* emptied_ = nullptr;
};

} // namespace timers
