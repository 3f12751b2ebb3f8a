// The ring of slots of which the wheels of schemes 4 to 6 are made: a list for each slot, and a map
// of the slots that are occupied.
#pragma once

#include "timers/jump_pointers.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace timers {

// A bit for each occupied slot, and above those a bit for each word that is not zero. The next
// occupied slot is found in two steps, however many empty ones lie between.
class SlotMap {
public:
  // O(slots / 64); throws std::bad_alloc.
  explicit SlotMap(std::size_t slots)
      : words_((slots + kBits - 1) / kBits), summary_((words_.size() + kBits - 1) / kBits) {}

  bool test(std::size_t slot) const noexcept { return (words_[slot / kBits] & bit(slot)) != 0; }

  void set(std::size_t slot) noexcept {
    const std::size_t word = slot / kBits;
    if (words_[word] == 0) {
      summary_[word / kBits] |= bit(word);
    }
    words_[word] |= bit(slot);
  }

  void clear(std::size_t slot) noexcept {
    const std::size_t word = slot / kBits;
    words_[word] &= ~bit(slot);
    if (words_[word] == 0) {
      summary_[word / kBits] &= ~bit(word);
    }
  }

  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  // The first occupied slot from `slot` to `last`. When there is none, kNone or any occupied slot
  // behind `last`. O((last - slot) / 4096), mostly one step.
  std::size_t first_from(std::size_t slot, std::size_t last) const noexcept {
    std::size_t word = slot / kBits;
    if (word >= words_.size()) {
      return kNone;
    }
    const std::uint64_t rest = words_[word] & from(slot);
    if (rest != 0) {
      return word * kBits + lowest(rest);
    }
    word = first_word_from(word + 1, last / kBits);
    return word == kNone ? kNone : word * kBits + lowest(words_[word]);
  }

private:
  static constexpr std::size_t kBits = 64;

  static std::uint64_t bit(std::size_t index) noexcept {
    return std::uint64_t{1} << (index % kBits);
  }
  static std::uint64_t from(std::size_t index) noexcept {
    return ~std::uint64_t{0} << (index % kBits);
  }
  static std::size_t lowest(std::uint64_t bits) noexcept {
    return static_cast<std::size_t>(std::countr_zero(bits));
  }

  std::size_t first_word_from(std::size_t word, std::size_t last) const noexcept {
    if (word > last) {
      return kNone;
    }
    std::size_t group = word / kBits;
    std::uint64_t rest = summary_[group] & from(word);
    while (rest == 0) {
      if (++group > last / kBits) {
        return kNone;
      }
      rest = summary_[group];
    }
    return group * kBits + lowest(rest);
  }

  std::vector<std::uint64_t> words_;
  std::vector<std::uint64_t> summary_; // bit w: words_[w] != 0
};

// The ring, the hand that goes round it, and the timers that it found due. The schemes differ in
// how a timer is put in a slot, and in which timers of a slot are due.
class SlotRing {
public:
  // `slots` is a power of two. Each takes 16 bytes and a bit. Throws std::bad_alloc.
  explicit SlotRing(std::size_t slots) : lists_(slots), occupied_(slots) {}

  std::size_t size() const noexcept { return lists_.size(); }
  Tick now() const noexcept { return now_; }
  const NodeList& due() const noexcept { return due_; }

  // The slot in which timers of this tick lie.
  const NodeList& operator[](Tick tick) const noexcept { return lists_[slot_of(tick)]; }

  // Files a node by its deadline: behind the due ones when it is due, else by insert(slot, node).
  // O(1) besides that.
  template <class Insert> void file(JumpNode& node, Insert insert) noexcept {
    jumps_.on_filed(node);
    if (node.deadline <= now_) {
      due_.push_back(node);
      return;
    }
    visit();
    const std::size_t slot = slot_of(node.deadline);
    insert(lists_[slot], node);
    occupied_.set(slot);
  }

  // O(1).
  void take_out(JumpNode& node) noexcept {
    jumps_.on_leaving(node);
    unlink(node);
    if (node.deadline > now_) {
      note_left(slot_of(node.deadline));
    }
  }

  // The hand goes on to `now`. For each occupied slot that it passes, once at most, it calls
  // collect(slot, now, due), which appends the timers that are due at `now` to the list `due`.
  template <class Collect> void advance(Tick now, Collect collect) noexcept {
    if (now <= now_) {
      return;
    }
    const Ticks passed = now - now_;
    const Ticks turn = std::min<Ticks>(passed, size());
    for (Ticks ahead = visit_within(1, turn); ahead <= turn;
         ahead = visit_within(ahead + 1, turn)) {
      const std::size_t slot = slot_of(now_ + ahead);
      collect(lists_[slot], now, due_);
      note_left(slot);
    }
    now_ = now;
    // Within a turn each slot held timers of one tick at most, and the slots came in order.
    if (passed > turn) {
      sort_by_deadline(due_);
    }
  }

  JumpNode* pop_expired() noexcept { return jumps_.pop_front(due_); }

  // After how many ticks, `ahead` or more, the hand first comes to an occupied slot; kNever when
  // none is occupied. O(1), or O(slots / 4096) for wheels of more slots than that.
  Ticks visit_after(Ticks ahead) const noexcept { return visit_within(ahead, ahead + size() - 1); }

  // The tick at which there is something to do: one that has passed if timers are due, else when
  // the hand comes to an occupied slot; kNever when there is no timer.
  Tick next_visit() const noexcept {
    if (!due_.empty()) {
      return due_.front().deadline;
    }
    const Ticks ahead = visit_after(1);
    if (ahead == kNever) {
      return kNever;
    }
    return ahead > kLatest - now_ ? kLatest : now_ + ahead;
  }

  // Names the first broken invariant: the map says which slots are occupied, and each timer lies in
  // its slot or is due. O(slots + timers).
  std::string_view check() const {
    for (std::size_t slot = 0; slot < size(); ++slot) {
      if (occupied_.test(slot) != !lists_[slot].empty()) {
        return "the map of occupied slots disagrees with a slot";
      }
      for (const ListNode& node : lists_[slot]) {
        if (slot_of(node.deadline) != slot || node.deadline <= now_) {
          return "a timer is in the wrong slot, or due";
        }
      }
      if (const auto wrong = jumps_.check(lists_[slot]); !wrong.empty()) {
        return wrong;
      }
    }
    const auto wrong = jumps_.check(due_);
    return wrong.empty() ? check_due(due_, now_) : wrong;
  }

private:
  std::size_t slot_of(Tick tick) const noexcept { return tick & (size() - 1); }

  // To be called when timers may have left this slot, which was occupied.
  void note_left(std::size_t slot) noexcept {
    visit();
    if (lists_[slot].empty()) {
      occupied_.clear(slot);
    }
  }

  // As visit_after(), but looks no further than `last` ticks after now, which is less than a turn
  // after `ahead`. When nothing lies that near, returns kNever or any distance of more than `last`.
  Ticks visit_within(Ticks ahead, Ticks last) const noexcept {
    if (ahead > last) {
      return kNever;
    }
    const std::size_t here = slot_of(now_ + ahead);
    const std::size_t end = here + (last - ahead);
    std::size_t slot = occupied_.first_from(here, std::min(end, size() - 1));
    if (slot == SlotMap::kNone && end >= size()) {
      slot = occupied_.first_from(0, end - size());
    }
    return slot == SlotMap::kNone ? kNever : ahead + (slot - here) % size();
  }

  std::vector<NodeList> lists_;
  SlotMap occupied_;
  NodeList due_;
  JumpPointers jumps_;
  Tick now_ = 0;
};

} // namespace timers
