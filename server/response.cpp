#include "server/response.hpp"

#include <array>
#include <charconv>

namespace server {
namespace {

template <class Integer> void append_number(std::string& out, Integer number) {
  std::array<char, 20> digits{};
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), number);
  out.append(digits.data(), end);
}

void append_status_line(std::string& out, Status status) {
  const auto reason = boost::beast::http::obsolete_reason(status);
  out += "HTTP/1.1 ";
  append_number(out, static_cast<unsigned>(status));
  out += ' ';
  out.append(reason.data(), reason.size());
  out += "\r\n";
}

// IMF-fixdate (RFC 9110, 5.6.7), whatever the locale.
void append_date(std::string& out, std::time_t now) {
  std::tm utc{};
  gmtime_r(&now, &utc);
  constexpr std::array kDays{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::array kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                               "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto append = [&](const char* format) {
    std::array<char, 32> text{};
    out.append(text.data(), std::strftime(text.data(), text.size(), format, &utc));
  };
  out += "Date: ";
  out += kDays[static_cast<std::size_t>(utc.tm_wday)];
  append(", %d ");
  out += kMonths[static_cast<std::size_t>(utc.tm_mon)];
  append(" %Y %H:%M:%S GMT\r\n");
}

} // namespace

// Formats in place, so that only the first time allocates.
void ResponseFormatter::refresh(std::time_t now) {
  common_ = "Server: idlewheel\r\n";
  append_date(common_, now);
  empty_ok_ = "HTTP/1.1 200 OK\r\n";
  empty_ok_ += common_;
  empty_ok_ += "Content-Length: 0\r\n\r\n";
  formatted_at_ = now; // last: if memory runs out before, the next response tries again
}

void ResponseFormatter::append_any(std::string& out, const Answer& answer,
                                   Persistence persistence) const {
  append_status_line(out, answer.status);
  out += common_;
  if (!answer.allow.empty()) {
    out.append("Allow: ").append(answer.allow).append("\r\n");
  }
  if (persistence != Persistence::keep) {
    out +=
        persistence == Persistence::close ? "Connection: close\r\n" : "Connection: keep-alive\r\n";
  }
  if (answer.content_length != 0) {
    out.append("Content-Type: ").append(answer.content_type);
    out += "\r\nX-Content-Type-Options: nosniff\r\n";
  }
  out += "Content-Length: ";
  append_number(out, answer.content_length);
  out += "\r\n\r\n";
}

} // namespace server
