// The access log: a line in a file for each response. Lines are gathered, so that one write carries
// many.
//
//   2026-11-21T10:00:00Z 127.0.0.1:40122 "GET /bytes/7 HTTP/1.1" 200 7
//
// The event loop never waits for a reader: lines that the file does not take at once are dropped
// and counted (log_file.hpp).
#pragma once

#include "server/log_file.hpp"
#include "server/os_timer.hpp"
#include "server/response.hpp"

#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace server {

// The log of one worker, used in its thread. All workers append to the same file.
class AccessLog final : public ResponseLog {
public:
  // Without a file there is no log.
  AccessLog(boost::asio::io_context& io, std::shared_ptr<LogFile> file)
      : file_(std::move(file)), timer_(io) {}
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  bool enabled() const noexcept { return file_ != nullptr; }

  // Later lines go to this file; null: nowhere. Lines that are gathered go to the one before.
  void change_file(std::shared_ptr<LogFile> file);

  // Requires enabled(). The line is written, or dropped, within a second. `request_line` is written
  // as it is: request.cpp keeps none that has a quote, a backslash or a control character in it.
  // `client` is empty for a request that had begun before there was a log.
  // Throws std::bad_alloc.
  void note(std::string_view client, std::string_view request_line, Status status,
            std::uint64_t content_length) override;

  // How many lines were dropped.
  std::uint64_t dropped() const noexcept { return dropped_; }

private:
  void flush();
  void append_time();

  std::shared_ptr<LogFile> file_;
  OsTimer timer_;
  bool awaits_flush_ = false;
  std::string lines_;
  std::uint64_t dropped_ = 0;
  std::time_t formatted_at_ = -1;
  std::string time_;
};

} // namespace server
