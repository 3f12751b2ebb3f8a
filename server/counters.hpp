// What a worker counts, and the copy of it that the admin listener shows.
#pragma once

#include "timers/timer_counters.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace server {

// Why a connection ended; the order of kCloseReasonNames.
enum class CloseReason : std::uint8_t { client, idle, request, error, limit, drain };
inline constexpr std::array<std::string_view, 6> kCloseReasonNames{"client", "idle",  "request",
                                                                   "error",  "limit", "drain"};

// Written by one worker, without atomics; others get a copy made by that worker.
struct Counters {
  std::uint64_t requests = 0;  // complete requests received, malformed ones not counted
  std::uint64_t responses = 0; // queued for writing, error responses included
  std::uint64_t writes = 0;    // system calls that wrote something
  std::uint64_t bytes_out = 0;
  std::uint64_t accepted = 0;
  std::uint64_t accept_errors = 0;
  std::uint64_t open = 0;
  std::uint64_t log_lines_dropped = 0; // of the access log
  std::array<std::uint64_t, kCloseReasonNames.size()> closed{};

  void count_close(CloseReason reason) noexcept { ++closed[static_cast<std::size_t>(reason)]; }
};

struct Snapshot {
  Counters server;
  timers::TimerCounters timers;
  timers::Histogram loop_stalls;

  void merge(const Snapshot& other) {
    server.requests += other.server.requests;
    server.responses += other.server.responses;
    server.writes += other.server.writes;
    server.bytes_out += other.server.bytes_out;
    server.accepted += other.server.accepted;
    server.accept_errors += other.server.accept_errors;
    server.open += other.server.open;
    server.log_lines_dropped += other.server.log_lines_dropped;
    for (std::size_t i = 0; i < server.closed.size(); ++i) {
      server.closed[i] += other.server.closed[i];
    }
    timers.merge(other.timers);
    loop_stalls.merge(other.loop_stalls);
  }
};

} // namespace server
