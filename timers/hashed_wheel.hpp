// Scheme 6 of Varghese & Lauck: a wheel of any number of slots, each an unordered list.
//
// The slot of a deadline is the deadline modulo the number of slots; the rest of it says in which
// round of the wheel the timer is due. Each time the hand comes by, all timers of the slot are
// looked at, and those of this round are due.
//
//   With 8 slots, now = 21 (slot 5): 23 and 31 are both in slot 7. At 23 the hand takes 23 and
//   leaves 31, which it takes when it comes by again.
//
//   (The paper keeps the rounds left in the timer and counts them down. The deadline says the same:
//   to compare it costs a read where counting down costs a write.)
//
//   arm           O(1)
//   rearm         O(1)
//   disarm        O(1)
//   advance       O(occupied slots reached + timers in them), at most all of them once, however far
//                 time went; each timer is looked at once per round it is armed for. When time went
//                 over several occupied slots O(d log d) more to put the d due ones in order, if
//                 they are not
//   pop_expired   O(1)
//   wake-ups      one per occupied slot and round
//   bytes/timer   24, and 16 per slot
//
// When to choose it: timeouts of a few rounds at most, any number of them. With 4096 slots of 1 ms
// a timer that waits for 120 s is looked at 29 times, and a server whose timers are spread over all
// slots is woken every millisecond. hierarchical-wheel needs neither.
#pragma once

#include "timers/slot_ring.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>

namespace timers {

class HashedWheel {
public:
  using Node = ListNode;

  static constexpr BackendInfo kInfo{
      .name = "hashed-wheel",
      .scheme = "6",
      .summary = "a wheel of 4096 slots with unordered lists: O(1), every timer seen each round",
      .fifo = true,
      .exact_next_deadline = false,
      .costs = {.arm = Cost::constant,
                .rearm = Cost::constant,
                .disarm = Cost::constant,
                .expire = Cost::rounds},
      .bytes_per_timer = 24,
  };

  static constexpr std::size_t kDefaultSlots = 4096;

  // `slots` is rounded up to a power of two; > 0. Throws std::bad_alloc.
  explicit HashedWheel(std::size_t slots = kDefaultSlots) : slots_(std::bit_ceil(slots)) {}

  TIMERS_STRUCTURAL void arm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    node.deadline = deadline;
    file(node);
  }

  TIMERS_STRUCTURAL void rearm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    take_out(node);
    node.deadline = deadline;
    file(node);
  }

  TIMERS_STRUCTURAL void disarm(Node& node) noexcept { take_out(node); }

  TIMERS_STRUCTURAL void advance(Tick now) noexcept {
    if (now <= now_) {
      return;
    }
    const Ticks passed = now - now_;
    const Ticks turn = std::min<Ticks>(passed, slots_.size());
    for (Ticks ahead = visit_after(1); ahead <= turn; ahead = visit_after(ahead + 1)) {
      collect(now_ + ahead, now);
    }
    now_ = now;
    // Within a turn each slot held timers of one tick at most, and the slots came in order.
    if (passed > turn) {
      due_.sort([](const Node& a, const Node& b) { return a.deadline < b.deadline; });
    }
  }

  TIMERS_STRUCTURAL Node* pop_expired() noexcept { return pop_front(due_); }

  // When the hand next comes to an occupied slot.
  Tick next_deadline() const noexcept {
    if (!due_.empty()) {
      return due_.front().deadline;
    }
    const Ticks ahead = visit_after(1);
    if (ahead == kNever) {
      return kNever;
    }
    return ahead > kLatest - now_ ? kLatest : now_ + ahead;
  }

  std::string_view check() const {
    for (const Node& node : due_) {
      if (node.deadline > now_) {
        return "a timer that is not due is among the due";
      }
    }
    return slots_.check(now_);
  }

private:
  // The first visit of the hand to an occupied slot, `ahead` ticks after now_ or more; kNever when
  // none is occupied.
  Ticks visit_after(Ticks ahead) const noexcept {
    const Ticks more = slots_.distance_to_occupied(now_ + ahead);
    return more == kNever ? kNever : ahead + more;
  }

  void file(Node& node) noexcept {
    if (node.deadline <= now_) {
      due_.push_back(node);
      return;
    }
    slots_[node.deadline].push_back(node);
    slots_.update(node.deadline);
  }

  void take_out(Node& node) noexcept {
    unlink(node);
    if (node.deadline > now_) {
      slots_.update(node.deadline);
    }
  }

  // Moves the timers of a slot that are due at `now` to due_.
  void collect(Tick tick, Tick now) noexcept {
    NodeList& slot = slots_[tick];
    for (auto at = slot.begin(); at != slot.end();) {
      Node& node = *at++;
      visit();
      if (node.deadline <= now) {
        unlink(node);
        due_.push_back(node);
      }
    }
    slots_.update(tick);
  }

  SlotRing slots_;
  Tick now_ = 0;
  NodeList due_;
};

} // namespace timers
