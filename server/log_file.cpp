#include "server/log_file.hpp"

#include "server/quantity.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
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
  const fs::path descriptors_of_thread = fs::canonical("/proc/thread-self/fd", error);
  fs::path file = fs::absolute(name, error);
  for (int links = 0; links < kMostLinks && !error; ++links) {
    const fs::path folder = fs::canonical(file.parent_path(), error);
    if (!error && (folder == descriptors || folder == descriptors_of_thread)) {
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

bool same_file(int a, int b) {
  struct stat first {};
  struct stat second {};
  return fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

// The process has none with FD_CLOEXEC from its start. So those with it are the server's own.
bool is_inherited_for_writing(int descriptor) {
  const int flags = fcntl(descriptor, F_GETFL);
  return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY &&
         (fcntl(descriptor, F_GETFD) & FD_CLOEXEC) == 0;
}

std::uint64_t count_lines(std::string_view lines) {
  return static_cast<std::uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
}

} // namespace

void require_inherited(const std::string& name) {
  const auto number = descriptor_named(name);
  if (number && !is_inherited_for_writing(*number)) {
    throw std::runtime_error("cannot open " + name + ": it is not open for writing");
  }
}

// The process shares a descriptor that it was started with, so it must not make it non-blocking for
// the others. Pipes and terminals can be opened once more. Otherwise poll() says whether a write
// would wait.
LogFile::Opened LogFile::open_own_descriptor(int number) {
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
  require_inherited(name_);
  const Opened opened = own_descriptor_ ? open_own_descriptor(*own_descriptor_) : open_file(name_);
  if (const int error = errno; opened.descriptor < 0) {
    throw std::runtime_error("cannot open " + name_ + ": " + std::strerror(error));
  }
  descriptor_ = opened.descriptor;
  access_ = opened.access;
}

LogFile::~LogFile() { close(descriptor_); }

std::optional<std::string> LogFile::reopen() {
  const int fresh = open_file(name_).descriptor;
  const bool replaced = fresh >= 0 && replace_by(fresh);
  const int error = errno;
  if (fresh >= 0) {
    close(fresh);
  }
  if (!replaced) {
    return "cannot reopen " + name_ + ": " + std::strerror(error);
  }
  return std::nullopt;
}

// A named pipe that is open for reading, too, may have no other reader. Without any, it takes no
// lines. So it is only replaced by itself when open_file() has found no reader at all.
bool LogFile::replace_by(int fresh) noexcept {
  const std::lock_guard lock(mutex_);
  if (same_file(fresh, descriptor_) && (fcntl(fresh, F_GETFL) & O_ACCMODE) == O_WRONLY) {
    return true;
  }
  finish_line();
  if (dup3(fresh, descriptor_, O_CLOEXEC) < 0) {
    return false;
  }
  dropped_ += count_lines(unfinished_); // a line that was begun in one file must not end in another
  unfinished_.clear();
  return true;
}

// Allocates nothing, so that it cannot fail: the buffers of `lines` and of unfinished_ are swapped.
std::uint64_t LogFile::append(std::string& lines) noexcept {
  const std::lock_guard lock(mutex_);
  finish_line();
  const std::size_t taken = unfinished_.empty() ? write_front(lines) : 0;
  const bool cut = taken != 0 && lines[taken - 1] != '\n';
  const std::size_t begun = cut ? lines.find('\n', taken) + 1 : taken;
  dropped_ += count_lines(std::string_view(lines).substr(begun));
  if (cut) {
    lines.resize(begun);
    lines.erase(0, taken);
    unfinished_.swap(lines);
  }
  lines.clear();
  return std::exchange(dropped_, 0);
}

void LogFile::finish_line() noexcept { unfinished_.erase(0, write_front(unfinished_)); }

// Returns how many bytes the file has taken.
std::size_t LogFile::write_front(std::string_view lines) const noexcept {
  const bool regular = is(S_IFREG, descriptor_);
  std::string_view rest = lines;
  while (!rest.empty()) {
    const std::size_t taken = write_once(one_write(rest, regular));
    if (taken == 0) {
      break;
    }
    rest.remove_prefix(taken);
  }
  return lines.size() - rest.size();
}

// The front of the lines that one write may carry. A regular file takes all of them, and keeps what
// one write carries together, whoever else appends to it. For others it is as many whole lines as a
// pipe takes whole or not at all, or one longer line. A part of a longer line is written only where
// a longer write might wait: a pipe that is writable has room for PIPE_BUF bytes.
std::string_view LogFile::one_write(std::string_view lines, bool regular) const noexcept {
  if (regular) {
    return lines;
  }
  const std::string_view most = lines.substr(0, PIPE_BUF);
  const std::size_t line_end = most.rfind('\n');
  if (line_end != std::string_view::npos) {
    return most.substr(0, line_end + 1);
  }
  return access_ == Access::shared ? most : lines.substr(0, lines.find('\n') + 1);
}

// Returns 0 when the file takes nothing.
std::size_t LogFile::write_once(std::string_view bytes) const noexcept {
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
