// Scheme 3 of Varghese & Lauck, trees: a quick-heap of keys, with lazy deletion, after arXiv
// 2604.25681.
//
// An array of entries is divided into buckets by descending pivots. The largest bucket, of the
// latest deadlines, comes last in memory, where arm and rearm mostly append. Only the front, the
// bucket of the earliest deadlines, is in order. When it is used up, the next bucket is partitioned
// until what remains at its beginning is small, and that is sorted. An entry for an earlier bucket
// gets its place because each later bucket moves its first entry to its end.
//
// rearm and disarm leave the old entry where it is. An entry counts while its version is that which
// the backend notes for the timer. Entries name a timer by a number, never by its address, because
// a disarmed timer may be gone. When the array is full, entries that count no more are dropped. The
// array has room for two entries per timer, so rearm never allocates.
//
//   arm           O(log n) amortised: the arrays may grow, or be full as in rearm
//   rearm         O(log n) amortised: when the array is full, at most once in n moves, it is gone
//                 over, O(n)
//   disarm        O(1)
//   advance       O(1)
//   pop_expired   O(log n), amortised and expected, because pivots are drawn at random
//   wake-ups      at most one idle wake-up for each entry that was left behind
//   lateness      0 ticks: due in the first advance() at or after its deadline
//   bytes/timer   8 in the owner, and 48 to 96 in the arrays
//
// When to choose it: most timers run, and few are moved before. Then it takes an eighth to three
// quarters of what QuadHeap takes. Where timers are moved often it is slower than QuadHeap and the
// wheels, because each move appends an entry; lazy re-arming keeps most of that away. It takes more
// memory than any other backend, and a full array is gone over once for each n moves.
#pragma once

#include "timers/backend.hpp"
#include "timers/failure.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

namespace timers {

class QuickHeap {
public:
  struct Node {
    std::uint32_t index = 0;   // of what the backend knows about the timer
    std::uint32_t version = 0; // of the timer's entry
  };

  static constexpr BackendInfo kInfo{
      .name = "quick-heap",
      .scheme = "3",
      .summary = "quick-heap: unsorted buckets between pivots, split when due: O(log n)",
      .peer_order = PeerOrder::any,
      .exact_next_deadline = false,
      .costs = {.arm = Cost::linear, // of a single call that finds the array full
                .rearm = Cost::linear,
                .disarm = Cost::constant,
                .expire = Cost::logarithmic},
      .bytes_per_timer = 104,
  };

  QuickHeap() { grow(16); }

  // Throws std::length_error for more than 2^29 timers, and std::bad_alloc.
  TIMERS_FRAME void arm(Node& node, Tick deadline, Ticks /*timeout*/) {
    if (first_free_ == kNone) {
      grow(2 * owners_.size());
    }
    if (armed_ == 0) {
      clear();
    }
    node.index = first_free_;
    Owner& owner = owners_[node.index];
    node.version = owner.version;
    first_free_ = owner.next_free;
    owner.node = &node;
    ++armed_;
    file(node, deadline);
  }

  TIMERS_FRAME void rearm(Node& node, Tick deadline, Ticks /*timeout*/) noexcept {
    file(node, deadline);
  }

  TIMERS_FRAME void disarm(Node& node) noexcept { release(node.index, node.version); }

  TIMERS_FRAME void advance(Tick now) noexcept { now_ = std::max(now_, now); }

  TIMERS_FRAME Node* pop_expired() noexcept {
    while (next_deadline() <= now_) {
      if (front_begin() == front_end()) {
        open_next_bucket();
        continue;
      }
      const Entry entry = entries_[front_begin()];
      ++ends_[last_ + 1];
      fetch_ahead();
      if (live(entry)) {
        Node* node = owners_[entry.index].node;
        release(entry.index, entry.version);
        return node;
      }
    }
    return nullptr;
  }

  Tick next_deadline() const noexcept {
    if (armed_ == 0) {
      return kNever;
    }
    return front_begin() != front_end() ? entries_[front_begin()].deadline : pivots_[last_ - 1];
  }

  std::string_view check() const {
    std::size_t live_ones = 0;
    for (std::size_t bucket = 0; bucket <= last_ && armed_ != 0; ++bucket) {
      if (ends_[bucket + 1] > ends_[bucket]) {
        return "a bucket ends before it begins";
      }
      for (std::uint32_t i = ends_[bucket + 1]; i < ends_[bucket]; ++i) {
        const Tick deadline = entries_[i].deadline;
        if (deadline < pivots_[bucket] || (bucket > 0 && deadline >= pivots_[bucket - 1])) {
          return "an entry is in the wrong bucket";
        }
        if (bucket == last_ && i > front_begin() && deadline < entries_[i - 1].deadline) {
          return "the front is not in order";
        }
        live_ones += static_cast<std::size_t>(live(entries_[i]));
      }
    }
    if (live_ones != armed_) {
      return "a timer has no entry, or two";
    }
    std::size_t free = 0;
    for (std::uint32_t i = first_free_; i != kNone && free <= owners_.size();
         i = owners_[i].next_free) {
      ++free;
    }
    return free + armed_ == owners_.size() ? "" : "an owner is lost";
  }

private:
  struct Entry {
    Tick deadline;
    std::uint32_t index; // of the timer's record
    std::uint32_t version;
  };
  static_assert(sizeof(Entry) == 16);

