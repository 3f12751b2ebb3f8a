// What the connections of one worker share.
#pragma once

#include "server/channel.hpp"
#include "server/connection_timers.hpp"
#include "server/counters.hpp"
#include "server/exchange.hpp"
#include "server/held_writes.hpp"
#include "server/loop_probe.hpp"

#include <functional>

namespace server {

// Everything in it belongs to the worker's thread.
template <timers::TimerFacility Timers> struct ConnectionContext {
  Transport& transport;
  Counters& counters;
  ExchangePool exchanges;
  Timers& timers;
  Timeouts<Timers> timeouts;
  HeldWrites held_writes;
  LoopProbe loop_probe;
  bool draining = false;           // the next response of each connection is its last
  bool ends_idle = false;          // a connection ends as soon as it is between requests
  std::function<void()> on_gone{}; // if there is one, it is called whenever a connection is gone

  void count_gone() {
    --counters.open;
    if (on_gone) {
      on_gone();
    }
  }
};

} // namespace server
