// The access log: a line in a file for each response. Lines are gathered, so that one write carries
// many.
//
//   2026-11-21T10:00:00Z 127.0.0.1:40122 "GET /bytes/7 HTTP/1.1" 200 7
//
// The event loop never waits for a reader: lines that a pipe or a terminal does not take at once
// are dropped and counted. A write to a regular file takes as long as its disk needs.
#pragma once

#include "server/os_timer.hpp"
#include "server/response.hpp"

#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>

namespace server {

// The log of one worker, used in its thread. All workers append to the same file.
class AccessLog final : public ResponseLog {
public:
  // With an empty path there is no log. Throws std::runtime_error when the file cannot be opened
  // for appending.
  AccessLog(boost::asio::io_context& io, const std::string& path);
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  bool enabled() const noexcept { return descriptor_ >= 0; }

  // Requires enabled(). The line is written, or dropped, within a second. Throws std::bad_alloc.
  void note(std::string_view client, std::string_view request_line, Status status,
            std::uint64_t content_length) override;

  // How many lines were dropped.
  std::uint64_t dropped() const noexcept { return dropped_; }

private:
  void flush();
  void append_time();

  int descriptor_ = -1;
  OsTimer timer_;
  std::string lines_;
  std::uint64_t dropped_ = 0;
  std::time_t formatted_at_ = -1;
  std::string time_;
};

} // namespace server
