// What one trial of a benchmark costs, and which sizes are therefore worth measuring. Small sizes
// are tried; the cost of larger ones is predicted from them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace bench {

// Processor time of one trial: setting up n timers, one pass, checking the answer.
struct TrialCost {
  std::size_t n;
  double whole_s;
  double timed_s; // the part that the benchmark measures
};

// Continues the power law through two measured points. The exponent is at least 1, because a trial
// handles every timer. It is at most 2.3: no scheme does worse than to walk past all other timers
// for each timer, and caches that overflow add a little to the 2.
inline double extrapolate(double n1, double y1, double n2, double y2, double n) {
  const double exponent = std::log(y2 / y1) / std::log(n2 / n1);
  return y2 * std::pow(n / n2, std::clamp(exponent, 1.0, 2.3));
}

// Predicts the cost of a trial of n timers from two smaller trials.
inline TrialCost predict(const TrialCost& small, const TrialCost& large, std::size_t n) {
  const auto at = [&](double y1, double y2) {
    return extrapolate(static_cast<double>(small.n), y1, static_cast<double>(large.n), y2,
                       static_cast<double>(n));
  };
  return {n, at(small.whole_s, large.whole_s), at(small.timed_s, large.timed_s)};
}

// Returns whether a trial stays within the limit. Two microseconds per timer are allowed on top:
// any structure takes these for setting up and checking, and of ten million timers they are most of
// the cost.
inline bool affordable(const TrialCost& cost, double limit_s) {
  return cost.whole_s <= limit_s + 2e-6 * static_cast<double>(cost.n);
}

// Returns how many passes a benchmark may make, or 0 for no limit. A benchmark needs a limit when
// nearly all of its time goes unmeasured, so that it would take far too long to reach min_time.
inline std::int64_t most_passes(const TrialCost& cost, double min_time_s) {
  constexpr double kPatience_s = 2;
  if (cost.whole_s * min_time_s / cost.timed_s <= kPatience_s) {
    return 0;
  }
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(kPatience_s / cost.whole_s));
}

} // namespace bench
