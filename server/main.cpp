#include "server/backends.hpp"
#include "server/options.hpp"
#include "server/server.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <variant>

int main(int argc, char** argv) {
  const auto backends = server::backend_names();
  const auto parsed = server::parse_options(argc, argv, backends);
  if (const auto* code = std::get_if<server::ExitCode>(&parsed)) {
    return *code;
  }
  const auto& options = std::get<server::Options>(parsed);
  spdlog::set_default_logger(spdlog::stderr_color_mt("idlewheel"));
  spdlog::set_level(spdlog::level::from_str(options.log_level));
  return server::serve(options);
}
