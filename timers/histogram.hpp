// A histogram of durations in 4 KiB. It gives quantiles with a relative error of at most 1/8.
#pragma once

#include "timers/duration.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ratio>

namespace timers {

// Below 8 ns there is a bucket for each nanosecond, above that there are eight for each power of
// two. record() is O(1). All others read all 496 buckets at most.
class Histogram {
public:
  void record(Nanoseconds value) noexcept {
    const auto ns = static_cast<std::uint64_t>(value.count());
    ++counts_[bucket_of(ns)];
    ++count_;
    sum_ns_ += ns;
    max_ns_ = std::max(max_ns_, ns);
  }

  std::uint64_t count() const noexcept { return count_; }

  std::chrono::nanoseconds sum() const noexcept { return to_duration(sum_ns_); }

  std::chrono::nanoseconds max() const noexcept { return to_duration(max_ns_); }

  // The smallest edge of a bucket that `fraction` (0 to 1) of the values do not exceed, and no more
  // than max(); 0 when empty.
  std::chrono::nanoseconds quantile(double fraction) const noexcept {
    const double wanted = fraction * static_cast<double>(count_);
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
      seen += counts_[bucket];
      if (seen != 0 && static_cast<double>(seen) >= wanted) {
        return to_duration(std::min(upper_edge(bucket), max_ns_));
      }
    }
    return {};
  }

  // How many values are below 2^power ns. Exact, because that is an edge of a bucket.
  std::uint64_t below(unsigned power) const noexcept {
    const std::size_t end = power >= 64 ? kBuckets : bucket_of(std::uint64_t{1} << power);
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < end; ++bucket) {
      seen += counts_[bucket];
    }
    return seen;
  }

  // Adds what another histogram counted.
  void merge(const Histogram& other) noexcept {
    for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
      counts_[bucket] += other.counts_[bucket];
    }
    count_ += other.count_;
    sum_ns_ += other.sum_ns_;
    max_ns_ = std::max(max_ns_, other.max_ns_);
  }

  // What was recorded after `earlier`, a copy of this histogram from then. Its max() is the upper
  // edge of the bucket that it lies in, and no more than this max().
  Histogram since(const Histogram& earlier) const noexcept {
    Histogram later;
    for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
      later.counts_[bucket] = counts_[bucket] - earlier.counts_[bucket];
      if (later.counts_[bucket] != 0) {
        later.max_ns_ = std::min(upper_edge(bucket), max_ns_);
      }
    }
    later.count_ = count_ - earlier.count_;
    later.sum_ns_ = sum_ns_ - earlier.sum_ns_;
    return later;
  }

private:
  static constexpr std::size_t kSubBits = 3;
  static constexpr std::size_t kSubs = std::size_t{1} << kSubBits;
  static constexpr std::size_t kBuckets = (64 - kSubBits + 1) * kSubs;

  static std::size_t bucket_of(std::uint64_t ns) noexcept {
    if (ns < kSubs) {
      return ns;
    }
    const std::size_t shift = static_cast<unsigned>(std::bit_width(ns)) - 1 - kSubBits;
    return (shift + 1) * kSubs + (ns >> shift) % kSubs;
  }

  static std::uint64_t upper_edge(std::size_t bucket) noexcept {
    if (bucket < kSubs) {
      return bucket;
    }
    const std::size_t shift = bucket / kSubs - 1;
    return (((kSubs + bucket % kSubs) + 1) << shift) - 1;
  }

  static std::chrono::nanoseconds to_duration(std::uint64_t ns) noexcept {
    return to_nanoseconds(std::chrono::duration<std::uint64_t, std::nano>(ns));
  }

  std::array<std::uint64_t, kBuckets> counts_{};
  std::uint64_t count_ = 0;
  std::uint64_t sum_ns_ = 0;
  std::uint64_t max_ns_ = 0;
};

} // namespace timers
