#include "timers/histogram.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace timers::test {
namespace {

using std::chrono::nanoseconds;

// Every power of two and every bucket edge, each ±1.
std::vector<std::int64_t> edges() {
  std::vector<std::int64_t> values = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  for (int bit = 4; bit < 62; ++bit) {
    for (std::int64_t sub = 8; sub < 16; ++sub) {
      const std::int64_t edge = sub << (bit - 3);
      values.insert(values.end(), {edge - 1, edge, edge + 1});
    }
  }
  return values;
}

TEST(Histogram, AQuantileIsAtMostAnEighthAboveTheValue) {
  for (const std::int64_t value : edges()) {
    Histogram histogram;
    histogram.record(nanoseconds(value));
    histogram.record(nanoseconds::max()); // so that the first is not the largest
    const std::int64_t median = histogram.quantile(0.5).count();
    EXPECT_GE(median, value);
    EXPECT_LE(median, value + value / 8) << value;
  }
}

TEST(Histogram, SinceAnEarlierCopyHasWhatCameLater) {
  Histogram histogram;
  histogram.record(nanoseconds(1'000'000));
  const Histogram earlier = histogram;
  EXPECT_EQ(histogram.since(earlier).count(), 0U);
  EXPECT_EQ(histogram.since(earlier).max(), nanoseconds(0));
  histogram.record(nanoseconds(1000));
  histogram.record(nanoseconds(3));
  const Histogram later = histogram.since(earlier);
  EXPECT_EQ(later.count(), 2U);
  EXPECT_EQ(later.sum(), nanoseconds(1003));
  EXPECT_EQ(later.quantile(0.5), nanoseconds(3));
  EXPECT_GE(later.max(), nanoseconds(1000));
  EXPECT_LE(later.max(), nanoseconds(1125));
  histogram.record(nanoseconds(2'000'000));
  EXPECT_EQ(histogram.since(earlier).max(), nanoseconds(2'000'000));
}

TEST(Histogram, IsExactBelowEightNanoseconds) {
  for (std::int64_t value = 0; value < 8; ++value) {
    Histogram histogram;
    histogram.record(nanoseconds(value));
    histogram.record(nanoseconds(1000));
    EXPECT_EQ(histogram.quantile(0.5).count(), value);
  }
}

TEST(Histogram, QuantilesCountTheValuesBelow) {
  Histogram histogram;
  for (int value = 1; value <= 1000; ++value) {
    histogram.record(nanoseconds(value));
  }
  std::int64_t last = 0;
  for (int percent = 1; percent <= 100; ++percent) {
    const std::int64_t quantile = histogram.quantile(percent / 100.0).count();
    EXPECT_GE(quantile, percent * 10);
    EXPECT_LE(quantile, percent * 10 * 9 / 8 + 1);
    EXPECT_GE(quantile, last);
    last = quantile;
  }
  EXPECT_EQ(histogram.quantile(0).count(), 1);
  EXPECT_EQ(histogram.quantile(1).count(), 1000);
}

TEST(Histogram, NoQuantileExceedsTheLargestValue) {
  Histogram histogram;
  histogram.record(nanoseconds(1'000'001));
  EXPECT_EQ(histogram.quantile(0.5).count(), 1'000'001);
  EXPECT_EQ(histogram.max().count(), 1'000'001);
  histogram.record(nanoseconds::max());
  EXPECT_EQ(histogram.quantile(1), nanoseconds::max());
}

TEST(Histogram, EmptyIsZeroAndNegativeCountsAsZero) {
  Histogram histogram;
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.quantile(0.99), nanoseconds(0));
  EXPECT_EQ(histogram.max(), nanoseconds(0));
  histogram.record(nanoseconds::min());
  EXPECT_EQ(histogram.count(), 1U);
  EXPECT_EQ(histogram.quantile(1), nanoseconds(0));
}

TEST(Histogram, MergedIsAsIfAllWereRecordedInOne) {
  Histogram whole;
  Histogram odd;
  Histogram even;
  for (const std::int64_t value : edges()) {
    whole.record(nanoseconds(value));
    (value % 2 == 0 ? even : odd).record(nanoseconds(value));
  }
  odd.merge(even);
  EXPECT_EQ(odd.count(), whole.count());
  EXPECT_EQ(odd.max(), whole.max());
  for (int percent = 0; percent <= 100; ++percent) {
    EXPECT_EQ(odd.quantile(percent / 100.0), whole.quantile(percent / 100.0));
  }
}

TEST(Histogram, CountsBelowAPowerOfTwoExactly) {
  Histogram histogram;
  for (const std::int64_t ns : {0, 1, 7, 8, 1023, 1024, 1025, 1 << 20}) {
    histogram.record(nanoseconds(ns));
  }
  EXPECT_EQ(histogram.below(0), 1U);
  EXPECT_EQ(histogram.below(3), 3U);
  EXPECT_EQ(histogram.below(10), 5U);
  EXPECT_EQ(histogram.below(20), 7U);
  EXPECT_EQ(histogram.below(21), 8U);
  EXPECT_EQ(histogram.below(64), 8U);
}

} // namespace
} // namespace timers::test
