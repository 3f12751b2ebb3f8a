// The figures of a worker, and their texts for /stats and /metrics.
#pragma once

#include "server/counters.hpp"
#include "timers/histogram.hpp"
#include "timers/timer_counters.hpp"

#include <string>

namespace server {

// A copy of what a worker counted, or the sum over several workers.
struct Snapshot {
  Counters server;
  timers::TimerCounters timers;
  timers::Histogram loop_stalls;
  bool reload_failed = false; // of the process

  void merge(const Snapshot& other) {
    server.merge(other.server);
    timers.merge(other.timers);
    loop_stalls.merge(other.loop_stalls);
  }
};

// What a server was started with that decides what its figures mean.
struct Settings {
  std::string backend;
  std::string rearm;
  std::string io;
};

// One JSON object. cpu_ns and mono_ns are read here, so the snapshot should be taken just before.
std::string stats_json(const Settings& settings, const Snapshot& snapshot);

// The Prometheus text exposition format.
std::string metrics_text(const Settings& settings, const Snapshot& snapshot);

} // namespace server
