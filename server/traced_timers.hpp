// The default backend's timers, recorded in a file: --timer-trace.
#pragma once

#include "timers/asio/driver.hpp"
#include "timers/backends.hpp"
#include "timers/trace.hpp"

#include <spdlog/spdlog.h>

#include <string>

namespace server {

// What it needs of TracedTimers before the driver exists, and after it is gone.
class TraceKeeper {
protected:
  // Throws std::system_error when the file cannot be made.
  TraceKeeper(const std::string& path, std::chrono::nanoseconds tick)
      : path_(path), file_(path, tick) {}
  ~TraceKeeper() {
    if (!file_.flush()) {
      spdlog::error("{}: the trace is cut short: it could not be written", path_);
    }
  }

  std::string path_;
  timers::TraceFile file_;
};

class TracedTimers : TraceKeeper,
                     public timers::AsioDriver<timers::DefaultBackend, timers::ToFile> {
  using Driver = timers::AsioDriver<timers::DefaultBackend, timers::ToFile>;

public:
  TracedTimers(Executor executor, timers::DriverConfig config, const std::string& path)
      : TraceKeeper(path, config.service.tick), Driver(executor, config, timers::ToFile(file_)) {}
};

} // namespace server
