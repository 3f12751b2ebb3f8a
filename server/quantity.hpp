// Durations and sizes as users type and read them: a whole number and a unit, `120s`, `8KiB`.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace server {

// Units: ns us ms s min h. Zero needs none. Nothing when it is not that, or is too long for 64
// bits.
std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text);

// In the largest of ns us ms s that leaves a whole number.
std::string format_duration(std::chrono::nanoseconds duration);

// In bytes. Units: none, B, KiB, MiB, GiB. Nothing when it is not that, or more than `max`.
std::optional<std::uint64_t> parse_bytes(std::string_view text, std::uint64_t max);

// In the largest unit that leaves a whole number.
std::string format_bytes(std::uint64_t bytes);

// A plain decimal number of at most `max`: no sign, no blank, nothing behind it.
std::optional<std::uint64_t> parse_integer(std::string_view text, std::uint64_t max);

} // namespace server
