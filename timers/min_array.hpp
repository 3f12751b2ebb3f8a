// A scheme of this project: an array of deadlines with a tree of lower bounds above it.
//
// Each armed timer has a place in a dense array of 32-bit deadlines. 64 places in a row make a
// block. Each block has a bound: no deadline of the block is earlier. 64 bounds have a bound above
// them, and so on up to a single one, the root. Moving a timer later writes its place and leaves
// the bounds as they are: they are still bounds, only not tight. Moving a timer earlier lowers the
// bounds above it that are later than its new deadline. When the root says that something may be
// due, a search goes down along the lowest bounds. It tightens those that turn out too low.
//
//   With blocks of 4:  places 9 7 8 9 | 6 8 8 7, bounds 7 6, root 6. The 6 moves to 10: bounds and
//   root stay. At 6 the search goes to the second block and finds 7 the least. It tightens the
//   block's bound and the root to 7: nothing is due. At 7 it finds the second place of the first
//   block.
//
//   arm           O(1): at most one 4-byte store per level (of 64 to one) where the bound was
//                 later; amortised, because the arrays may grow
//   rearm         O(1): to a later deadline one 4-byte store, to an earlier one as arm
//   disarm        O(1): one store, and two to give the place back
//   advance       O(1)
//   pop_expired   O(1) for timers of one tick and block. The next tick or block needs a scan of 64
//                 numbers for each level on the way up and down. Each bound that must be tightened
//                 needs one more, at most once for each operation that left it too low
//   wake-ups      at most one idle wake-up for each timer that left a block of which it was the
//                 earliest; in a server one for each block and timeout
//   lateness      0 ticks: due in the first advance() at or after its deadline
//   bytes/timer   16 in the owner, and 12 to 24 in the arrays
//
// When to choose it: many timers that are moved all the time and rarely expire, re-armed eagerly.
// The array takes 4 bytes per timer, so a million deadlines fit into a cache that could not hold
// their owners. It is slower than hierarchical-wheel where timers expire one by one, each at a tick
// of its own, because each then costs the scans above: paced-pairs of timer-bench is such a load.
//
// Deadlines are exact. They are held relative to a base that moves with time. A timer that is more
// than 2^31 ticks ahead keeps its deadline in its owner, and counts as "far" until it comes near.
#pragma once

#include "timers/aligned_allocator.hpp"
#include "timers/backend.hpp"
#include "timers/failure.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

namespace timers {

class MinArray {
public:
  struct Node {
    Tick far_deadline = 0; // the deadline of a timer that is far; else unused
    std::uint32_t index = 0;
  };

  static constexpr BackendInfo kInfo{
      .name = "min-array",
      .scheme = "own",
      .summary = "32-bit deadlines in an array under a tree of bounds: one store to re-arm later",
      .peer_order = PeerOrder::any,
      .exact_next_deadline = false,
      .costs = {.arm = Cost::constant,
                .rearm = Cost::constant,
                .disarm = Cost::constant,
                .expire = Cost::logarithmic},
      .bytes_per_timer = 40,
  };

  MinArray() { grow(kGroup); }

  // Throws std::length_error for more than 2^31 timers, and std::bad_alloc.
  TIMERS_FRAME void arm(Node& node, Tick deadline, Ticks /*timeout*/) {
    if (first_free_ == kNone) {
      grow(std::size_t{2} * capacity());
    }
    node.index = first_free_;
    first_free_ = owners_[node.index].next_free;
    owners_[node.index].node = &node;
    ++armed_;
    place(node, deadline);
  }

  TIMERS_FRAME void rearm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    place(node, deadline);
  }

  TIMERS_FRAME void disarm(Node& node) noexcept { remove(node.index); }

  TIMERS_FRAME void advance(Tick now) noexcept { now_ = std::max(now_, now); }

