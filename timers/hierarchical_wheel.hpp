// Scheme 7 of Varghese & Lauck: a hierarchy of wheels, like the hands of a clock.
//
// A deadline is read as a number of eleven digits to base 64, which is 64 bits in all. Level 0 has
// a slot for each value of the last digit, level 1 for the digit before it, and so on. A timer is
// filed at the level of the highest digit in which its deadline differs from now, in the slot of
// that digit. When time reaches the start of a slot above level 0, the timers in it move to lower
// levels (a cascade). A slot of level 0 holds the timers of exactly one tick; when time reaches it,
// they are due.
//
//   In base 10, now = 120: deadline 125 is filed at level 0 slot 5. 178 is filed at level 1 slot 7;
//   when time is 170 it moves to level 0 slot 8. 930 is filed at level 2 slot 9; at 900 it moves to
//   level 1 slot 3, and at 930 it is due, because its last digit is 0.
//
//   arm           O(1)
//   rearm         O(1); two stores while the deadline stays within its slot
//   disarm        O(1)
//   advance       O(occupied slots reached + timers moved). The ticks passed cost nothing, because
//                 an occupancy bitmap per level, and one over the levels, name the next slot
//   pop_expired   O(1)
//   moves         each timer moves down at most once per level: 10 times at worst. With a timeout
//                 of up to 64^k ticks it moves at most k times, and mostly k - 1 (64^3 ticks of 1
//                 ms are four minutes)
//   wake-ups      at most one idle wake-up per cascade, so no more than the moves above
//   lateness      0 ticks: due in the first advance() at or after its deadline
//   bytes/timer   32, and 11.4 KiB for the wheels
//
// When to choose it: it is the general answer for a server. Timers run at their exact tick and in
// arm order within it. A timer that is re-armed within its slot keeps its place there, and so may
// run before others of its tick that were armed before. Taking it to the end would cost twice as
// much (bench/DECISIONS.md). Nothing needs tuning and nothing is allocated. Re-arming costs the
// same with ten timers as with ten million.
//
// When not: a cascade is one step of advance(), however many timers move. With a million timers
// that all run, every 4096th tick takes 27 ms, where a heap or MinArray takes microseconds
// (bench/RESULTS.md, "Tails"). With ten thousand it takes 14 us.
#pragma once

#include "timers/jump_pointers.hpp"

#include <array>
#include <bit>
#include <cstddef>

namespace timers {

class HierarchicalWheel {
public:
  using Node = JumpNode;

  static constexpr BackendInfo kInfo{
      .name = "hierarchical-wheel",
      .scheme = "7",
      .summary = "eleven wheels of 64 slots with occupancy bitmaps, tickless: O(1) to re-arm",
      .peer_order = PeerOrder::armed,
      .exact_next_deadline = false,
      .costs = {.arm = Cost::constant,
                .rearm = Cost::constant,
                .disarm = Cost::constant,
                .expire = Cost::constant},
      .bytes_per_timer = 32,
      .level_factor = 64,
  };

  TIMERS_FRAME void arm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    node.deadline = deadline;
    file(node);
  }

  TIMERS_FRAME void rearm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    if (in_slot_of(node, deadline)) {
      node.deadline = deadline;
      return;
    }
    take_out(node);
    node.deadline = deadline;
    file(node);
  }

  TIMERS_FRAME void disarm(Node& node) noexcept { take_out(node); }

  TIMERS_FRAME void advance(Tick now) noexcept {
    if (next_start() <= now) [[unlikely]] {
      visit_slots(now);
    }
    now_ = now > now_ ? now : now_;
  }

  TIMERS_FRAME Node* pop_expired() noexcept { return jumps_.pop_front(due_); }

  // Exact when the earliest timer is at level 0 or due; else the tick at which its slot cascades.
  // O(1).
  Tick next_deadline() const noexcept {
    if (!due_.empty()) {
      return due_.front().deadline;
    }
    return next_start();
  }

  std::string_view check() const {
    for (std::size_t level = 0; level < kLevels; ++level) {
      if (((occupied_levels_ >> level) & 1) != (occupied_[level] != 0)) {
        return "the bitmap of levels disagrees with a level";
      }
      for (std::size_t slot = 0; slot < kSlots; ++slot) {
        if (((occupied_[level] >> slot) & 1) != !slots_[level][slot].empty()) {
          return "a bitmap disagrees with its slot";
        }
        for (const ListNode& node : slots_[level][slot]) {
          if (node.deadline <= now_ || place_of(node.deadline) != Place{level, slot}) {
            return "a timer is in the wrong slot";
          }
        }
        if (const auto wrong = jumps_.check(slots_[level][slot]); !wrong.empty()) {
          return wrong;
        }
      }
    }
    const auto wrong = jumps_.check(due_);
    return wrong.empty() ? check_due(due_, now_) : wrong;
  }

