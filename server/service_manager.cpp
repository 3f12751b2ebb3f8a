#include "server/service_manager.hpp"

#include "server/quantity.hpp"

#include <spdlog/spdlog.h>

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace server {
namespace {

using std::chrono::microseconds;

// How long a message may wait for room in the service manager's queue, which may hold no more than
// ten (net.unix.max_dgram_qlen). After one that has waited in vain, others do not wait, until one
// goes through. So a service manager that hangs holds up the server once.
constexpr timeval kLongestSend{.tv_sec = 1, .tv_usec = 0};

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

std::optional<microseconds> watchdog_period() {
  constexpr std::uint64_t kMost = std::numeric_limits<microseconds::rep>::max();
  const auto timeout = parse_integer(std::string(environment("WATCHDOG_USEC")), kMost);
  const std::string_view process = environment("WATCHDOG_PID");
  const bool ours = process.empty() || process == std::to_string(getpid());
  if (!timeout || *timeout < 3 || !ours) {
    return std::nullopt;
  }
  return std::min<microseconds>(microseconds(*timeout / 3), std::chrono::hours(1));
}

// A line of a status, because a line end would begin the next assignment.
std::string status_line(std::string_view status) {
  std::string line = "\nSTATUS=" + std::string(status);
  std::replace(line.begin() + 1, line.end(), '\n', ' ');
  return line;
}

std::string now_us() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::to_string(static_cast<std::int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000);
}

} // namespace

ServiceManager::ServiceManager() : address_(environment("NOTIFY_SOCKET")) {
  if (address_.empty()) {
    return;
  }
  // Other kinds of addresses, such as vsock:, are for virtual machines.
  if ((address_.front() != '/' && address_.front() != '@') ||
      address_.size() >= sizeof(sockaddr_un::sun_path)) {
    spdlog::warn("NOTIFY_SOCKET: '{}' is neither a path nor an abstract socket; nobody is notified",
                 address_);
    return;
  }
  if (address_.front() == '@') {
    address_.front() = '\0';
  }
  socket_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &kLongestSend, sizeof kLongestSend);
  period_ = server::watchdog_period();
}

ServiceManager::~ServiceManager() {
  if (socket_ >= 0) {
    close(socket_);
  }
}

void ServiceManager::ready(std::string_view status) { send("READY=1" + status_line(status), 0); }

// Type=notify-reload (systemd 253) wants to know when the reload began. Older ones ignore that.
void ServiceManager::reloading() {
  send("RELOADING=1\nMONOTONIC_USEC=" + now_us() + status_line("reading the configuration"), 0);
}

void ServiceManager::stopping(std::string_view status, microseconds at_most) {
  send("STOPPING=1\nEXTEND_TIMEOUT_USEC=" + std::to_string(at_most.count()) + status_line(status),
       0);
}

void ServiceManager::alive(std::string_view status) {
  send("WATCHDOG=1" + status_line(status), MSG_DONTWAIT);
}

// A failure is logged and no more: that nobody listens must not keep the server from serving.
void ServiceManager::send(const std::string& message, int flags) {
  if (socket_ < 0) {
    return;
  }
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, address_.data(), address_.size());
  // An abstract name ends where its length says so. A path may end like that, too.
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
  const int waiting = deaf_ ? MSG_DONTWAIT : 0;
  deaf_ = sendto(socket_, message.data(), message.size(), flags | waiting | MSG_NOSIGNAL,
                 reinterpret_cast<const sockaddr*>(&to), size) < 0;
  if (deaf_) {
    spdlog::warn("the service manager cannot be told '{}': {}",
                 message.substr(0, message.find('\n')), std::strerror(errno));
  }
}

} // namespace server
