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
#include <cstddef>
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

// How what an operation looks at (nodes, slots, groups) grows with the n timers armed. `rounds` is
// once each time that a wheel comes by the timer, whatever n is.
enum class Cost { constant, logarithmic, linear, rounds };

struct Costs {
  Cost arm;
  Cost rearm;
  Cost disarm;
  Cost expire; // advance and pop_expired together, per timer that comes due, over its life
};

// What a backend says of itself; the tests hold it to the claims.
struct BackendInfo {
  std::string_view name;    // as typed after --timer-backend
  std::string_view scheme;  // "1".."7" of Varghese & Lauck, or where else it comes from
  std::string_view summary; // one line for --list-timer-backends
  bool fifo;                // timers of one deadline are handed out in the order they were armed
  bool exact_next_deadline; // next_deadline() is the earliest deadline, not a lower bound of it
  Costs costs;
  std::size_t bytes_per_timer; // at most: the node and what grows with their number

  // Some operation is O(n): keep n modest.
  constexpr bool walks() const noexcept {
    return costs.arm == Cost::linear || costs.rearm == Cost::linear || costs.expire == Cost::linear;
  }
  // A wheel with rounds: next_deadline() is the next visit to an occupied slot.
  constexpr bool rounds() const noexcept { return costs.expire == Cost::rounds; }
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

// A backend that can hold only deadlines up to reach() ticks after its last advance(), and whose
// constructor takes the reach it should have. TimerService files what lies beyond at the edge, and
// files it again there.
template <class B>
concept BackendWithReach = TimerBackend<B> && std::constructible_from<B, Ticks> &&
    requires(const B& backend) {
  { backend.reach() } -> std::same_as<Ticks>;
};

// Notes that an operation looked at a node, a slot or a group of bounds. Counts in the tests of
// what operations cost, which define TIMERS_COUNT_VISITS; elsewhere it is nothing.
#if defined(TIMERS_COUNT_VISITS)
inline std::uint64_t visits = 0;
inline void visit() noexcept { ++visits; }
#else
inline void visit() noexcept {}
#endif

// A wheel whose number of slots is chosen when it is made.
template <class B>
concept BackendWithSlots = TimerBackend<B> && std::constructible_from<B, std::size_t> && requires {
  { B::kDefaultSlots } -> std::convertible_to<std::size_t>;
};

} // namespace timers

// Structural operations keep their own frame, under their own name, in every profile: neither
// inlined nor cloned (and the library's CMake target forbids folding equal bodies into one).
#if defined(__clang__)
#define TIMERS_STRUCTURAL [[gnu::noinline]]
#else
#define TIMERS_STRUCTURAL [[gnu::noinline, gnu::noclone]]
#endif
