#include "server/access_log.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <climits>
#include <utility>

namespace server {
namespace {

// Lines are written once so many bytes are gathered, or so long after the first of them.
constexpr std::size_t kGathered = 64 * 1024;
constexpr auto kLongest = std::chrono::seconds(1);

// The front of the lines that one write may carry: as many whole lines as a pipe takes whole or not
// at all, or a part of a longer line.
std::string_view one_write(std::string_view lines) {
  const std::string_view most = lines.substr(0, PIPE_BUF);
  const std::size_t line_end = most.rfind('\n');
  return line_end == std::string_view::npos ? most : most.substr(0, line_end + 1);
}

} // namespace

AccessLog::~AccessLog() {
  if (enabled()) {
    flush();
  }
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
  lines_.append(" ").append(client);
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
  std::string_view rest = lines_;
  if (cut_ != 0 && cut_in_ != file_->generation()) { // its beginning is in a file that was left
    rest.remove_prefix(std::exchange(cut_, 0));
    ++dropped_;
  }
  while (!rest.empty()) {
    const std::size_t taken = file_->append(one_write(rest));
    if (taken == 0) {
      break;
    }
    rest.remove_prefix(taken);
    cut_ = *(rest.data() - 1) == '\n' ? 0 : rest.find('\n') + 1;
    cut_in_ = file_->generation();
  }
  drop(rest.substr(cut_));
  lines_.erase(0, lines_.size() - rest.size());
  lines_.resize(cut_);
  timer_.cancel();
  awaits_flush_ = false;
}

void AccessLog::drop(std::string_view lines) {
  dropped_ += static_cast<std::uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
}

} // namespace server
