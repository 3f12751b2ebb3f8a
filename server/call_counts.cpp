// A library that counts heap allocations and system calls of a running program, without stopping
// it:
//
//   CALL_COUNTS=FILE LD_PRELOAD=libcall_counts.so idlewheel-server ...
//
// FILE becomes a table that another process may read at any time. Each function that was called so
// far has a row of 48 bytes: its name, padded with zeros to 40 bytes, and the number of its calls
// in 8 bytes. A counted call costs one atomic addition more.
//
// Only calls of the functions below are counted: those that idlewheel-server imports and could call
// for a request, except fcntl(). Calls that glibc makes inside itself (brk() for malloc()) and
// syscall() are not seen.
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace {

struct Count {
  char name[40];
  std::atomic<std::uint64_t> calls;
};
static_assert(sizeof(Count) == 48 && std::atomic<std::uint64_t>::is_always_lock_free);

constexpr std::size_t kMostFunctions = 64;

// Must call nothing that is counted, so it leaves the descriptor open: close() is counted.
Count* map_table() {
  constexpr std::size_t kSize = kMostFunctions * sizeof(Count);
  const char* const file = std::getenv("CALL_COUNTS");
  const int descriptor = file == nullptr ? -1 : open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0 || ftruncate(descriptor, kSize) != 0) {
    std::abort();
  }
  void* const table = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (table == MAP_FAILED) {
    std::abort();
  }
  return static_cast<Count*>(table);
}

// Gives a function its row of the table. The first call of a function comes here, possibly before
// any constructor has run.
std::atomic<std::uint64_t>& count_of(const char* name) {
  static Count* const table = map_table();
  static std::atomic<std::size_t> functions = 0;
  Count& count = table[functions++];
  std::strncpy(count.name, name, sizeof count.name - 1);
  return count.calls;
}

} // namespace

// Defines a function that counts its calls and passes them on. It would count the allocations of
// dlsym() too, but a dlsym() that succeeds makes none since glibc 2.34. Only the linker sees the name
// of the C library: its headers may declare that with "...", or define it inline.
#define COUNTED(result, name, parameters, arguments)                                               \
  extern "C" result counted_##name parameters __asm__(#name);                                      \
  extern "C" result counted_##name parameters {                                                    \
    static std::atomic<std::uint64_t>& calls = count_of(#name);                                    \
    static const auto next = reinterpret_cast<result(*) parameters>(dlsym(RTLD_NEXT, #name));      \
    calls.fetch_add(1, std::memory_order_relaxed);                                                 \
    return next arguments;                                                                         \
  }

COUNTED(void*, malloc, (std::size_t size) noexcept, (size))
COUNTED(void*, calloc, (std::size_t n, std::size_t size) noexcept, (n, size))
COUNTED(void*, realloc, (void* old, std::size_t size) noexcept, (old, size))
COUNTED(void*, reallocarray, (void* old, std::size_t n, std::size_t size) noexcept, (old, n, size))
COUNTED(void*, memalign, (std::size_t alignment, std::size_t size) noexcept, (alignment, size))
COUNTED(void*, aligned_alloc, (std::size_t alignment, std::size_t size) noexcept, (alignment, size))
COUNTED(int, posix_memalign, (void** block, std::size_t alignment, std::size_t size) noexcept,
        (block, alignment, size))

COUNTED(ssize_t, read, (int fd, void* data, std::size_t size), (fd, data, size))
COUNTED(ssize_t, recv, (int fd, void* data, std::size_t size, int flags), (fd, data, size, flags))
COUNTED(ssize_t, recvmsg, (int fd, msghdr* message, int flags), (fd, message, flags))
COUNTED(ssize_t, write, (int fd, const void* data, std::size_t size), (fd, data, size))
COUNTED(ssize_t, send, (int fd, const void* data, std::size_t size, int flags),
        (fd, data, size, flags))
COUNTED(ssize_t, sendmsg, (int fd, const msghdr* message, int flags), (fd, message, flags))

COUNTED(int, epoll_wait, (int epoll, epoll_event* events, int most, int timeout_ms),
        (epoll, events, most, timeout_ms))
COUNTED(int, epoll_ctl, (int epoll, int operation, int fd, epoll_event* event) noexcept,
        (epoll, operation, fd, event))
COUNTED(int, timerfd_settime,
        (int fd, int flags, const itimerspec* value, itimerspec* old) noexcept,
        (fd, flags, value, old))

// liburing enters the kernel without a function of the C library. These are its own that do so.
struct io_uring;
COUNTED(int, io_uring_submit, (io_uring * ring) noexcept, (ring))
COUNTED(int, io_uring_submit_and_get_events, (io_uring * ring) noexcept, (ring))
COUNTED(int, eventfd_write, (int fd, std::uint64_t value), (fd, value))

COUNTED(int, accept4, (int fd, sockaddr* peer, socklen_t* size, int flags), (fd, peer, size, flags))
COUNTED(int, close, (int fd), (fd))
COUNTED(int, shutdown, (int fd, int how) noexcept, (fd, how))
COUNTED(int, setsockopt,
        (int fd, int level, int option, const void* value, socklen_t size) noexcept,
        (fd, level, option, value, size))
COUNTED(int, getsockname, (int fd, sockaddr* name, socklen_t* size) noexcept, (fd, name, size))
COUNTED(int, getpeername, (int fd, sockaddr* peer, socklen_t* size) noexcept, (fd, peer, size))
COUNTED(int, poll, (pollfd fds[], nfds_t n, int timeout_ms), (fds, n, timeout_ms))
// ioctl() is declared with "...". Its callers here pass one argument, in the way a pointer is
// passed.
COUNTED(int, ioctl, (int fd, unsigned long request, void* argument) noexcept,
        (fd, request, argument))