  struct Owner {
    union {
      Node* node;
      std::uint32_t next_free;
    };
    std::uint32_t version;
  };

  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::size_t kMostTimers = std::size_t{1} << 29;
  static constexpr std::size_t kMostBuckets = 40;
  static constexpr std::uint32_t kSmall = 24; // entries that are sorted at once
  static constexpr std::uint32_t kFront = 64; // entries that an early deadline may have to move

  std::uint32_t front_begin() const noexcept { return ends_[last_ + 1]; }
  std::uint32_t front_end() const noexcept { return ends_[last_]; }
  std::uint32_t front_size() const noexcept { return front_end() - front_begin(); }
  bool live(const Entry& entry) const noexcept {
    return owners_[entry.index].version == entry.version;
  }

  void file(Node& node, Tick deadline) noexcept {
    owners_[node.index].version = ++node.version;
    push({deadline, node.index, node.version});
  }

  void release(std::uint32_t index, std::uint32_t version) noexcept {
    owners_[index].version = version + 1;
    owners_[index].next_free = first_free_;
    first_free_ = index;
    --armed_;
  }

  void push(Entry entry) noexcept {
    if (ends_[0] == capacity_) [[unlikely]] {
      compact();
    }
    if (last_ == 0 || entry.deadline < pivots_[last_ - 1]) {
      push_front(entry);
      return;
    }
    std::size_t bucket = 0;
    const std::uint32_t free = make_gap(bucket, entry.deadline);
    entries_[free] = entry;
  }

  // Returns the free place at the end of the bucket for `deadline`.
  std::uint32_t make_gap(std::size_t bucket, Tick deadline) noexcept {
    Entry* const entries = entries_.data();
    while (deadline < pivots_[bucket]) {
      visit();
      entries[ends_[bucket]++] = entries[ends_[bucket + 1]];
      ++bucket;
    }
    return ends_[bucket]++;
  }

  [[gnu::noinline]] void push_front(Entry entry) noexcept {
    while ((last_ == 0 || entry.deadline < pivots_[last_ - 1]) && front_size() >= kFront &&
           entry.deadline < entries_[front_end() - 1].deadline) {
      halve_front(entry.deadline);
    }
    std::uint32_t i = make_gap(0, entry.deadline);
    Entry* const entries = entries_.data();
    if (last_ == 0 || entry.deadline < pivots_[last_ - 1]) {
      for (; i > front_begin() && entries[i - 1].deadline > entry.deadline; --i) {
        visit();
        entries[i] = entries[i - 1];
      }
    }
    entries[i] = entry;
  }

  void halve_front(Tick deadline) noexcept {
    visit();
    const Entry* const begin = entries_.data() + front_begin();
    const Entry* const end = entries_.data() + front_end();
    const Tick middle = begin[(end - begin) / 2].deadline;
    const Tick pivot = middle == begin->deadline && deadline >= middle ? middle + 1 : middle;
    const Entry* const cut = std::lower_bound(
        begin, end, pivot, [](const Entry& entry, Tick tick) { return entry.deadline < tick; });
    cut_front(pivot, static_cast<std::uint32_t>(cut - entries_.data()));
    while (last_ >= 2 && size(last_ - 2) <= size(last_ - 1)) {
      merge(last_ - 2);
    }
  }

  std::uint32_t size(std::size_t bucket) const noexcept {
    return ends_[bucket] - ends_[bucket + 1];
  }

  // The entries of the front from `cut` on, which are not earlier than `pivot`, become a bucket.
  void cut_front(Tick pivot, std::uint32_t cut) noexcept {
    if (last_ + 1 == kMostBuckets) {
      merge(0);
    }
    pivots_[last_] = pivot;
    ++last_;
    ends_[last_ + 1] = ends_[last_];
    ends_[last_] = cut;
    pivots_[last_] = 0;
  }

  void merge(std::size_t bucket) noexcept {
    for (std::size_t i = bucket; i < last_; ++i) {
      pivots_[i] = pivots_[i + 1];
      ends_[i + 1] = ends_[i + 2];
    }
    --last_;
  }

