// Counts how often a test program sets a timerfd, which is the OS timer of Asio and of
// timers/loops/timerfd.hpp. For one source file of the program.
#pragma once

#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cstddef>

namespace timers::test {
inline std::size_t timerfd_settimes = 0;
} // namespace timers::test

// Stands before libc's in this program, counts, and does the same.
extern "C" int timerfd_settime(int fd, int flags, const itimerspec* value,
                               itimerspec* old) noexcept {
  ++timers::test::timerfd_settimes;
  return static_cast<int>(syscall(SYS_timerfd_settime, fd, flags, value, old));
}
