// The formatter of response headers, and the interface of a log of responses.
#pragma once

#include "server/resources.hpp"

#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>

namespace server {

// What becomes of the connection after a response, as its Connection field says it.
enum class Persistence {
  keep,     // HTTP/1.1: no field
  keep_1_0, // HTTP/1.0: keep-alive
  close
};

// Formats response headers. The Date is formatted anew once a second. One per thread.
class ResponseFormatter {
public:
  // Appends the status line and the header of an answer, not its body. Reads the coarse real-time
  // clock, which is no system call. Allocates only what `out` needs to grow.
  void append(std::string& out, const Answer& answer, Persistence persistence) {
    if (const std::time_t now = std::time(nullptr); now != formatted_at_) {
      refresh(now);
    }
    if (answer.status == Status::ok && answer.content_length == 0 &&
        persistence == Persistence::keep && answer.allow.empty()) {
      out += empty_ok_;
    } else {
      append_any(out, answer, persistence);
    }
  }

private:
  void refresh(std::time_t now);
  void append_any(std::string& out, const Answer& answer, Persistence persistence) const;

  std::time_t formatted_at_ = -1;
  std::string common_;   // the fields of every response: Server and Date
  std::string empty_ok_; // the whole of the commonest response: 200, no body, persistent
};

// Takes a line for each response. The access log implements it.
class ResponseLog {
public:
  // Notes one response. `request_line` is empty when no valid request line was received.
  virtual void note(std::string_view client, std::string_view request_line, Status status,
                    std::uint64_t content_length) = 0;

protected:
  ~ResponseLog() = default;
};

} // namespace server
