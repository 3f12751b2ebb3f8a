#include "timers/duration.hpp"

#include "timers/asio/baseline.hpp"
#include "timers/config.hpp"
#include "timers/histogram.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <ratio>

namespace timers {
namespace {

using namespace std::chrono_literals;
using std::chrono::duration;

template <class Rep> constexpr Rep kInfinity = std::numeric_limits<Rep>::infinity();
template <class Rep> constexpr Rep kNaN = std::numeric_limits<Rep>::quiet_NaN();
__extension__ using Int128 = __int128;

TEST(Duration, OfAnyWholeTypeIsConvertedExactly) {
  EXPECT_EQ(to_nanoseconds(5ns), 5ns);
  EXPECT_EQ(to_nanoseconds(292h), 292h);
  EXPECT_EQ(to_nanoseconds(duration<std::uint8_t>(255)), 255s);
  EXPECT_EQ(to_nanoseconds(duration<std::int8_t, std::ratio<60>>(127)), 127min);
  EXPECT_EQ(to_nanoseconds(duration<unsigned>(4'000'000'000U)), 4'000'000'000s);
  EXPECT_EQ(to_nanoseconds(duration<std::uint64_t, std::nano>(1ULL << 62)), 4611686018427387904ns);
  EXPECT_EQ(to_nanoseconds(duration<Int128, std::milli>(7)), 7ms);
  EXPECT_EQ(to_nanoseconds(std::chrono::years(292)), 292 * 31'556'952s);
  EXPECT_EQ(to_nanoseconds(kForever - 1ns), kForever - 1ns);
  EXPECT_EQ(to_nanoseconds(std::chrono::microseconds::max() / 1000), 9223372036854775us);
}

TEST(Duration, IsRoundedUp) {
  EXPECT_EQ(to_nanoseconds(duration<int, std::pico>(1)), 1ns);
  EXPECT_EQ(to_nanoseconds(duration<int, std::pico>(1000)), 1ns);
  EXPECT_EQ(to_nanoseconds(duration<int, std::pico>(1001)), 2ns);
  EXPECT_EQ(to_nanoseconds(duration<std::int64_t, std::atto>::max()), 9223372037ns);
  EXPECT_EQ(to_nanoseconds(duration<int, std::ratio<1, 3>>(1)), 333333334ns);
  EXPECT_EQ(to_nanoseconds(duration<double, std::nano>(0.001)), 1ns);
  EXPECT_EQ(to_nanoseconds(duration<float, std::nano>(1.5F)), 2ns);
  EXPECT_EQ(to_nanoseconds(duration<double>(std::numeric_limits<double>::denorm_min())), 1ns);
}

TEST(Duration, FloatingIsConvertedToItsPrecision) {
  EXPECT_EQ(to_nanoseconds(duration<double>(0.1)), 100ms);
  EXPECT_EQ(to_nanoseconds(duration<float>(0.25F)), 250ms);
  EXPECT_EQ(to_nanoseconds(duration<float>(0.1F)), 100'000'002ns); // the float is above 0.1
  EXPECT_EQ(to_nanoseconds(duration<long double>(0.1L)), 100ms);
  EXPECT_EQ(to_nanoseconds(duration<double, std::ratio<3600>>(0.5)), 30min);
}

TEST(Duration, NegativeIsZero) {
  EXPECT_EQ(to_nanoseconds(-1ns), 0ns);
  EXPECT_EQ(to_nanoseconds(std::chrono::nanoseconds::min()), 0ns);
  EXPECT_EQ(to_nanoseconds(std::chrono::hours::min()), 0ns);
  EXPECT_EQ(to_nanoseconds(duration<Int128>(-1)), 0ns);
  EXPECT_EQ(to_nanoseconds(duration<double>(-0.0)), 0ns);
  EXPECT_EQ(to_nanoseconds(duration<float>(-1.5F)), 0ns);
  EXPECT_EQ(to_nanoseconds(duration<double>(-kInfinity<double>)), 0ns);
}

TEST(Duration, BeyondTheRangeOfNanosecondsIsForEver) {
  EXPECT_EQ(to_nanoseconds(std::chrono::nanoseconds::max()), kForever);
  EXPECT_EQ(to_nanoseconds(std::chrono::seconds::max()), kForever);
  EXPECT_EQ(to_nanoseconds(std::chrono::minutes::max()), kForever);
  EXPECT_EQ(to_nanoseconds(std::chrono::hours::max()), kForever);
  EXPECT_EQ(to_nanoseconds(std::chrono::hours::max() / 10), kForever);
  EXPECT_EQ(to_nanoseconds(std::chrono::weeks::max()), kForever);
  EXPECT_EQ(to_nanoseconds(std::chrono::years::max()), kForever);
  EXPECT_EQ(to_nanoseconds(std::chrono::years(293)), kForever);
  EXPECT_EQ(to_nanoseconds(9223372037s), kForever);
  EXPECT_EQ(to_nanoseconds(duration<std::uint64_t>(1ULL << 62)), kForever);
  EXPECT_EQ(to_nanoseconds(duration<std::uint64_t, std::nano>(1ULL << 63)), kForever);
  EXPECT_EQ(to_nanoseconds(duration<Int128>(Int128{1} << 126)), kForever);
  EXPECT_EQ(to_nanoseconds(duration<std::int64_t, std::exa>(1)), kForever);
  EXPECT_EQ(to_nanoseconds(duration<double>(9.3e9)), kForever);
  EXPECT_EQ(to_nanoseconds(duration<double>::max()), kForever);
  EXPECT_EQ(to_nanoseconds(duration<float, std::exa>::max()), kForever);
  EXPECT_EQ(to_nanoseconds(duration<long double>::max()), kForever);
  EXPECT_EQ(to_nanoseconds(duration<long double, std::nano>(9223372036854775806.5L)), kForever);
  EXPECT_EQ(to_nanoseconds(duration<float>(kInfinity<float>)), kForever);
  EXPECT_EQ(to_nanoseconds(duration<long double>(kInfinity<long double>)), kForever);
}

TEST(Duration, ThatIsNotANumberIsForEver) {
  EXPECT_EQ(to_nanoseconds(duration<float>(kNaN<float>)), kForever);
  EXPECT_EQ(to_nanoseconds(duration<double, std::pico>(kNaN<double>)), kForever);
  EXPECT_EQ(to_nanoseconds(duration<long double>(-kNaN<long double>)), kForever);
}

TEST(Duration, IsConvertedWhereverItEntersTheLibrary) {
  const ServiceConfig config{.tick = std::chrono::hours::max(),
                             .longest_timeout = duration<double>(kNaN<double>)};
  EXPECT_EQ(config.tick, kForever);
  EXPECT_EQ(config.longest_timeout, kForever);
  AsioBaseline::Timeout timeout = std::chrono::weeks::max();
  EXPECT_EQ(timeout, kForever);
  timeout = -1h;
  EXPECT_EQ(timeout, 0ns);
  Histogram histogram;
  histogram.record(std::chrono::hours::max());
  histogram.record(std::chrono::hours::max());
  EXPECT_EQ(histogram.max(), kForever);
  EXPECT_EQ(histogram.sum(), kForever);
}

} // namespace
} // namespace timers
