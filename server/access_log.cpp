#include "server/access_log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <stdexcept>

namespace server {
namespace {

// Lines are written once so many bytes are gathered, or so long after the first of them.
constexpr std::size_t kGathered = 64 * 1024;
constexpr auto kLongest = std::chrono::seconds(1);

// A request line has no control characters, because request.cpp refuses them. A quote would end the
// field, so it is escaped.
void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
    }
    out += c;
  }
  out += '"';
}

} // namespace

AccessLog::AccessLog(boost::asio::io_context& io, const std::string& path) : timer_(io) {
  if (path.empty()) {
    return;
  }
  descriptor_ =
      open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0640);
  if (descriptor_ < 0) {
    throw std::runtime_error("cannot open the access log " + path + ": " + std::strerror(errno));
  }
}

AccessLog::~AccessLog() {
  if (enabled()) {
    flush();
    close(descriptor_);
  }
}

void AccessLog::note(std::string_view client, std::string_view request_line, Status status,
                     std::uint64_t content_length) {
  if (lines_.empty()) {
    timer_.expires_after(kLongest);
    timer_.async_wait([this](boost::system::error_code cancelled) {
      if (!cancelled) {
        flush();
      }
    });
  }
  append_time();
  lines_.append(" ").append(client).append(" ");
  append_quoted(lines_, request_line.empty() ? "-" : request_line);
  lines_.append(" ").append(std::to_string(static_cast<unsigned>(status)));
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

// Writes at most PIPE_BUF bytes at a time. A pipe takes so many whole or not at all, so no line is
// cut in two unless it is longer.
void AccessLog::flush() {
  std::string_view rest = lines_;
  while (!rest.empty()) {
    const std::size_t line_end = rest.substr(0, PIPE_BUF).rfind('\n');
    const std::size_t size =
        line_end == std::string_view::npos ? rest.find('\n') + 1 : line_end + 1;
    if (write(descriptor_, rest.data(), size) < 0) {
      dropped_ += static_cast<std::uint64_t>(std::count(rest.begin(), rest.end(), '\n'));
      break;
    }
    rest.remove_prefix(size);
  }
  lines_.clear();
  timer_.cancel();
}

} // namespace server
