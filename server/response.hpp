// The bytes of a response.
#pragma once

#include "server/request.hpp"

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

// Formats response headers, with a Date that is formatted anew once a second. One per thread.
class ResponseFormatter {
public:
  // Appends status line and header. Reads the coarse real-time clock (no system call).
  void append(std::string& out, Status status, std::uint64_t content_length,
              Persistence persistence, std::string_view allow = {});

private:
  void refresh(std::time_t now);

  std::time_t formatted_at_ = -1;
  std::string common_;   // the fields of every response: Server and Date
  std::string empty_ok_; // the whole of the commonest response: 200, no body, persistent
};

} // namespace server
