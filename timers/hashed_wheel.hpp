// Scheme 6 of Varghese & Lauck: a wheel of any number of slots, each an unordered list.
//
// The slot of a deadline is the deadline modulo the number of slots. The rest of the deadline says
// in which round of the wheel the timer is due. Each time the hand comes by, all timers of the slot
// are looked at, and those of this round are due.
//
//   With 8 slots, now = 21 (slot 5): 23 and 31 are both in slot 7. At 23 the hand takes 23 and
//   leaves 31, which it takes when it comes by again.
//
// The paper keeps in each timer the number of rounds left, and counts it down. Comparing the
// deadline gives the same answer with a read instead of a write.
//
//   arm           O(1)
//   rearm         O(1)
//   disarm        O(1)
//   advance       O(occupied slots reached + timers in them), each at most once however far time
//                 goes. A timer is looked at once per round that it waits. When time goes on by
//                 more than a turn, O(d log d) more to put the d due timers in order
//   pop_expired   O(1)
//   wake-ups      one per occupied slot and round
//   lateness      0 ticks: due in the first advance() at or after its deadline
//   bytes/timer   32, and 16 per slot
//
// When to choose it: timeouts last a few rounds at most. With 4096 slots of 1 ms a timer that waits
// for 120 s is looked at 30 times, and a server whose timers are spread over all slots wakes up
// every millisecond. hierarchical-wheel avoids both.
//
// A TimerService makes its backend without arguments. For another number of slots, give it a class
// of your own: struct MyWheel : timers::HashedWheel { MyWheel() : HashedWheel(1024) {} };
#pragma once

#include "timers/slot_ring.hpp"

#include <bit>
#include <cstddef>

namespace timers {

class HashedWheel {
public:
  using Node = JumpNode;

  static constexpr std::size_t kDefaultSlots = 4096;

  static constexpr BackendInfo kInfo{
      .name = "hashed-wheel",
      .scheme = "6",
      .summary = "a wheel of 4096 slots with unordered lists: O(1), every timer seen each round",
      .peer_order = PeerOrder::moved,
      .exact_next_deadline = false,
      .costs = {.arm = Cost::constant,
                .rearm = Cost::constant,
                .disarm = Cost::constant,
                .expire = Cost::rounds},
      .bytes_per_timer = 32,
      .ticks_per_turn = kDefaultSlots,
  };

  // `slots` > 0 is rounded up to a power of two. Throws std::bad_alloc.
  explicit HashedWheel(std::size_t slots = kDefaultSlots) : slots_(std::bit_ceil(slots)) {}

  TIMERS_FRAME void arm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    node.deadline = deadline;
    slots_.file(node, append);
  }

  TIMERS_FRAME void rearm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    slots_.take_out(node);
    node.deadline = deadline;
    slots_.file(node, append);
  }

  TIMERS_FRAME void disarm(Node& node) noexcept { slots_.take_out(node); }

  TIMERS_FRAME void advance(Tick now) noexcept { slots_.advance(now, take_due); }

  TIMERS_FRAME Node* pop_expired() noexcept { return slots_.pop_expired(); }

  // The tick at which the hand next comes to an occupied slot; a lower bound. O(1).
  Tick next_deadline() const noexcept { return slots_.next_visit(); }

  std::string_view check() const { return slots_.check(); }

private:
  static void take_due(NodeList& slot, Tick now, NodeList& due) noexcept {
    for (auto at = slot.begin(); at != slot.end();) {
      auto& node = static_cast<Node&>(*at++);
      JumpPointers::prefetch(node);
      visit();
      if (node.deadline <= now) {
        unlink(node);
        due.push_back(node);
      }
    }
  }

  SlotRing slots_;
};

} // namespace timers
