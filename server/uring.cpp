#include "server/uring.hpp"

#include "server/socket.hpp"

#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

namespace server {
namespace {

constexpr std::uint16_t kGroup = 0; // of buffers

// A failure of the kernel in one line. `what` names the call.
RingRefused refused(const char* what, int error) {
  std::string why = std::string(what) + ": " + std::strerror(error);
  switch (error) {
  case EPERM:
  case EACCES:
    why += " (a seccomp profile or kernel.io_uring_disabled forbids it)";
    break;
  case ENOSYS:
    why += " (the kernel has none, or a seccomp profile hides it)";
    break;
  case EINVAL:
    why += " (Linux 6.1 or later is needed)";
    break;
  case ENOMEM:
    why += " (memory, or RLIMIT_MEMLOCK)";
    break;
  default:
    break;
  }
  return RingRefused("io_uring is not available: " + why);
}

// liburing returns a negative error number.
void check(int result, const char* what) {
  if (result < 0) {
    throw refused(what, -result);
  }
}

} // namespace

// After the delegated constructor the destructor cleans up whatever fails here.
Uring::Uring(const RingSizes& sizes) : Uring() {
  static const bool tried_out = try_out();
  static_cast<void>(tried_out);
  set_up(sizes);
}

Uring::~Uring() {
  if (set_up_) {
    io_uring_queue_exit(&ring_);
  }
  if (buffers_ != nullptr) {
    munmap(buffers_, buffers_size_);
  }
}

void Uring::set_up(const RingSizes& sizes) {
  buffer_count_ = sizes.buffers;
  buffer_bytes_ = sizes.buffer_bytes;
  io_uring_params parameters{};
  parameters.cq_entries = sizes.completions;
  parameters.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                     IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_R_DISABLED;
  check(io_uring_queue_init_params(sizes.submissions, &ring_, &parameters), "io_uring_setup");
  set_up_ = true;
  set_up_buffers();
}

void Uring::set_up_buffers() {
  buffers_size_ = buffer_count_ * sizeof(io_uring_buf);
  void* const memory = mmap(nullptr, buffers_size_, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); // page-aligned
  check(memory == MAP_FAILED ? -errno : 0, "mmap");
  buffers_ = static_cast<io_uring_buf_ring*>(memory);
  bytes_ = std::make_unique<char[]>(std::size_t{buffer_count_} * buffer_bytes_);
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uintptr_t>(memory);
  registration.ring_entries = buffer_count_;
  registration.bgid = kGroup;
  check(io_uring_register_buf_ring(&ring_, &registration, 0), "registering the buffers");
  io_uring_buf_ring_init(buffers_);
  for (unsigned number = 0; number < buffer_count_; ++number) {
    offer(number);
  }
  offer_buffers();
}

// A failure here is that of a kernel older than 6.1, or of a filter that lets the ring be made and
// not be used.
bool Uring::try_out() {
  const auto works = [](bool as_expected) {
    if (!as_expected) {
      throw refused("trying it out", EINVAL);
    }
  };
  std::array<int, 2> ends{};
  check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) < 0 ? -errno
                                                                                            : 0,
        "socketpair");
  const Socket here(ends[0]);
  const Socket there(ends[1]);
  Uring ring;
  ring.set_up({.submissions = 8, .completions = 16, .buffers = 2, .buffer_bytes = 64});
  ring.enable();
  const auto enter = [&ring] {
    check(io_uring_submit_and_get_events(&ring.ring_), "io_uring_enter");
  };
  works(ring.receive_entry(here.descriptor()) != nullptr);
  enter();
  std::size_t size = 0;
  there.send("in", size);
  enter();
  works(ring.completions() == 1);
  const io_uring_cqe& completion = ring.completion(0);
  works(completion.res == 2 && (completion.flags & IORING_CQE_F_MORE) != 0 &&
        ring.received(completion) == "in");
  ring.drop_completions(1);
  io_uring_sqe* const entry = ring.entry();
  works(entry != nullptr);
  io_uring_prep_send(entry, here.descriptor(), "out", 3, MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL);
  entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
  enter();
  works(ring.completions() == 0);
  std::array<char, 8> room;
  works(there.receive(room, size) == Transfer::done && size == 3);
  return true;
}

void Uring::signal(int event) {
  check(io_uring_register_eventfd(&ring_, event), "registering the eventfd");
}

// The kernel notes that it has work, and then looks whether it is to signal. Here it is the other
// way round, so the processor must not exchange the two.
void Uring::quiet(bool on) noexcept {
  io_uring_cq_eventfd_toggle(&ring_, !on);
  __sync_synchronize(); // the thread sanitizer of g++ 12 knows no std::atomic_thread_fence()
}

void Uring::enable() {
  if (!enabled_) {
    // Not io_uring_enable_rings(), which liburing 2.3 declares and does not contain.
    check(io_uring_register(static_cast<unsigned>(ring_.ring_fd), IORING_REGISTER_ENABLE_RINGS,
                            nullptr, 0),
          "enabling it");
    enabled_ = true;
  }
}

io_uring_sqe* Uring::entry() noexcept { return io_uring_get_sqe(&ring_); }

// Without IORING_RECVSEND_POLL_FIRST, which would lose a reset that is there already together with
// input.
io_uring_sqe* Uring::receive_entry(int socket) noexcept {
  io_uring_sqe* const next = entry();
  if (next != nullptr) {
    io_uring_prep_recv_multishot(next, socket, nullptr, 0, 0);
    next->flags |= IOSQE_BUFFER_SELECT;
    next->buf_group = kGroup;
  }
  return next;
}

bool Uring::enter() noexcept {
  io_uring_submit_and_get_events(&ring_);
  return io_uring_sq_ready(&ring_) == 0 && !overflows();
}

std::string_view Uring::received(const io_uring_cqe& completion) const noexcept {
  const unsigned number = completion.flags >> IORING_CQE_BUFFER_SHIFT;
  return {&bytes_[std::size_t{number} * buffer_bytes_], static_cast<std::size_t>(completion.res)};
}

void Uring::give_back(const io_uring_cqe& completion) noexcept {
  if ((completion.flags & IORING_CQE_F_BUFFER) != 0) {
    offer(completion.flags >> IORING_CQE_BUFFER_SHIFT);
  }
}

void Uring::offer(unsigned number) noexcept {
  io_uring_buf_ring_add(buffers_, &bytes_[std::size_t{number} * buffer_bytes_], buffer_bytes_,
                        static_cast<std::uint16_t>(number), io_uring_buf_ring_mask(buffer_count_),
                        offered_++);
}

void Uring::offer_buffers() noexcept {
  io_uring_buf_ring_advance(buffers_, offered_);
  offered_ = 0;
}

bool Uring::has_work() const noexcept {
  return io_uring_sq_ready(&ring_) != 0 || completions() != 0 ||
         (kernel_flags() & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

} // namespace server
