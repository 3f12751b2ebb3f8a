#include "server/idle_cost.hpp"
#include "server/log_file.hpp"
#include "server/one_line.hpp"
#include "server/options.hpp"
#include "server/server.hpp"
#include "server/signals.hpp"
#include "server/version.hpp"
#include "server/worker.hpp"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/dup_filter_sink.h>
#include <spdlog/spdlog.h>

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <variant>

namespace {

// The numbers of the standard descriptors must not become those of sockets when the process was
// started without them. Nobody can write to what takes their place.
void fill_standard_descriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) < 0) {
      open("/dev/null", O_RDONLY); // takes the lowest number that is free
    }
  }
}

// Writes to standard error without ever waiting for its reader: what does not fit now is dropped.
// spdlog's asynchronous logger would need a thread, and a process of one thread is faster
// (server.cpp).
class StderrSink final : public spdlog::sinks::base_sink<std::mutex> {
public:
  // Without a standard error that can be written to, nothing is logged.
  StderrSink() {
    try {
      stderr_.emplace("/dev/stderr");
    } catch (const std::runtime_error&) {
    }
  }

private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t formatted; // ends with a line end
    formatter_->format(message, formatted);
    std::string line = server::on_one_line({formatted.data(), formatted.size() - 1}) + '\n';
    if (stderr_) {
      stderr_->append(line);
    }
  }
  void flush_() override {}

  std::optional<server::LogFile> stderr_;
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
  server::prepare_signals();
  fill_standard_descriptors();
  const auto backends = server::backend_names();
  const auto parsed = server::parse_options(argc, argv, backends, server::version());
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
