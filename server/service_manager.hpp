// Tells the service manager that started the server how it is: systemd for a unit with Type=notify,
// or whoever else sets NOTIFY_SOCKET (podman, s6, a test). Without NOTIFY_SOCKET every call does
// nothing.
//
// This is the datagram protocol of sd_notify(3) written out, and not libsystemd: systemd promises
// that the protocol stays as it is, a message is one sendto(), and a server without the library has
// one package less to install, in an image above all.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace server {

class ServiceManager {
public:
  // Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. Opens a socket, so it must be made after
  // what the user names by a descriptor (log_file.hpp). A name that is no address of a socket is
  // logged, and counts as none.
  ServiceManager();
  ~ServiceManager();
  ServiceManager(const ServiceManager&) = delete;
  ServiceManager& operator=(const ServiceManager&) = delete;

  // The server serves, for the first time or after reloading().
  void ready(std::string_view status);

  // A new configuration is being read. ready() must follow.
  void reloading();

  // The server ends, and may take so long for it. systemd waits for its own TimeoutStopSec or for
  // this, whichever is longer.
  void stopping(std::string_view status, std::chrono::microseconds at_most);

  // How often alive() is to be called; nothing when there is no watchdog. This is a third of what
  // the service manager waits for, so that one call may be late.
  std::optional<std::chrono::microseconds> watchdog_period() const noexcept { return period_; }

  // Every thread of the server has answered. Never waits.
  void alive(std::string_view status);

private:
  void send(const std::string& message, int flags);

  std::string address_; // as sockaddr_un has it: a name that begins with a zero byte is abstract
  int socket_ = -1;     // -1: there is no service manager
  bool deaf_ = false;   // the last message did not go through
  std::optional<std::chrono::microseconds> period_;
};

} // namespace server
