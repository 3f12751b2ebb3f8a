// Samples of the time that a few operations took, and quantiles of them.
//
// A reading of the clock costs as much as several operations. So a sample covers a batch of them,
// and a quantile is one of batches: a single operation of a slow batch may have taken all of its
// time. What it takes to measure an empty batch is reported, and is not subtracted.
//
// Interrupts and the host of a virtual machine take time away from programs. So after each pass the
// processor spins for as long as every sample took, and it is noted by how much each spin took
// longer than it was meant to. That is what the machine adds, and not the structure.
#pragma once

#include "bench/workload.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace bench {

// Keeps the latest samples and the worst of all. record() is O(1) and allocates nothing. The
// quantiles are O(size()) and copy the samples.
class Samples {
public:
  // Keeps `most` samples, which must not be 0.
  explicit Samples(std::size_t most) : ring_(most) {}

  void record(std::chrono::nanoseconds sample) noexcept {
    ring_[next_] = sample;
    next_ = next_ + 1 == ring_.size() ? 0 : next_ + 1;
    size_ = std::min(size_ + 1, ring_.size());
    worst_ = std::max(worst_, sample);
  }

  // How many samples there are, without those that were forgotten.
  std::size_t size() const noexcept { return size_; }

  // The sample that was recorded `ago` samples before the latest. Requires ago < size().
  std::chrono::nanoseconds recent(std::size_t ago) const noexcept {
    return ring_[(next_ + ring_.size() - 1 - ago) % ring_.size()];
  }

  // The largest sample in ns, also if it was forgotten; not a number when there is none.
  double worst_ns() const { return size_ == 0 ? kNone : static_cast<double>(worst_.count()); }

  // The smallest sample that at most one in `one_in` exceeds, in ns: 100 gives p99. It is one of
  // the samples, nothing is interpolated. Not a number when there are fewer than `one_in` samples,
  // because then it would be the worst of them.
  double quantile_ns(std::size_t one_in) const {
    const std::size_t exceeding = size_ / one_in;
    if (exceeding == 0) {
      return kNone;
    }
    // Until the ring is full, it is filled from its beginning.
    std::vector<std::chrono::nanoseconds> all(ring_.begin(),
                                              ring_.begin() + static_cast<std::ptrdiff_t>(size_));
    const auto found = all.end() - static_cast<std::ptrdiff_t>(exceeding + 1);
    std::nth_element(all.begin(), found, all.end());
    return static_cast<double>(found->count());
  }

private:
  static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

  std::vector<std::chrono::nanoseconds> ring_;
  std::size_t next_ = 0;
  std::size_t size_ = 0;
  std::chrono::nanoseconds worst_{};
};

// A stop-watch for batches. A pass calls start(), then lap() after each batch, and finish() at its
// end. It may call start() again in between, after something that is not to be measured.
class LapWatch {
public:
  using Clock = std::chrono::steady_clock;

  // Keeps the samples of the latest pass at least, if it has no more than `per_pass`.
  explicit LapWatch(std::size_t per_pass)
      : samples_(std::max(per_pass, kLeast)), machine_(std::max(per_pass, kLeast)) {}

  void start() noexcept { last_ = Clock::now(); }

  // Ends a batch and starts the next. Costs one reading of the clock.
  void lap() noexcept {
    const Clock::time_point now = Clock::now();
    samples_.record(now - last_);
    elapsed_ += now - last_;
    ++laps_;
    last_ = now;
  }

  // Ends the pass, and spins for as long as its samples took. Returns the time of all its batches.
  Timed finish(std::size_t operations_per_batch) {
    for (std::size_t left = std::min(laps_, samples_.size()); left > 0; --left) {
      spin(samples_.recent(left - 1));
    }
    const Timed timed{elapsed_, laps_ * operations_per_batch};
    elapsed_ = {};
    laps_ = 0;
    return timed;
  }

  // Every one is there for every workload, because a table in CSV has the same columns in all rows.
  // What there are too few samples for is not a number.
  std::vector<Figure> figures() const {
    return {{"samples", static_cast<double>(samples_.size())},
            {"p50_ns", samples_.quantile_ns(2)},
            {"p90_ns", samples_.quantile_ns(10)},
            {"p99_ns", samples_.quantile_ns(100)},
            {"p99.9_ns", samples_.quantile_ns(1000)},
            {"worst_ns", samples_.worst_ns()},
            {"machine_p99.9_ns", machine_.quantile_ns(1000)},
            {"machine_worst_ns", machine_.worst_ns()},
            {"empty_ns", empty_ns()}};
  }

  // What a batch takes in which nothing is done: the median of a thousand.
  static double empty_ns() {
    constexpr std::size_t kLaps = 1000;
    Samples samples(kLaps);
    Clock::time_point last = Clock::now();
    for (std::size_t i = 0; i < kLaps; ++i) {
      const Clock::time_point now = Clock::now();
      samples.record(now - last);
      last = now;
    }
    return samples.quantile_ns(2);
  }

private:
  // A hundred of these samples exceed p99.9. They take a MiB.
  static constexpr std::size_t kLeast = std::size_t{1} << 17;

  void spin(std::chrono::nanoseconds meant) noexcept {
    const Clock::time_point start = Clock::now();
    std::chrono::nanoseconds took{};
    while (took < meant) {
      took = Clock::now() - start;
    }
    machine_.record(took - meant);
  }

  Samples samples_;
  Samples machine_;
  Clock::time_point last_;
  std::chrono::nanoseconds elapsed_{};
  std::size_t laps_ = 0;
};

} // namespace bench
