#include "server/idle_cost.hpp"
#include "server/options.hpp"
#include "server/server.hpp"
#include "server/worker.hpp"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/dup_filter_sink.h>
#include <spdlog/spdlog.h>

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstddef>
#include <memory>
#include <mutex>
#include <variant>

namespace {

// Writes to standard error without ever waiting for its reader: what does not fit now is dropped.
// spdlog's asynchronous logger would need a thread, and a process of one thread is faster
// (server.cpp).
class StderrSink final : public spdlog::sinks::base_sink<std::mutex> {
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    pollfd stderr_now{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
    // A pipe that is writable has room for PIPE_BUF bytes.
    const std::size_t size = std::min<std::size_t>(line.size(), PIPE_BUF);
    if (poll(&stderr_now, 1, 0) == 1 && (stderr_now.revents & POLLOUT) != 0) {
      [[maybe_unused]] const auto written = write(STDERR_FILENO, line.data(), size);
    }
  }
  void flush_() override {}
};

// What fails for one connection often fails for the next. A line that repeats is printed at most
// every ten seconds. The next line that is printed comes after a count of those that were left out.
std::shared_ptr<spdlog::logger> make_logger() {
  const auto filter = std::make_shared<spdlog::sinks::dup_filter_sink_mt>(std::chrono::seconds(10));
  filter->add_sink(std::make_shared<StderrSink>());
  return std::make_shared<spdlog::logger>("idlewheel", filter);
}

} // namespace

int main(int argc, char** argv) {
  const auto backends = server::backend_names();
  const auto parsed = server::parse_options(argc, argv, backends);
  if (const auto* code = std::get_if<server::ExitCode>(&parsed)) {
    return *code;
  }
  const auto& options = std::get<server::Options>(parsed);
  spdlog::set_default_logger(make_logger());
  spdlog::set_level(spdlog::level::from_str(options.log_level));
  if (const auto warning =
          server::idle_cost_warning(options, server::backend_info(options.timer_backend))) {
    spdlog::warn(*warning);
  }
  return server::serve(options);
}
