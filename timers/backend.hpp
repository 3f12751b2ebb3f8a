// What a timer backend is: the data structure that holds armed timers, and nothing else.
//
// A backend knows no clock, no Asio and no HTTP. Time is an argument: `advance(t)` says that it is
// now tick `t`, then `pop_expired()` hands out what is due, one timer at a time, and the structure
// is whole between any two calls. So whoever pops may arm, move, disarm or destroy any timer before
// popping the next one. Ticks are absolute and count from 0; what a tick lasts, and the rounding
// that keeps timers from ever being early, is TimerService's business (timer_service.hpp).
//
// The four routines of Varghese & Lauck, "Hashed and Hierarchical Timing Wheels" (SOSP 1987), are
// arm (START_TIMER), disarm (STOP_TIMER), advance (PER_TICK_BOOKKEEPING) and pop_expired
// (EXPIRY_PROCESSING); rearm, the hot one for an idle timer, moves an armed timer.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <string_view>

namespace timers {

using Tick = std::uint64_t;  // a point in time, in ticks since the service began
using Ticks = std::uint64_t; // a length of time, in ticks

// "No deadline": what next_deadline() says of an empty structure. Never filed.
inline constexpr Tick kNever = std::numeric_limits<Tick>::max();
// The latest deadline that can be filed; later ones saturate to it.
inline constexpr Tick kLatest = kNever - 1;

// What a backend says of itself; the tests hold it to the claims.
struct BackendInfo {
  std::string_view name;    // as typed after --timer-backend
  std::string_view scheme;  // "1".."7" of Varghese & Lauck, or where else it comes from
  std::string_view summary; // one line for --list-timer-backends
  bool fifo;                // timers of one deadline are handed out in the order they were armed
  bool exact_next_deadline; // next_deadline() is the earliest deadline, not a lower bound of it
  bool walks;               // some operation is O(n) in the armed timers: keep n modest in tests
};

// Requires of the caller: arm() only a node that is not in the structure, rearm() and disarm() only
// one that is (a due node that was not popped yet still is), deadline <= kLatest. A deadline at or
// before the tick of the last advance() is due at once. advance() never goes back: an earlier tick
// than the last is a no-op. pop_expired() hands out due nodes by ascending deadline (all of them in
// the structure: a node armed between two pops for a tick already passed may come at any place).
template <class B>
concept TimerBackend = std::default_initializable<B> &&
    std::default_initializable<typename B::Node> &&
    requires(B backend, const B& whole, typename B::Node& node, Tick deadline, Ticks timeout) {
  { B::kInfo } -> std::convertible_to<const BackendInfo&>;
  backend.arm(node, deadline, timeout);   // may allocate, strong guarantee if that throws
  backend.rearm(node, deadline, timeout); // may allocate for another timeout than before; as arm()
  { backend.disarm(node) }
  noexcept;
  { backend.advance(deadline) }
  noexcept;
  // One due node, taken out of the structure; null when none is due any more.
  { backend.pop_expired() }
  noexcept->std::same_as<typename B::Node*>;
  // A lower bound of the earliest deadline, never later than it (any tick already passed once
  // something is due); kNever when empty.
  { whole.next_deadline() }
  noexcept->std::same_as<Tick>;
  // Looks at everything and names the first broken invariant; empty when whole. O(n).
  { whole.check() } -> std::same_as<std::string_view>;
};

} // namespace timers

// Structural operations keep their own frame, under their own name, in every profile: neither
// inlined nor cloned (and the library's CMake target forbids folding equal bodies into one).
#if defined(__clang__)
#define TIMERS_STRUCTURAL [[gnu::noinline]]
#else
#define TIMERS_STRUCTURAL [[gnu::noinline, gnu::noclone]]
#endif
