// The functions that the linker puts in place of the C library's (--wrap in CMakeLists.txt).
#include "bench/loop_time.hpp"

#include <cerrno>
#include <csignal>
#include <ctime>
#include <sys/epoll.h>
#include <sys/timerfd.h>

using bench::LoopTime;

// The linker prescribes these names. NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {

int __real_clock_gettime(clockid_t clock, timespec* time);
int __real_epoll_ctl(int epoll, int operation, int descriptor, epoll_event* event);
int __real_epoll_wait(int epoll, epoll_event* events, int most, int timeout_ms);
int __real_epoll_pwait(int epoll, epoll_event* events, int most, int timeout_ms, const sigset_t*);
int __real_timerfd_create(int clock, int flags);

int __wrap_clock_gettime(clockid_t clock, timespec* time) {
  const bool of_time =
      clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_REALTIME;
  if (LoopTime::is_real() || !of_time) {
    return __real_clock_gettime(clock, time);
  }
  time->tv_sec = LoopTime::now_ns() / 1'000'000'000;
  time->tv_nsec = LoopTime::now_ns() % 1'000'000'000;
  return 0;
}

int __wrap_epoll_ctl(int epoll, int operation, int descriptor, epoll_event* event) {
  return LoopTime::is_real() ? __real_epoll_ctl(epoll, operation, descriptor, event) : 0;
}

int __wrap_epoll_wait(int epoll, epoll_event* events, int most, int timeout_ms) {
  return LoopTime::is_real() ? __real_epoll_wait(epoll, events, most, timeout_ms) : 0;
}

int __wrap_epoll_pwait(int epoll, epoll_event* events, int most, int timeout_ms,
                       const sigset_t* mask) {
  return LoopTime::is_real() ? __real_epoll_pwait(epoll, events, most, timeout_ms, mask) : 0;
}

// A kernel timer would run on real time. Without one, Asio looks at its timers in every turn of the
// loop.
int __wrap_timerfd_create(int clock, int flags) {
  if (LoopTime::is_real()) {
    return __real_timerfd_create(clock, flags);
  }
  errno = ENOSYS;
  return -1;
}

} // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
