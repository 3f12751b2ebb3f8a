#include "server/configuration.hpp"

#include <spdlog/spdlog.h>

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <utility>

namespace server {
namespace {

// A flag and its value in Options.
struct Setting {
  std::string_view flag;
  bool (*equal)(const Options&, const Options&);
  void (*copy)(Options& to, const Options& from); // null: it needs a restart
};

template <auto member> constexpr bool equal(const Options& a, const Options& b) {
  return a.*member == b.*member;
}

template <auto member> constexpr void copy(Options& to, const Options& from) {
  to.*member = from.*member;
}

template <auto member> constexpr Setting running(std::string_view flag) {
  return {flag, equal<member>, copy<member>};
}

template <auto member> constexpr Setting restart(std::string_view flag) {
  return {flag, equal<member>, nullptr};
}

// What is decided once: sockets that listen, threads, the structure that the timers are in, and the
// experiment. The rest can change.
constexpr std::array kSettings{
    restart<&Options::address>("address"),
    restart<&Options::port>("port"),
    restart<&Options::reuse_port>("reuse-port"),
    restart<&Options::threads>("threads"),
    restart<&Options::backlog>("backlog"),
    restart<&Options::io>("io"),
    restart<&Options::timer_backend>("timer-backend"),
    restart<&Options::rearm>("rearm"),
    restart<&Options::tick>("tick"),
    running<&Options::idle_timeout>("idle-timeout"),
    running<&Options::request_timeout>("request-timeout"),
    running<&Options::linger_timeout>("linger-timeout"),
    running<&Options::drain_timeout>("drain-timeout"),
    restart<&Options::scenario>("scenario"),
    restart<&Options::mixed_period>("mixed-period"),
    restart<&Options::write_window_bytes>("write-window-bytes"),
    restart<&Options::write_window_responses>("write-window-responses"),
    restart<&Options::write_window_time>("write-window-time"),
    running<&Options::max_connections>("max-connections"),
    running<&Options::max_header_bytes>("max-header-bytes"),
    running<&Options::max_headers>("max-headers"),
    running<&Options::max_body_bytes>("max-body-bytes"),
    restart<&Options::admin_address>("admin-address"),
    restart<&Options::admin_port>("admin-port"),
    running<&Options::log_level>("log-level"),
    running<&Options::access_log>("access-log"),
    restart<&Options::timer_trace>("timer-trace"),
};

constexpr off_t kMostBytes = 1024 * 1024; // of a file that is read while the server runs

std::string joined(const std::vector<std::string_view>& names) {
  std::string text;
  for (const std::string_view name : names) {
    text += (text.empty() ? "" : ", ") + std::string(name);
  }
  return text;
}

// At the start a pipe may be waited for. Now nothing may wait, and a pipe has been read.
void require_regular_file(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) {
    throw std::runtime_error(path + ": " + std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    throw std::runtime_error(path + " is no regular file, which alone can be read again");
  }
  if (status.st_size > kMostBytes) {
    throw std::runtime_error(path + " has more than 1 MiB");
  }
}

std::shared_ptr<LogFile> open_access_log(const std::string& name) {
  try {
    return name.empty() ? nullptr : std::make_shared<LogFile>(name);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(std::string("access log: ") + error.what());
  }
}

// A descriptor of this process may by now be one of the server's own. Standard output never is.
std::shared_ptr<LogFile> open_other_access_log(const std::string& name) {
  auto file = open_access_log(name);
  if (file && !file->can_reopen() && name != "-") {
    throw std::runtime_error("access log: " + name + " is a descriptor, which needs a restart");
  }
  return file;
}

} // namespace

Differences differences(const Options& now, const Options& then) {
  Differences found;
  for (const Setting& setting : kSettings) {
    if (!setting.equal(now, then)) {
      (setting.copy != nullptr ? found.running : found.restart).push_back(setting.flag);
    }
  }
  return found;
}

void take_over(Options& now, const Options& then) {
  for (const Setting& setting : kSettings) {
    if (setting.copy != nullptr) {
      setting.copy(now, then);
    }
  }
}

std::vector<std::string_view> compared_flags() {
  std::vector<std::string_view> flags;
  for (const Setting& setting : kSettings) {
    flags.push_back(setting.flag);
  }
  return flags;
}

Configuration::Configuration(const Options& options, std::vector<BackendName> backends)
    : options_(options), backends_(std::move(backends)),
      access_log_(open_access_log(options.access_log)) {}

bool Configuration::reload(int signal) {
  const auto before = access_log_;
  const bool good = read_again(signal);
  if (access_log_ && access_log_ == before) {
    reopen_access_log(signal);
  }
  return good;
}

bool Configuration::read_again(int signal) {
  ++reloads_;
  try {
    require_regular_file(options_.config);
    const Options then = read_options(options_.typed, backends_);
    const Differences found = differences(options_, then);
    auto access_log = then.access_log == options_.access_log
                          ? access_log_
                          : open_other_access_log(then.access_log);
    take_over(options_, then);
    access_log_ = std::move(access_log);
    const auto level = spdlog::level::from_str(options_.log_level);
    spdlog::set_level(std::min(spdlog::get_level(), level)); // so that one of them shows the change
    spdlog::info("signal {}: reload {}: {}", signal, reloads_,
                 found.running.empty() ? "nothing changes" : "changed: " + joined(found.running));
    if (!found.restart.empty()) {
      spdlog::warn("signal {}: reload {}: these keep their values until a restart: {}", signal,
                   reloads_, joined(found.restart));
    }
    spdlog::set_level(level);
    return true;
  } catch (const std::exception& error) {
    spdlog::error("signal {}: reload {}: {}; the configuration in use stays", signal, reloads_,
                  error.what());
    return false;
  }
}

void Configuration::reopen_access_log(int signal) {
  if (!access_log_) {
    spdlog::info("signal {}: the access log is off", signal);
  } else if (!access_log_->can_reopen()) {
    spdlog::info("signal {}: the access log has no file to reopen", signal);
  } else if (const auto problem = access_log_->reopen()) {
    spdlog::error("signal {}: access log: {}; the file that is open stays in use", signal,
                  *problem);
  } else {
    spdlog::info("signal {}: the access log is reopened", signal);
  }
}

} // namespace server
