// The one place where a duration of any type becomes whole nanoseconds.
//
// The conversions of std::chrono overflow without a word: hours::max() in nanoseconds is a number
// below zero, and a timer with that timeout would run at once. Every function of the library that
// takes a duration therefore takes Nanoseconds, into which any std::chrono::duration converts.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <ratio>
#include <type_traits>

namespace timers {

// The longest duration, 292 years. As a timeout it means "never".
inline constexpr std::chrono::nanoseconds kForever = std::chrono::nanoseconds::max();

namespace detail {

__extension__ using Wide = unsigned __int128; // -Wpedantic accepts it behind that word

// `counts` of a period are counts * kFactor / kDivisor nanoseconds. kMost counts are the most whose
// nanoseconds fit.
template <class Period> struct InNanoseconds {
  static constexpr Wide kFactor = Wide{std::uintmax_t{Period::num}} * std::nano::den;
  static constexpr Wide kDivisor = std::uintmax_t{Period::den};
  static constexpr Wide kMost = std::uintmax_t{kForever.count()} * kDivisor / kFactor;
};

template <class Period> constexpr std::int64_t whole_nanoseconds(Wide count) noexcept {
  using In = InNanoseconds<Period>;
  if (count > In::kMost) {
    return kForever.count();
  }
  return static_cast<std::int64_t>((count * In::kFactor + In::kDivisor - 1) / In::kDivisor);
}

// `Real` is double or long double.
template <class Period, class Real> constexpr std::int64_t whole_nanoseconds(Real count) noexcept {
  constexpr auto kMost = static_cast<Real>(kForever.count());
  const Real ns = count * static_cast<Real>(InNanoseconds<Period>::kFactor) /
                  static_cast<Real>(InNanoseconds<Period>::kDivisor);
  if (!(ns < kMost)) { // true for what is not a number, too
    return kForever.count();
  }
  const auto floor = static_cast<std::int64_t>(ns);
  return floor + (static_cast<Real>(floor) < ns ? 1 : 0);
}

} // namespace detail

// Converts a duration of any type: whole or floating, of any width and period. Rounds up, so that a
// timer is never early. A negative duration is 0. What is longer than kForever is kForever, and so
// is a floating duration that is not a number. Floating durations are computed as double, or as
// long double if they are that. Throws nothing.
template <class Rep, class Period>
constexpr std::chrono::nanoseconds
to_nanoseconds(std::chrono::duration<Rep, Period> duration) noexcept {
  if (duration <= duration.zero()) {
    return std::chrono::nanoseconds(0);
  }
  if constexpr (std::chrono::treat_as_floating_point_v<Rep>) {
    using Real = std::conditional_t<(sizeof(Rep) > sizeof(double)), long double, double>;
    return std::chrono::nanoseconds(
        detail::whole_nanoseconds<Period>(std::chrono::duration<Real, Period>(duration).count()));
  } else if constexpr (std::is_same_v<Rep, std::int64_t> && std::is_same_v<Period, std::nano>) {
    return duration;
  } else {
    return std::chrono::nanoseconds(
        detail::whole_nanoseconds<Period>(static_cast<detail::Wide>(duration.count())));
  }
}

// A duration of any type that was converted by to_nanoseconds(). It is one of std::chrono's, and
// converts from any of them.
struct Nanoseconds : std::chrono::nanoseconds {
  constexpr Nanoseconds() noexcept : std::chrono::nanoseconds(0) {}
  template <class Rep, class Period>
  constexpr Nanoseconds(std::chrono::duration<Rep, Period> any) noexcept
      : std::chrono::nanoseconds(to_nanoseconds(any)) {}
};

} // namespace timers
