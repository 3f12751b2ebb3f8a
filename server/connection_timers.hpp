// The two timers of a connection, by what each of them bounds.
//
//   request   slowness: from the first byte of a request until its response has left. Nothing that
//             the client sends in between puts it off.
//   idle      silence, as long as the connection is served: put off by every byte that moves,
//             either way. Once the connection ends: how long the peer may take to read what it is
//             owed, and then to close.
#pragma once

#include "timers/facility.hpp"

#include <chrono>
#include <optional>

namespace server {

// How long each may take; none: as long as it likes.
template <timers::TimerFacility Timers> struct TimeLimits {
  using Timeout = typename Timers::Timeout;

  std::optional<Timeout> silence;
  std::optional<Timeout> request;
  std::optional<Timeout> linger; // none: a connection closes without lingering
};

// Each call is at most one operation of a timer. `now` is the clock reading of this turn.
template <timers::TimerFacility Timers> class ConnectionTimers {
public:
  using Instant = typename Timers::Instant;

  // `on_idle` runs when the idle timer does, `on_request` when the request timer does.
  ConnectionTimers(Timers& timers, const TimeLimits<Timers>& limits, timers::Action on_idle,
                   timers::Action on_request)
      : limits_(limits), idle_(timers, on_idle), request_(timers, on_request) {}

  // From now on, or from now on again.
  void bound_silence(Instant now) {
    if (limits_.silence) {
      idle_.rearm(*limits_.silence, now);
    }
  }

  // How long the peer may take to read what it is owed, or to close.
  void bound_ending(Instant now) {
    idle_.rearm(limits_.linger.value_or(typename Timers::Timeout{}), now);
  }

  // A request has begun, unless an older one is still bounded.
  void bound_request(Instant now) {
    if (limits_.request && !request_.armed()) {
      request_.arm(*limits_.request, now);
    }
  }

  // A request has begun behind others that were answered.
  void bound_next_request(Instant now) {
    if (limits_.request) {
      request_.rearm(*limits_.request, now);
    }
  }

  // The request is withheld: only its timeout ends it.
  void bound_withheld(typename Timers::Timeout timeout, Instant now) {
    request_.rearm(timeout, now);
  }

  bool bounds_request() const noexcept { return request_.armed(); }
  void release_request() noexcept { request_.disarm(); }

  void stop() noexcept {
    idle_.disarm();
    request_.disarm();
  }

private:
  const TimeLimits<Timers>& limits_;
  typename Timers::Timer idle_;
  typename Timers::Timer request_;
};

} // namespace server
