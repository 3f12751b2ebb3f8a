// The two timers of a connection, by what each of them bounds.
//
//   request   slowness: from the first byte of a request until its response has left. Nothing that
//             the client sends in between puts it off. Once the connection ends: how long the input
//             of a peer that goes on sending is discarded.
//   idle      silence, as long as the connection is served: put off by every byte that moves,
//             either way, except for empty lines before a request. Once the connection ends: how
//             long the peer may take to read what it is owed, and then be silent before it closes.
#pragma once

#include "timers/facility.hpp"

#include <optional>

namespace server {

// How long each may take. Without a value there is no limit.
template <timers::TimerFacility Timers> struct Timeouts {
  using Timeout = typename Timers::Timeout;

  std::optional<Timeout> idle;
  std::optional<Timeout> request;
  std::optional<Timeout> linger; // none: a connection closes without lingering
  Timeout discard{}; // from the first byte of a peer that still sends while the connection lingers
};

// Each call makes at most one timer operation; stop() and bound_discarding() make two. `now` is the
// clock reading of this turn.
template <timers::TimerFacility Timers> class ConnectionTimers {
public:
  using Instant = typename Timers::Instant;

  // `on_idle` runs when the idle timer expires, `on_request` when the request timer does. `timers`
  // and `timeouts` must outlive this object.
  ConnectionTimers(Timers& timers, const Timeouts<Timers>& timeouts, timers::Action on_idle,
                   timers::Action on_request)
      : timeouts_(timeouts), idle_(timers, on_idle), request_(timers, on_request) {}

  // Bounds silence from `now` on. To be called whenever bytes have moved.
  void bound_silence(Instant now) {
    if (timeouts_.idle) {
      idle_.rearm(*timeouts_.idle, now);
    }
  }

  // To be called when the idle timeout has changed, instead of bound_silence().
  void restart_silence(Instant now) {
    timeouts_.idle ? idle_.rearm(*timeouts_.idle, now) : static_cast<void>(idle_.disarm());
  }

  // Bounds how long the peer may take to read what it is owed, or be silent before it closes.
  // Without a linger timeout it has no time at all.
  void bound_ending(Instant now) {
    idle_.rearm(timeouts_.linger.value_or(typename Timers::Timeout{}), now);
  }

  // Bounds a request that has begun. Does nothing while an earlier one is still bounded.
  void bound_request(Instant now) {
    if (timeouts_.request && !request_.armed()) {
      request_.arm(*timeouts_.request, now);
    }
  }

  // Bounds how long the peer whose input is discarded may be silent, as bound_ending() does, and
  // how long all of that may take. The latter is not put off by another call.
  void bound_discarding(Instant now) {
    bound_ending(now);
    if (!request_.armed()) {
      request_.arm(timeouts_.discard, now);
    }
  }

  // Bounds a request that has begun behind others that were answered. Its time starts at `now`.
  void bound_next_request(Instant now) {
    if (timeouts_.request) {
      request_.rearm(*timeouts_.request, now);
    }
  }

  // Bounds a request that is withheld, with a timeout of its own, even if requests have no limit.
  void bound_withheld(typename Timers::Timeout timeout, Instant now) {
    request_.rearm(timeout, now);
  }

  bool bounds_silence() const noexcept { return idle_.armed(); }
  bool bounds_request() const noexcept { return request_.armed(); }
  void release_request() noexcept { request_.disarm(); }

  void stop() noexcept {
    idle_.disarm();
    request_.disarm();
  }

private:
  const Timeouts<Timers>& timeouts_;
  typename Timers::Timer idle_;
  typename Timers::Timer request_;
};

} // namespace server
