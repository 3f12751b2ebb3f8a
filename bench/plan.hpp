// Which sizes can be measured in reasonable time: tried on small ones, reckoned for large ones.
#pragma once

#include "bench/workload.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace bench {

// What one repetition takes of a processor: setting up, one pass, checking the answer.
struct Cost {
  std::size_t n;
  double whole_s;
  double timed_s; // the part of it that is measured
};

// A power law through two measured points. At least linear, since a repetition deals with every
// timer; at most quadratic and a little for caches, since no scheme does worse than walk all others
// for each.
inline double extrapolate(double n1, double y1, double n2, double y2, double n) {
  const double exponent = std::log(y2 / y1) / std::log(n2 / n1);
  return y2 * std::pow(n / n2, std::clamp(exponent, 1.0, 2.3));
}

inline Cost extrapolate(const Cost& small, const Cost& large, std::size_t n) {
  const auto at = [&](double y1, double y2) {
    return extrapolate(static_cast<double>(small.n), y1, static_cast<double>(large.n), y2,
                       static_cast<double>(n));
  };
  return {n, at(small.whole_s, large.whole_s), at(small.timed_s, large.timed_s)};
}

// Whether a repetition stays below the limit. What any structure needs for setting up that many
// timers and checking the answer, 2 us each, does not count: of ten million it is most of it.
inline bool affordable(const Cost& cost, double limit_s) {
  return cost.whole_s <= limit_s + 2e-6 * static_cast<double>(cost.n);
}

// A limit of passes for a benchmark that spends nearly all its time unmeasured, so that reaching
// min_time would take far too long; 0 when it needs none.
inline std::int64_t most_passes(const Cost& cost, double min_time_s) {
  constexpr double kPatience_s = 2;
  if (cost.whole_s * min_time_s / cost.timed_s <= kPatience_s) {
    return 0;
  }
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(kPatience_s / cost.whole_s));
}

} // namespace bench
