#include "server/quantity.hpp"

#include "timers/duration.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>

namespace server {
namespace {

using namespace std::chrono_literals;

constexpr auto kMax = std::numeric_limits<std::uint64_t>::max();

TEST(Duration, IsANumberAndAUnit) {
  EXPECT_EQ(parse_duration("5ns"), 5ns);
  EXPECT_EQ(parse_duration("5us"), 5us);
  EXPECT_EQ(parse_duration("500ms"), 500ms);
  EXPECT_EQ(parse_duration("120s"), 120s);
  EXPECT_EQ(parse_duration("2min"), 120s);
  EXPECT_EQ(parse_duration("1h"), 3600s);
  EXPECT_EQ(parse_duration("0"), 0ns);
  EXPECT_EQ(parse_duration("0s"), 0ns);
  EXPECT_EQ(parse_duration("9223372036854775807ns"), std::chrono::nanoseconds::max());
  EXPECT_EQ(parse_duration("0000000000000000000000007s"), 7s);
}

TEST(Duration, OfMoreThanTwoHundredAndNinetyTwoYearsIsForEver) {
  EXPECT_EQ(parse_duration("9223372036s"), 9223372036s);
  for (const char* const text :
       {"9223372036854775808ns", "18446744073709551616ns", "9223372037s", "153722868min",
        "2562048h", "18446744073709551615h", "99999999999999999999999999999999s"}) {
    EXPECT_EQ(parse_duration(text), timers::kForever) << text;
  }
}

TEST(Duration, IsNothingElse) {
  for (const char* const text :
       {"", "5", "s", "-5s", "+5s", "5 s", " 5s", "5s ", "1.5s", "5S", "5m", "0x5s", "5ss",
        "99999999999999999999", "99999999999999999999d", "9223372037 s", "1e9s", "inf", "nan"}) {
    EXPECT_EQ(parse_duration(text), std::nullopt) << text;
  }
}

TEST(Duration, IsShownInTheLargestUnitUpToSeconds) {
  EXPECT_EQ(format_duration(0ns), "0s");
  EXPECT_EQ(format_duration(1500us), "1500us");
  EXPECT_EQ(format_duration(1ms), "1ms");
  EXPECT_EQ(format_duration(120s), "120s");
  EXPECT_EQ(format_duration(1h), "3600s");
}

TEST(Bytes, AreANumberWithOrWithoutAUnit) {
  EXPECT_EQ(parse_bytes("0", kMax), 0U);
  EXPECT_EQ(parse_bytes("8192", kMax), 8192U);
  EXPECT_EQ(parse_bytes("8B", kMax), 8U);
  EXPECT_EQ(parse_bytes("8KiB", kMax), 8192U);
  EXPECT_EQ(parse_bytes("1MiB", kMax), 1048576U);
  EXPECT_EQ(parse_bytes("2GiB", kMax), 2147483648U);
  EXPECT_EQ(parse_bytes("1KiB", 1024), 1024U);
}

TEST(Bytes, AreNothingElse) {
  for (const char* const text :
       {"", "KiB", "-1", "1kB", "1 KiB", "1.5KiB", "1TiB", "1KiBs", "0x10"}) {
    EXPECT_EQ(parse_bytes(text, kMax), std::nullopt) << text;
  }
  EXPECT_EQ(parse_bytes("1KiB", 1023), std::nullopt);
  EXPECT_EQ(parse_bytes("18446744073709551616", kMax), std::nullopt);
  EXPECT_EQ(parse_bytes("18446744073709551615GiB", kMax), std::nullopt);
}

TEST(Bytes, AreShownInTheLargestUnit) {
  EXPECT_EQ(format_bytes(0), "0");
  EXPECT_EQ(format_bytes(100), "100B");
  EXPECT_EQ(format_bytes(8192), "8KiB");
  EXPECT_EQ(format_bytes(1048576), "1MiB");
  EXPECT_EQ(format_bytes(1048577), "1048577B");
}

TEST(Integer, IsPlain) {
  EXPECT_EQ(parse_integer("0", 9), 0U);
  EXPECT_EQ(parse_integer("007", 9), 7U);
  EXPECT_EQ(parse_integer("18446744073709551615", kMax), kMax);
  for (const char* const text : {"", "-1", "+1", " 1", "1 ", "1.0", "10", "0x1", "1e0"}) {
    EXPECT_EQ(parse_integer(text, 9), std::nullopt) << text;
  }
}

} // namespace
} // namespace server
