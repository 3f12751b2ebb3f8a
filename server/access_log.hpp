// A line for each response, in a file, gathered so that a write carries many.
//
//   2026-11-21T10:00:00Z 127.0.0.1:40122 "GET /bytes/7 HTTP/1.1" 200 7
//
// The loop never waits for it: what a pipe or a terminal does not take at once is dropped and
// counted. (A regular file takes everything, at the speed of its disk.)
#pragma once

#include "server/os_timer.hpp"
#include "server/response.hpp"

#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>

namespace server {

// Of one worker; all of them append to the same file.
class AccessLog final : public ResponseLog {
public:
  // An empty path: no log. Throws std::runtime_error when the file cannot be opened for appending.
  AccessLog(boost::asio::io_context& io, const std::string& path);
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  bool enabled() const noexcept { return descriptor_ >= 0; }

  // Requires enabled(). The line is written within a second.
  void note(std::string_view client, std::string_view request_line, Status status,
            std::uint64_t content_length) override;

  // Lines that were not taken.
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
