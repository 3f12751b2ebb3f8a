#include "server/quantity.hpp"

#include "timers/duration.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <ratio>
#include <span>
#include <system_error>

namespace server {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

constexpr std::array<Unit, 6> kTimeUnits{{{"ns", 1},
                                          {"us", 1'000},
                                          {"ms", 1'000'000},
                                          {"s", 1'000'000'000},
                                          {"min", 60'000'000'000},
                                          {"h", 3'600'000'000'000}}};
constexpr std::array<Unit, 5> kByteUnits{
    {{"", 1}, {"B", 1}, {"KiB", 1ULL << 10}, {"MiB", 1ULL << 20}, {"GiB", 1ULL << 30}}};

// A number and one of the units; zero needs none. More than `max` gives `too_much`.
std::optional<std::uint64_t> parse_quantity(std::string_view text, std::span<const Unit> units,
                                            std::uint64_t max,
                                            std::optional<std::uint64_t> too_much) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto unit = std::ranges::find(units, text.substr(digits), &Unit::name);
  if (digits == 0) {
    return std::nullopt;
  }
  const auto number = parse_integer(text.substr(0, digits), max);
  if (unit == units.end()) {
    return digits == text.size() && number == 0 ? number : std::nullopt;
  }
  return number && *number <= max / unit->factor ? *number * unit->factor : too_much;
}

std::string format_quantity(std::uint64_t quantity, std::span<const Unit> units) {
  const auto fits = [quantity](const Unit& unit) { return quantity % unit.factor == 0; };
  const auto largest = std::find_if(units.rbegin(), units.rend(), fits);
  return std::to_string(quantity / largest->factor) + std::string(largest->name);
}

} // namespace

std::optional<std::uint64_t> parse_integer(std::string_view text, std::uint64_t max) noexcept {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  const bool sound = error == std::errc{} && rest == end && number <= max;
  return sound ? std::optional(number) : std::nullopt;
}

std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  using UnsignedNanoseconds = std::chrono::duration<std::uint64_t, std::nano>;
  constexpr auto kMax = std::numeric_limits<std::uint64_t>::max();
  const auto ns = parse_quantity(text, kTimeUnits, kMax, kMax);
  return ns ? std::optional(timers::to_nanoseconds(UnsignedNanoseconds(*ns))) : std::nullopt;
}

std::string format_duration(std::chrono::nanoseconds duration) {
  return format_quantity(static_cast<std::uint64_t>(duration.count()),
                         std::span(kTimeUnits).first(4)); // 120s reads better than 2min
}

std::optional<std::uint64_t> parse_bytes(std::string_view text, std::uint64_t max) {
  return parse_quantity(text, kByteUnits, max, std::nullopt);
}

std::string format_bytes(std::uint64_t bytes) {
  return bytes == 0 ? "0" : format_quantity(bytes, kByteUnits);
}

} // namespace server
