// Durations and sizes as users type and read them: a whole number and a unit, `120s`, `8KiB`.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace server {

// Reads a duration. Units: ns us ms s min h; zero needs none. Returns nothing for any other text.
// What is longer than timers::kForever, 292 years, is taken as that, and so never ends.
std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text);

// Formats a duration, which must not be negative, in the largest of ns us ms s that leaves a whole
// number.
std::string format_duration(std::chrono::nanoseconds duration);

// Reads a size in bytes. Units: none, B, KiB, MiB, GiB. Returns nothing for any other text, and for
// a size above `max`.
std::optional<std::uint64_t> parse_bytes(std::string_view text, std::uint64_t max);

// Formats a size in the largest unit that leaves a whole number.
std::string format_bytes(std::uint64_t bytes);

// Reads a plain decimal number of at most `max`: no sign, no blank, nothing behind it. Returns
// nothing for any other text.
std::optional<std::uint64_t> parse_integer(std::string_view text, std::uint64_t max) noexcept;

} // namespace server