  [[gnu::noinline]] void open_next_bucket() noexcept {
    --last_;
    pivots_[last_] = 0;
    for (;;) {
      Entry* const begin = entries_.data() + front_begin();
      Entry* const end = entries_.data() + front_end();
      const auto sooner = [](const Entry& a, const Entry& b) { return a.deadline < b.deadline; };
      if (end - begin <= kSmall) {
        sort(begin, end);
        break;
      }
      if (std::is_sorted(begin, end, sooner)) {
        break;
      }
      Tick pivot = choose_pivot(begin, end);
      Entry* cut = partition(begin, end, pivot);
      if (cut == begin) {
        ++pivot;
        cut = partition(begin, end, pivot);
      }
      cut_front(pivot, static_cast<std::uint32_t>(cut - entries_.data()));
    }
    const std::uint32_t b = front_begin();
    for (std::uint32_t i = 0; i < 2 * kAhead; ++i) {
      prefetch_index(entries_[b + i].index);
    }
    for (std::uint32_t i = 0; i < kAhead; ++i) {
      __builtin_prefetch(owners_[entries_[b + i].index].node, 1);
    }
  }

  static void sort(Entry* begin, Entry* end) noexcept {
    for (Entry* i = begin; i < end; ++i) {
      visit();
      const Entry entry = *i;
      Entry* at = i;
      for (; at > begin && at[-1].deadline > entry.deadline; --at) {
        visit();
        *at = at[-1];
      }
      *at = entry;
    }
  }

  Tick choose_pivot(const Entry* begin, const Entry* end) noexcept {
    std::array<Tick, 9> sample;
    const auto n = static_cast<std::uint64_t>(end - begin);
    const std::size_t count = n > 500 ? 9 : 3;
    for (std::size_t i = 0; i < count; ++i) {
      random_ = random_ * 6364136223846793005U + 1442695040888963407U;
      sample[i] = begin[(random_ >> 32) * n >> 32].deadline;
    }
    std::nth_element(sample.begin(), sample.begin() + count / 2, sample.begin() + count);
    return sample[count / 2];
  }

  static Entry* partition(Entry* begin, Entry* end, Tick pivot) noexcept {
    Entry* cut = begin;
    for (Entry* i = begin; i != end; ++i) {
      visit();
      const Entry entry = *i;
      *i = *cut;
      *cut = entry;
      cut += entry.deadline < pivot ? 1 : 0;
    }
    return cut;
  }

  // Entries behind the front and owners that are free may be read here, which fetches in vain.
  static constexpr std::uint32_t kAhead = 32;
  void fetch_ahead() const noexcept {
    const Entry* const next = entries_.data() + front_begin();
    prefetch_index(next[2 * kAhead].index);
    __builtin_prefetch(owners_[next[kAhead].index].node, 1);
  }
  void prefetch_index(std::uint32_t index) const noexcept {
    __builtin_prefetch(&owners_[index], 1);
  }

  void clear() noexcept {
    last_ = 0;
    ends_[0] = ends_[1] = 0;
    pivots_[0] = 0;
  }

  // Cannot leave the array full: it has two places per timer, and each timer has one that counts.
  [[gnu::noinline]] void compact() noexcept {
    for (std::uint32_t i = front_begin(); i < ends_[0]; ++i) {
      visit();
    }
    move_live(entries_.data(), entries_.data());
  }

  void move_live(Entry* to, const Entry* from) noexcept {
    std::uint32_t place = 0;
    std::uint32_t i = front_begin();
    ends_[last_ + 1] = 0;
    for (std::size_t bucket = last_ + 1; bucket-- > 0;) {
      for (; i < ends_[bucket]; ++i) {
        to[place] = from[i];
        place += static_cast<std::uint32_t>(live(from[i]));
      }
      ends_[bucket] = place;
    }
  }

  void grow(std::size_t timers) {
    if (timers > kMostTimers) {
      fail(std::length_error("quick-heap holds 2^29 timers at most"));
    }
    std::vector<Entry> entries(2 * timers + 2 * kAhead + 1);
    std::vector<Owner> owners(timers);
    std::copy(owners_.begin(), owners_.end(), owners.begin());
    for (auto i = static_cast<std::uint32_t>(timers); i-- > owners_.size();) {
      owners[i].next_free = first_free_;
      first_free_ = i;
    }
    owners_.swap(owners);
    move_live(entries.data(), entries_.data());
    entries_.swap(entries);
    capacity_ = static_cast<std::uint32_t>(2 * timers);
  }

  Tick now_ = 0;
  std::size_t armed_ = 0;
  std::size_t last_ = 0;
  std::uint32_t capacity_ = 0;
  std::uint32_t first_free_ = kNone;
  std::array<Tick, kMostBuckets> pivots_{};
  std::array<std::uint32_t, kMostBuckets + 1> ends_{};
  std::vector<Entry> entries_;
  std::vector<Owner> owners_;
  std::uint64_t random_ = 1;
};

} // namespace timers
