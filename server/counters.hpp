// What a worker counts about its connections.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string_view>

namespace server {

// Why a connection ended. The names below have the same order.
enum class CloseReason : std::uint8_t { client, idle, request, error, limit, drain };
inline constexpr std::array<std::string_view, 6> kCloseReasonNames{"client", "idle",  "request",
                                                                   "error",  "limit", "drain"};

// Written by one worker, without atomics; other threads get a copy that this worker makes.
struct Counters {
  std::uint64_t requests = 0;   // complete requests received, malformed ones not counted
  std::uint64_t responses = 0;  // queued for writing, error responses included
  std::uint64_t writes = 0;     // sends to clients
  std::uint64_t bytes_out = 0;  // sent to clients; never falls
  std::uint64_t bytes_back = 0; // of bytes_out, those that came back and were not sent again
  std::uint64_t accepted = 0;
  std::uint64_t accept_errors = 0;
  std::uint64_t open = 0;              // connections open now
  std::uint64_t log_lines_dropped = 0; // of the access log
  std::array<std::uint64_t, kCloseReasonNames.size()> closed{};

  void count_close(CloseReason reason) noexcept { ++closed[static_cast<std::size_t>(reason)]; }

  // What came back was counted before.
  void count_sent(std::size_t size) noexcept {
    bytes_out += size;
    if (bytes_back != 0) {
      const auto again = std::min<std::uint64_t>(bytes_back, size);
      bytes_out -= again;
      bytes_back -= again;
    }
  }

  // Connections that have not ended yet. A lingering one has ended, although it is still open.
  std::uint64_t serving() const noexcept {
    return accepted - std::accumulate(closed.begin(), closed.end(), std::uint64_t{0});
  }

  // Adds what another worker counted.
  void merge(const Counters& other) noexcept {
    requests += other.requests;
    responses += other.responses;
    writes += other.writes;
    bytes_out += other.bytes_out;
    bytes_back += other.bytes_back;
    accepted += other.accepted;
    accept_errors += other.accept_errors;
    open += other.open;
    log_lines_dropped += other.log_lines_dropped;
    for (std::size_t i = 0; i < closed.size(); ++i) {
      closed[i] += other.closed[i];
    }
  }
};

} // namespace server
