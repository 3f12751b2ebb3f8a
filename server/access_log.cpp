#include "server/access_log.hpp"

#include <array>
#include <chrono>

namespace server {
namespace {

// Lines are written once so many bytes are gathered, or so long after the first of them.
constexpr std::size_t kGathered = 64 * 1024;
constexpr auto kLongest = std::chrono::seconds(1);

} // namespace

AccessLog::~AccessLog() { change_file(nullptr); }

void AccessLog::change_file(std::shared_ptr<LogFile> file) {
  if (enabled()) {
    flush();
  }
  file_ = std::move(file);
}

void AccessLog::note(std::string_view client, std::string_view request_line, Status status,
                     std::uint64_t content_length) {
  if (!awaits_flush_) {
    timer_.expires_after(kLongest);
    timer_.async_wait([this](boost::system::error_code cancelled) {
      if (!cancelled) {
        flush();
      }
    });
    awaits_flush_ = true;
  }
  append_time();
  lines_.append(" ").append(client.empty() ? "-" : client);
  lines_.append(" \"").append(request_line.empty() ? "-" : request_line).append("\" ");
  lines_.append(std::to_string(static_cast<unsigned>(status)));
  lines_.append(" ").append(std::to_string(content_length)).append("\n");
  if (lines_.size() >= kGathered) {
    flush();
  }
}

// Appends the time in UTC, as RFC 3339 writes it. It is formatted at most once a second.
void AccessLog::append_time() {
  const std::time_t now = std::time(nullptr);
  if (now != formatted_at_) {
    formatted_at_ = now;
    std::tm utc{};
    gmtime_r(&now, &utc);
    std::array<char, 32> text{};
    time_.assign(text.data(), std::strftime(text.data(), text.size(), "%FT%TZ", &utc));
  }
  lines_ += time_;
}

void AccessLog::flush() {
  dropped_ += file_->append(lines_);
  timer_.cancel();
  awaits_flush_ = false;
}

} // namespace server
