// A timer backend is the data structure that holds armed timers, and nothing else. This header says
// what one must offer, and which promises the tests hold it to (CONTRACT.md).
//
// A backend knows no clock, no Asio and no HTTP. Time is an argument: `advance(t)` says that it is
// now tick `t`. Then `pop_expired()` hands out the timers that are due, one per call. The structure
// is whole between any two calls, so the caller may arm, move, disarm or destroy any timer before
// it pops the next one. Ticks are absolute and count from 0. TimerService (timer_service.hpp)
// decides how long a tick lasts, and does the rounding that keeps timers from ever being early.
//
// Four operations come from Varghese & Lauck, "Hashed and Hierarchical Timing Wheels" (SOSP 1987):
// arm (START_TIMER), disarm (STOP_TIMER), advance (PER_TICK_BOOKKEEPING) and pop_expired
// (EXPIRY_PROCESSING). The fifth, rearm, moves an armed timer; a server calls it most.
#pragma once

#include "timers/frames.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

namespace timers {

using Tick = std::uint64_t;  // a point in time, in ticks since the service began
using Ticks = std::uint64_t; // a duration, in ticks

// "No deadline": what next_deadline() returns for an empty structure. No timer is filed under it.
inline constexpr Tick kNever = std::numeric_limits<Tick>::max();
// The latest deadline that can be filed; later ones saturate to it.
inline constexpr Tick kLatest = kNever - 1;

// How the number of things that an operation looks at (nodes, slots, groups) grows with the number
// of armed timers, n. `rounds` means once for each turn of a wheel that the timer waits, whatever n
// is.
enum class Cost { constant, logarithmic, linear, rounds };

struct Costs {
  Cost arm;
  Cost rearm;
  Cost disarm;
  Cost expire; // advance and pop_expired together, summed until the timer is handed out, per timer
};

// The order in which timers of one deadline are handed out.
enum class PeerOrder {
  any,
  armed, // as they were armed; one that was re-armed has any place among them
  moved, // as they were armed or last re-armed
};

// What a backend claims about itself. The tests check the claims.
struct BackendInfo {
  std::string_view name;    // as typed after --timer-backend
  std::string_view scheme;  // "1" to "7" of Varghese & Lauck, or where else it comes from
  std::string_view summary; // one line for --list-timer-backends
  PeerOrder peer_order;
  bool exact_next_deadline; // next_deadline() is the earliest deadline, not a lower bound of it
  Costs costs;
  std::size_t bytes_per_timer; // at most: its node, and what grows with the number of timers
  // What wakes the loop although nothing is due (idle_wake_ups.hpp). A wheel with rounds visits
  // each occupied slot once in so many ticks; 0 for what has no rounds. A hierarchy moves a timer
  // down from each level, whose slots last this many times as long as those below; 0 for what has
  // none.
  Ticks ticks_per_turn = 0;
  Ticks level_factor = 0;

  // Whether it is a wheel with rounds, whose next_deadline() is the next visit to an occupied slot.
  constexpr bool rounds() const noexcept { return costs.expire == Cost::rounds; }
};

// The caller must arm() only a node that is not in the structure, and rearm() and disarm() only one
// that is; a due node stays in it until it is popped. No deadline may be later than kLatest. A node
// must stay at its address while it is in the structure.
//
// A deadline at or before the tick of the last advance() is due at once. An advance() to an earlier
// tick than the last does nothing. pop_expired() hands out due nodes by ascending deadline, except
// that a node armed between two pops for a tick already passed may come at any place.
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
  // Takes one due node out of the structure and returns it; null when none is due.
  { backend.pop_expired() }
  noexcept->std::same_as<typename B::Node*>;
  // A lower bound of the earliest deadline, never later than it; kNever when empty. Once something
  // is due, any tick that has passed.
  { whole.next_deadline() }
  noexcept->std::same_as<Tick>;
  // Looks at everything and names the first broken invariant; empty when there is none. O(n).
  { whole.check() } -> std::same_as<std::string_view>;
};

// A backend with a limit: it can hold no deadline later than furthest(), which moves on with
// advance(). Its constructor takes the longest timeout, in ticks, that it shall hold. TimerService
// files a timer that lies beyond at the limit, and files it again when it comes due there.
template <class B>
concept BackendWithReach = TimerBackend<B> && std::constructible_from<B, Ticks> &&
    requires(const B& backend) {
  { backend.furthest() } -> std::same_as<Tick>;
};

// Operations call this when they look at a node, a slot or a group of bounds. It counts in programs
// that test costs, which define TIMERS_COUNT_VISITS. Elsewhere it does nothing.
#if defined(TIMERS_COUNT_VISITS)
inline std::uint64_t visits = 0;
inline void visit() noexcept { ++visits; }
#else
inline void visit() noexcept {}
#endif

} // namespace timers