  TIMERS_FRAME Node* pop_expired() noexcept {
    for (;;) {
      while (found_ != 0) {
        const std::uint32_t index = found_block_ * kGroup + lowest(found_);
        found_ &= found_ - 1;
        if (rows_[0][index] == found_due_) { // not moved since it was found
          Node* node = owners_[index].node;
          fetch_ahead(index);
          remove(index);
          return node;
        }
      }
      if (!find_due()) {
        return nullptr;
      }
    }
  }

  Tick next_deadline() const noexcept {
    if (armed_ == 0) {
      return kNever;
    }
    return root_bound() >= kFar ? earliest_far_ : base_ + static_cast<Ticks>(root_bound());
  }

  std::string_view check() const {
    for (std::size_t row = 1; row < height_; ++row) {
      for (std::size_t i = 0; i < rows_[row - 1].size(); ++i) {
        if (rows_[row - 1][i] < rows_[row][i / kGroup]) {
          return "a bound is later than something below it";
        }
      }
    }
    std::size_t idle = 0;
    for (std::size_t i = 0; i < owners_.size(); ++i) {
      if (rows_[0][i] == kIdle) {
        ++idle;
      } else if (owners_[i].node->index != i) {
        return "a timer's index is not its place";
      } else if (rows_[0][i] == kFar && (due_of(owners_[i].node->far_deadline) != kFar ||
                                         owners_[i].node->far_deadline < earliest_far_)) {
        return "a timer that is near counts as far";
      }
    }
    const std::size_t free = idle;
    for (std::uint32_t i = first_free_; i != kNone; i = owners_[i].next_free, --idle) {
      if (idle == 0 || rows_[0][i] != kIdle) {
        return "the free places are not the idle ones";
      }
    }
    return idle == 0 && armed_ + free == owners_.size() ? "" : "a place is lost";
  }

private:
  using Due = std::int32_t; // ticks after base_; signed, because SSE2 compares only those
  using Row = std::vector<Due, AlignedAllocator<Due, 64>>;
  union Owner {
    Node* node;
    std::uint32_t next_free;
  };

  static constexpr Due kIdle = std::numeric_limits<Due>::max();
  static constexpr Due kFar = kIdle - 1;
  static constexpr std::uint32_t kGroup = 64;
  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::size_t kMostPlaces = std::size_t{1} << 31;
  static constexpr std::size_t kMaxHeight = 7; // 64^6 > kMostPlaces
  // How far time may leave the base behind before it follows.
  static constexpr Ticks kLongBehind = Ticks{1} << 30;

  static std::uint32_t lowest(std::uint64_t bits) noexcept {
    return static_cast<std::uint32_t>(std::countr_zero(bits));
  }

  std::uint32_t capacity() const noexcept { return static_cast<std::uint32_t>(owners_.size()); }
  Due root_bound() const noexcept { return rows_[height_ - 1].front(); }

  Due due_of(Tick deadline) const noexcept {
    const Ticks ahead = deadline > base_ ? deadline - base_ : 0;
    return ahead < static_cast<Ticks>(kFar) ? static_cast<Due>(ahead) : kFar;
  }

  // Both rare cases are calls at the end, to functions out of line, so that the common case needs
  // to save no registers for them.
  void place(Node& node, Tick deadline) noexcept {
    const Ticks ahead = deadline - base_; // before the base: wraps to kFar or more
    if (ahead >= static_cast<Ticks>(kFar)) [[unlikely]] {
      place_out_of_range(node, deadline);
      return;
    }
    store(node.index, static_cast<Due>(ahead));
  }

  [[gnu::noinline]] void place_out_of_range(Node& node, Tick deadline) noexcept {
    const Due due = due_of(deadline);
    if (due == kFar) {
      node.far_deadline = deadline;
      earliest_far_ = std::min(earliest_far_, deadline);
    }
    store(node.index, due);
  }

