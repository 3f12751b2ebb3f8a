// The command line: every flag, its range and its default.
#pragma once

#include "server/scenario.hpp"
#include "server/transport.hpp"
#include "server/write_queue.hpp"
#include "timers/config.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace server {

struct Options {
  std::string address = "127.0.0.1";
  std::uint16_t port = 4242; // 0: any free port
  bool reuse_port = false;
  std::size_t threads = 1;
  int backlog = 4096;
  Io io = Io::epoll;

  std::string timer_backend; // one of the names that parse_options() was given
  timers::Rearm rearm = timers::ServiceConfig{}.rearm;
  std::chrono::nanoseconds tick = timers::ServiceConfig{}.tick;
  std::chrono::nanoseconds idle_timeout = std::chrono::seconds(120);   // 0: off
  std::chrono::nanoseconds request_timeout = std::chrono::seconds(30); // 0: off
  std::chrono::nanoseconds linger_timeout = std::chrono::seconds(2);   // 0: close at once
  std::chrono::nanoseconds drain_timeout = std::chrono::seconds(10);   // 0: cut at once

  Scenario scenario = Scenario::respond;
  std::uint64_t mixed_period = 10;

  std::size_t write_window_bytes = WriteWindow{}.bytes; // 0: one write per response
  std::chrono::nanoseconds write_window_time{0};        // 0: no such window
  std::size_t write_window_responses = 0;               // 0: no such window
  std::size_t max_connections = 0;                      // 0: as many as descriptors allow
  std::size_t max_header_bytes = 8192;
  std::size_t max_headers = 100;
  std::uint64_t max_body_bytes = 1024 * 1024;

  std::string admin_address = "127.0.0.1";
  std::optional<std::uint16_t> admin_port; // none: no admin listener; 0: any free port
  std::string log_level = "info";
  std::string access_log;  // a file; empty: no log
  std::string timer_trace; // a file; empty: no trace

  // Where all of this comes from, so that it can be read again.
  std::vector<std::string> typed; // the command line
  std::string config;             // the file that it names; empty: none
};

// What a name in --timer-backend stands for.
struct BackendName {
  std::string name;
  std::string scheme;
  std::string summary;
  bool is_default = false; // used without the flag; true for exactly one
};

enum ExitCode : int { kExitDone = 0, kExitFailure = 1, kExitUsage = 2 };

// Reads the options from a command line, and from the file that it names with --config. Flags that
// ask for an answer, such as --help, are ignored. Throws std::runtime_error with one line that
// names the bad value.
Options read_options(const std::vector<std::string>& typed, std::span<const BackendName> backends);

// Returns the options, or the exit code with which the process must end at once. After --help and
// the like that is kExitDone, and the answer is on stdout. After a bad value it is kExitUsage, and
// one line on stderr names the value. `version` is the answer to --version.
std::variant<Options, ExitCode> parse_options(int argc, const char* const* argv,
                                              std::span<const BackendName> backends,
                                              const std::string& version);

} // namespace server
