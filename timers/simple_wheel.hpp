// Scheme 4 of Varghese & Lauck: a circular buffer with a slot for every tick of the longest
// timeout.
//
// The slot of a deadline is the deadline modulo the number of slots. No timer lies further ahead
// than one turn, so all timers of a slot are due at the same tick and nothing is ever compared.
//
//   With 8 slots, now = 21 (slot 5): deadline 23 is in slot 7, and 27 is in slot 3, behind the
//   wrap. 29 would share slot 5 with now, so it is out of reach until now is 22.
//
//   arm           O(1)
//   rearm         O(1)
//   disarm        O(1)
//   advance       O(occupied slots reached). A bitmap finds the next one, so the ticks passed cost
//                 nothing. (The paper's wheel looks at every slot it passes.)
//   pop_expired   O(1)
//   wake-ups      exactly one per distinct deadline, and one per turn of the wheel while a timer
//                 lies out of reach
//   lateness      0 ticks: due in the first advance() at or after its deadline
//   bytes/timer   32, and 16 per slot: 2 MiB for the default of 2^17 ticks
//
// When to choose it: timeouts have a known, short maximum. Give it to the service as
// ServiceConfig::longest_timeout (config.hpp). The service files a timer with a longer timeout at
// the edge of the wheel, and again when time gets there. That costs one wake-up per turn, which is
// much where ticks are short: with the default size a turn takes 131 s at a tick of 1 ms, but 131
// us, and the loop most of its time, at 1 ns.
#pragma once

#include "timers/failure.hpp"
#include "timers/slot_ring.hpp"

#include <bit>
#include <cstddef>
#include <stdexcept>
#include <string>

namespace timers {

class SimpleWheel {
public:
  using Node = JumpNode;

  static constexpr BackendInfo kInfo{
      .name = "simple-wheel",
      .scheme = "4",
      .summary = "a slot for every tick of the longest timeout: O(1), memory for the longest",
      .peer_order = PeerOrder::moved,
      .exact_next_deadline = true,
      .costs = {.arm = Cost::constant,
                .rearm = Cost::constant,
                .disarm = Cost::constant,
                .expire = Cost::constant},
      .bytes_per_timer = 32,
  };

  static constexpr Ticks kDefaultReach = (Ticks{1} << 17) - 1; // two minutes of milliseconds
  static constexpr Ticks kMostReach = (Ticks{1} << 24) - 1;    // 256 MiB of slots

  // `reach` is the longest timeout, in ticks, that is filed where it is due. Throws
  // std::length_error when it is more than kMostReach, and std::bad_alloc.
  explicit SimpleWheel(Ticks reach = kDefaultReach) : slots_(slots_for(reach)) {}

  // The latest deadline that arm() and rearm() accept now: one turn less a tick after the last
  // advance().
  Tick furthest() const noexcept {
    const Ticks reach = slots_.size() - 1;
    return reach > kLatest - slots_.now() ? kLatest : slots_.now() + reach;
  }

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

  TIMERS_FRAME void advance(Tick now) noexcept { slots_.advance(now, take_all); }

  TIMERS_FRAME Node* pop_expired() noexcept { return slots_.pop_expired(); }

  // Exact: timers lie at most a turn ahead, so the hand reaches a slot at its timers' deadline.
  Tick next_deadline() const noexcept { return slots_.next_visit(); }

  std::string_view check() const { return slots_.check(); }

private:
  static std::size_t slots_for(Ticks reach) {
    if (reach > kMostReach) {
      fail(std::length_error("simple-wheel needs a slot for every tick of the longest timeout, " +
                             std::to_string(reach) + "; it takes up to " +
                             std::to_string(kMostReach)));
    }
    return std::bit_ceil(reach + 1);
  }

  static void take_all(NodeList& slot, Tick /*now*/, NodeList& due) noexcept {
    due.splice(due.end(), slot);
  }

  SlotRing slots_;
};

} // namespace timers