  void store(std::uint32_t index, Due due) noexcept {
    rows_[0][index] = due;
    if (rows_[1][index / kGroup] > due) [[unlikely]] {
      lower_bounds(index, due);
    }
  }

  // Lowers the bounds above a place to `due`.
  [[gnu::noinline]] void lower_bounds(std::uint32_t i, Due due) noexcept {
    for (std::size_t row = 1; row < height_; ++row) {
      i /= kGroup;
      if (rows_[row][i] <= due) {
        break;
      }
      rows_[row][i] = due;
      visit();
    }
  }

  void remove(std::uint32_t index) noexcept {
    rows_[0][index] = kIdle;
    owners_[index].next_free = first_free_;
    first_free_ = index;
    --armed_;
  }

  // Fills found_ with the timers of the earliest due tick in one block; false when none is due.
  bool find_due() noexcept {
    if (found_due_ != kIdle) {
      tighten(1, found_block_); // no timer of that tick is left in it
      found_due_ = kIdle;
    }
    do {
      while (root_bound() <= due_now()) {
        if (descend()) {
          return true;
        }
      }
    } while (move_base());
    return false;
  }

  // Now, as a deadline in the array; never kFar, because nothing that is far is due.
  Due due_now() const noexcept { return std::min(due_of(now_), kFar - 1); }

  // Goes from the root down to a block, along the lowest bounds. Returns false when it had to
  // tighten a bound, because that may be the lowest no more.
  bool descend() noexcept {
    std::uint32_t i = 0;
    for (std::size_t row = height_ - 1; row > 0; --row) {
      visit();
      const Due bound = rows_[row][i];
      const std::uint64_t lowest_ones = equal_to(bound, group(row - 1, i));
      if (lowest_ones == 0) {
        tighten(row, i);
        return false;
      }
      if (row == 1) {
        found_ = lowest_ones;
        found_block_ = i;
        found_due_ = bound;
        fetch_found();
        return true;
      }
      i = i * kGroup + lowest(lowest_ones);
    }
    return false;
  }

  // Has the nodes of all timers found come from memory at once, instead of one after the other.
  void fetch_found() const noexcept {
    for (std::uint64_t rest = found_; rest != 0; rest &= rest - 1) {
      __builtin_prefetch(owners_[found_block_ * kGroup + lowest(rest)].node, 1);
    }
  }

  // Prefetches the node at the same place of the next block. When many timers are due, it mostly is
  // too.
  void fetch_ahead(std::uint32_t index) const noexcept {
    const std::size_t ahead = std::size_t{index} + kGroup;
    if (ahead < owners_.size() && rows_[0][ahead] == found_due_) {
      __builtin_prefetch(owners_[ahead].node, 1);
    }
  }

  // Makes a bound tight, and those above it.
  void tighten(std::size_t row, std::uint32_t i) noexcept {
    for (; row < height_; ++row, i /= kGroup) {
      visit();
      const Due least = least_of(group(row - 1, i));
      if (least == rows_[row][i]) {
        return;
      }
      rows_[row][i] = least;
    }
  }

  const Due* group(std::size_t row, std::uint32_t i) const noexcept {
    return rows_[row].data() + std::size_t{i} * kGroup;
  }

  // The compiler turns the loops of the next two functions into vector instructions.
  static Due least_of(const Due* group) noexcept {
    Due least = kIdle;
    for (std::uint32_t i = 0; i < kGroup; ++i) {
      least = std::min(least, group[i]);
    }
    return least;
  }

