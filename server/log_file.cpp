#include "server/log_file.hpp"

#include "server/quantity.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace server {
namespace {

constexpr int kMostLinks = 40; // as many as the kernel follows

// The descriptor of this process that a name stands for. Such a name is not opened like that of a
// file: a socket cannot be opened, and a pipe may belong to another user.
std::optional<int> descriptor_named(const std::string& name) {
  namespace fs = std::filesystem;
  if (name == "-" || name == "/dev/stdout") {
    return STDOUT_FILENO;
  }
  if (name == "/dev/stderr") {
    return STDERR_FILENO;
  }
  std::error_code error;
  const fs::path descriptors = fs::canonical("/proc/self/fd", error);
  fs::path file = fs::absolute(name, error);
  for (int links = 0; links < kMostLinks && !error; ++links) {
    const fs::path folder = fs::canonical(file.parent_path(), error);
    if (!error && folder == descriptors) {
      const auto number = parse_integer(file.filename().string(), INT_MAX);
      return number ? std::optional(static_cast<int>(*number)) : std::nullopt;
    }
    file = folder / fs::read_symlink(file, error);
  }
  return std::nullopt;
}

bool is(mode_t type, int descriptor) {
  struct stat status {};
  return fstat(descriptor, &status) == 0 && (status.st_mode & S_IFMT) == type;
}

} // namespace

// The process shares a descriptor that it was started with, so it must not make it non-blocking for
// the others. Pipes and terminals can be opened once more. Otherwise poll() says whether a write
// would wait.
LogFile::Opened LogFile::open_own_descriptor(int number) {
  const int flags = fcntl(number, F_GETFL);
  if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) {
    errno = EBADF;
    return {};
  }
  if (is(S_IFIFO, number) || is(S_IFCHR, number)) {
    const std::string name = "/proc/self/fd/" + std::to_string(number);
    const int own = open(name.c_str(), O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (own >= 0) {
      return {own, Access::own};
    }
  }
  return {fcntl(number, F_DUPFD_CLOEXEC, 0),
          is(S_IFSOCK, number) ? Access::socket : Access::shared};
}

// O_CREAT is for a file that does not exist: with it the kernel refuses another user's pipe in a
// folder like /tmp. A named pipe that has no reader can only be opened for reading, too.
LogFile::Opened LogFile::open_file(const std::string& name) {
  constexpr int kFlags = O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
  int descriptor = open(name.c_str(), O_WRONLY | kFlags);
  if (descriptor < 0 && errno == ENOENT) {
    descriptor = open(name.c_str(), O_WRONLY | O_CREAT | kFlags, 0640);
  }
  struct stat status {};
  if (descriptor < 0 && errno == ENXIO && stat(name.c_str(), &status) == 0) {
    errno = ENXIO;
    if (S_ISFIFO(status.st_mode)) {
      descriptor = open(name.c_str(), O_RDWR | kFlags);
    }
  }
  return {descriptor, Access::own};
}

LogFile::LogFile(std::string name)
    : name_(std::move(name)), own_descriptor_(descriptor_named(name_)) {
  const Opened opened = own_descriptor_ ? open_own_descriptor(*own_descriptor_) : open_file(name_);
  if (const int error = errno; opened.descriptor < 0) {
    const bool not_open = own_descriptor_ && error == EBADF;
    throw std::runtime_error("cannot open " + name_ + ": " +
                             (not_open ? "it is not open for writing" : std::strerror(error)));
  }
  descriptor_ = opened.descriptor;
  access_ = opened.access;
}

LogFile::~LogFile() { close(descriptor_); }

// dup3() replaces the file in one step, so a write never meets a closed descriptor.
std::optional<std::string> LogFile::reopen() {
  if (own_descriptor_) {
    return std::nullopt;
  }
  const int fresh = open_file(name_).descriptor;
  const bool replaced = fresh >= 0 && dup3(fresh, descriptor_, O_CLOEXEC) >= 0;
  const int error = errno;
  if (fresh >= 0) {
    close(fresh);
  }
  if (!replaced) {
    return "cannot reopen " + name_ + ": " + std::strerror(error);
  }
  ++generation_;
  return std::nullopt;
}

std::size_t LogFile::append(std::string_view bytes) const noexcept {
  bytes = bytes.substr(0, PIPE_BUF); // a pipe that is writable has room for so many
  pollfd state{.fd = descriptor_, .events = POLLOUT, .revents = 0};
  if (access_ == Access::shared && (poll(&state, 1, 0) != 1 || (state.revents & POLLOUT) == 0)) {
    return 0;
  }
  ssize_t taken = 0;
  do {
    taken = access_ == Access::socket
                ? send(descriptor_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL)
                : write(descriptor_, bytes.data(), bytes.size());
  } while (taken < 0 && errno == EINTR);
  return taken < 0 ? 0 : static_cast<std::size_t>(taken);
}

} // namespace server