private:
  static constexpr std::size_t kDigitBits = 6;
  static constexpr std::size_t kSlots = std::size_t{1} << kDigitBits;
  static_assert(kSlots == kInfo.level_factor);
  static constexpr std::size_t kLevels = (64 + kDigitBits - 1) / kDigitBits;

  struct Place {
    std::size_t level;
    std::size_t slot;
    bool operator==(const Place&) const = default;
  };

  // Requires deadline > now_.
  std::size_t level_of(Tick deadline) const noexcept {
    const std::size_t highest_bit = static_cast<unsigned>(std::bit_width(deadline ^ now_)) - 1;
    return highest_bit / kDigitBits;
  }

  // Requires deadline > now_. While the node stays filed, now_ never enters its slot without
  // emptying it, so the same computation finds the slot again and the node need not remember it.
  Place place_of(Tick deadline) const noexcept {
    const std::size_t level = level_of(deadline);
    return {level, (deadline >> (level * kDigitBits)) % kSlots};
  }

  // Whether the node would be filed under this deadline where it is: then the digits of the two
  // differ only below its level. A due node is in no slot.
  bool in_slot_of(const Node& node, Tick deadline) const noexcept {
    return node.deadline > now_ &&
           (node.deadline ^ deadline) >> (level_of(node.deadline) * kDigitBits) == 0;
  }

  Place first_place() const noexcept {
    const auto level = static_cast<std::size_t>(std::countr_zero(occupied_levels_));
    return {level, static_cast<std::size_t>(std::countr_zero(occupied_[level]))};
  }

  // The first tick of the slot that is reached next; kNever when none is occupied.
  Tick next_start() const noexcept {
    return occupied_levels_ == 0 ? kNever : start_of(first_place());
  }

  // Slots of a lower level always start before those of a higher one, so this visits them in order
  // of time, and due_ ends up sorted. It is a function of its own, so that advance() saves no
  // registers when it has nothing to do.
  [[gnu::noinline]] void visit_slots(Tick now) noexcept {
    do {
      const Place first = first_place();
      now_ = start_of(first);
      visit();
      empty_slot(first);
    } while (next_start() <= now);
  }

  // The first tick of a slot that lies ahead: the digits of now above its level, then its own, then
  // zeros.
  Tick start_of(Place place) const noexcept {
    const std::size_t shift = place.level * kDigitBits;
    const Tick above = (now_ >> shift) / kSlots * kSlots;
    return (above | place.slot) << shift;
  }

  void file(Node& node) noexcept {
    visit();
    jumps_.on_filed(node);
    if (node.deadline <= now_) {
      due_.push_back(node);
      return;
    }
    const Place place = place_of(node.deadline);
    slots_[place.level][place.slot].push_back(node);
    occupied_[place.level] |= std::uint64_t{1} << place.slot;
    occupied_levels_ |= 1U << place.level;
  }

  void take_out(Node& node) noexcept {
    jumps_.on_leaving(node);
    unlink(node);
    if (node.deadline > now_) {
      const Place place = place_of(node.deadline);
      if (slots_[place.level][place.slot].empty()) {
        mark_empty(place);
      }
    }
  }

  void mark_empty(Place place) noexcept {
    occupied_[place.level] &= ~(std::uint64_t{1} << place.slot);
    if (occupied_[place.level] == 0) {
      occupied_levels_ &= ~(1U << place.level);
    }
  }

  // Requires now_ == start_of(place): then each of its timers is due or belongs to a lower level.
  void empty_slot(Place place) noexcept {
    NodeList timers;
    timers.swap(slots_[place.level][place.slot]);
    mark_empty(place);
    if (place.level == 0) {
      due_.splice(due_.end(), timers);
      return;
    }
    while (Node* node = jumps_.pop_front(timers)) {
      file(*node);
    }
  }

  Tick now_ = 0;
  std::uint32_t occupied_levels_ = 0;
  std::array<std::uint64_t, kLevels> occupied_{};
  std::array<std::array<NodeList, kSlots>, kLevels> slots_;
  NodeList due_;
  JumpPointers jumps_;
};

} // namespace timers