  // Bit i: group[i] == due.
  static std::uint64_t equal_to(Due due, const Due* group) noexcept {
    std::array<std::uint8_t, kGroup> equal;
    for (std::uint32_t i = 0; i < kGroup; ++i) {
      equal[i] = group[i] == due ? 1 : 0;
    }
    std::uint64_t bits = 0;
    for (std::uint32_t byte = 0; byte < 8; ++byte) {
      std::uint64_t eight; // bytes of 0 or 1, which the multiplication gathers in its top byte
      std::memcpy(&eight, equal.data() + std::size_t{byte} * 8, sizeof eight);
      bits |= (eight * 0x0102'0408'1020'4080U >> 56) << (byte * 8);
    }
    return bits;
  }

  // Moves the base towards now when now is far ahead of it, but not past a timer. Returns false
  // when the base stayed. O(n), once in 2^30 ticks (12 days of milliseconds).
  bool move_base() noexcept {
    if (now_ - base_ < kLongBehind) {
      return false;
    }
    Tick earliest = std::min(now_, kNever - static_cast<Ticks>(kFar)); // place() relies on that
    for (std::uint32_t i = 0; i < capacity(); ++i) {
      if (rows_[0][i] != kIdle) {
        earliest = std::min(earliest, deadline_at(i));
      }
    }
    if (earliest <= base_) {
      return false;
    }
    const Tick old_base = base_;
    base_ = earliest;
    earliest_far_ = kNever;
    for (std::uint32_t i = 0; i < capacity(); ++i) {
      Due& due = rows_[0][i];
      if (due == kFar) {
        const Tick deadline = owners_[i].node->far_deadline;
        due = due_of(deadline);
        earliest_far_ = due == kFar ? std::min(earliest_far_, deadline) : earliest_far_;
      } else if (due != kIdle) {
        due = due_of(old_base + static_cast<Ticks>(due));
      }
    }
    tighten_all();
    return true;
  }

  Tick deadline_at(std::uint32_t i) const noexcept {
    return rows_[0][i] == kFar ? owners_[i].node->far_deadline
                               : base_ + static_cast<Ticks>(rows_[0][i]);
  }

  void tighten_all() noexcept {
    for (std::size_t row = 1; row < height_; ++row) {
      const std::size_t groups = rows_[row - 1].size() / kGroup;
      for (std::uint32_t i = 0; i < groups; ++i) {
        rows_[row][i] = least_of(group(row - 1, i));
      }
    }
  }

  // Grows to `places` places, a multiple of kGroup. When this throws, nothing has changed.
  void grow(std::size_t places) {
    if (places > kMostPlaces) {
      fail(std::length_error("min-array holds 2^31 timers at most"));
    }
    std::array<Row, kMaxHeight> rows;
    rows[0].assign(places, kIdle);
    std::copy(rows_[0].begin(), rows_[0].end(), rows[0].begin());
    std::size_t height = 1;
    for (std::size_t bounds = places / kGroup; bounds > 1;
         bounds = rows[height++].size() / kGroup) {
      rows[height].assign((bounds + kGroup - 1) / kGroup * kGroup, kIdle);
    }
    rows[height++].assign(1, kIdle);
    std::vector<Owner> owners(places);
    std::copy(owners_.begin(), owners_.end(), owners.begin());
    for (std::uint32_t i = static_cast<std::uint32_t>(places); i-- > capacity();) {
      owners[i].next_free = first_free_;
      first_free_ = i;
    }
    rows_.swap(rows);
    height_ = height;
    owners_.swap(owners);
    tighten_all();
  }

  Tick now_ = 0;
  Tick base_ = 0; // <= now_, and <= each deadline that was in the future when it was armed
  std::array<Row, kMaxHeight>
      rows_; // [0]: places; above: bounds; padded to whole groups with kIdle
  std::size_t height_ = 0;
  std::size_t armed_ = 0;
  Tick earliest_far_ = kNever; // no far timer is due before this
  std::vector<Owner> owners_;  // who owns each place; a free place names the next free one
  std::uint32_t first_free_ = kNone;
  // The timers of found_block_ that were due at found_due_ when it was searched, and that have not
  // been popped since. Bit i is place i of the block.
  std::uint64_t found_ = 0;
  std::uint32_t found_block_ = 0;
  Due found_due_ = kIdle;
};

} // namespace timers
