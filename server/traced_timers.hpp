// Timers of the default backend, recorded in a file for --timer-trace.
#pragma once

#include "timers/asio/driver.hpp"
#include "timers/backends.hpp"
#include "timers/trace.hpp"

#include <spdlog/spdlog.h>

#include <string>

namespace server {

// The part of TracedTimers that must exist before the driver and outlive it.
class TraceKeeper {
protected:
  // Throws std::system_error when the file cannot be created.
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
