// Scheme 5 of Varghese & Lauck: a wheel of any number of slots, each a list with the soonest first.
//
// The slot of a deadline is the deadline modulo the number of slots. When the hand comes by, the
// timers that are due stand at the head of the slot's list, so the rest is never looked at.
//
//   With 8 slots, now = 21 (slot 5): 23 and 31 are both in slot 7, in this order. At 23 the hand
//   takes 23, sees that 31 is not due and goes on.
//
//   arm           O(1 + timers of the slot that are due later), because the place is looked for
//                 from the latest end. O(1) when timeouts are equal, O(n / slots) when they are
//                 mixed
//   rearm         as arm
//   disarm        O(1)
//   advance       O(occupied slots reached + due timers), however far time goes. When it goes on by
//                 more than a turn, O(d log d) more to put the d due timers in order
//   pop_expired   O(1)
//   wake-ups      exactly one per distinct deadline; next_deadline() is O(occupied slots) when
//                 nothing is due within a turn
//   lateness      0 ticks: due in the first advance() at or after its deadline
//   bytes/timer   32, and 16 per slot
//
// When to choose it: you re-arm eagerly, want an exact next deadline with long timeouts, and have
// many more slots than timers. It does at arm the work that hashed-wheel does each time the hand
// comes by. That is a bad trade for timers that rarely expire. hashed_wheel.hpp says how to choose
// the number of slots.
#pragma once

#include "timers/slot_ring.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>

namespace timers {

class HashedWheelSorted {
public:
  using Node = JumpNode;

  static constexpr BackendInfo kInfo{
      .name = "hashed-wheel-sorted",
      .scheme = "5",
      .summary = "a wheel of 4096 slots with sorted lists: O(n / slots) to re-arm",
      .peer_order = PeerOrder::moved,
      .exact_next_deadline = true,
      .costs = {.arm = Cost::linear,
                .rearm = Cost::linear,
                .disarm = Cost::constant,
                .expire = Cost::constant},
      .bytes_per_timer = 32,
  };

  static constexpr std::size_t kDefaultSlots = 4096;

  // `slots` > 0 is rounded up to a power of two. Throws std::bad_alloc.
  explicit HashedWheelSorted(std::size_t slots = kDefaultSlots) : slots_(std::bit_ceil(slots)) {}

  TIMERS_FRAME void arm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    node.deadline = deadline;
    slots_.file(node, insert_from_rear);
  }

  TIMERS_FRAME void rearm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    slots_.take_out(node);
    node.deadline = deadline;
    slots_.file(node, insert_from_rear);
  }

  TIMERS_FRAME void disarm(Node& node) noexcept { slots_.take_out(node); }

  TIMERS_FRAME void advance(Tick now) noexcept { slots_.advance(now, take_head); }

  TIMERS_FRAME Node* pop_expired() noexcept { return slots_.pop_expired(); }

  Tick next_deadline() const noexcept {
    if (!slots_.due().empty()) {
      return slots_.due().front().deadline;
    }
    Tick earliest = kNever;
    for (Ticks ahead = slots_.visit_after(1); ahead <= slots_.size();
         ahead = slots_.visit_after(ahead + 1)) {
      const Tick first = slots_[slots_.now() + ahead].front().deadline;
      earliest = std::min(earliest, first);
      if (earliest - slots_.now() <= ahead) {
        break; // the slots behind this one hold only later ones
      }
    }
    return earliest;
  }

  std::string_view check() const {
    for (Ticks ahead = 0; ahead < slots_.size(); ++ahead) {
      if (!is_sorted(slots_[ahead])) {
        return "a slot is out of order";
      }
    }
    return slots_.check();
  }

private:
  static void take_head(NodeList& slot, Tick now, NodeList& due) noexcept {
    while (auto* node = static_cast<Node*>(pop_due(slot, now))) {
      JumpPointers::prefetch(*node);
      due.push_back(*node);
    }
  }

  SlotRing slots_;
};

} // namespace timers
