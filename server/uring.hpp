// An io_uring instance as a Ring needs it (ring.hpp): set up, checked, and owned. It knows no
// channels.
#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string_view>

namespace server {

// The kernel, or who limits it, does not allow the ring. what() is one line, which says why.
class RingRefused : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The first three must be powers of two. Tests take small ones, to see what happens when they do
// not suffice.
struct RingSizes {
  unsigned submissions = 1024;
  unsigned completions = 16 * 1024;
  unsigned buffers = 512; // for what was received and is not handled yet, of all sockets
  unsigned buffer_bytes = 2048;
  unsigned arena_bytes = 256 * 1024; // for what is sent in a round
};

// SINGLE_ISSUER: after enable() only the calling thread may use it. DEFER_TASKRUN: completions come
// only while enter() runs, so that between two calls nothing changes.
class Uring {
public:
  // Also tries out, on sockets of its own, that the kernel receives and sends in the way that Ring
  // needs. Throws RingRefused.
  explicit Uring(const RingSizes& sizes);
  ~Uring();
  Uring(const Uring&) = delete;
  Uring& operator=(const Uring&) = delete;

  // Makes the calling thread the one that uses it. Does nothing when called again. Throws
  // RingRefused.
  void enable();

  // An entry to be filled in, which the next enter() submits. Null when the queue is full. A full
  // queue is not submitted here: a receive may complete at once, and Ring::take() would no longer
  // find its bytes in the socket.
  io_uring_sqe* entry() noexcept;

  // As entry(), for a receive that goes on until it fails or is cancelled. Each completion names
  // the buffer that it has filled.
  io_uring_sqe* receive_entry(int socket) noexcept;

  // Submits, and fetches completions, without waiting for any. One system call. True when
  // everything was submitted and every completion of it has been fetched.
  bool enter() noexcept;

  // Whether the kernel holds completions for which there was no room. No system call.
  bool overflows() const noexcept { return (kernel_flags() & IORING_SQ_CQ_OVERFLOW) != 0; }

  // Completions that were fetched and not dropped, oldest first.
  unsigned completions() const noexcept { return io_uring_cq_ready(&ring_); }
  const io_uring_cqe& completion(unsigned number) const noexcept {
    return ring_.cq.cqes[(*ring_.cq.khead + number) & ring_.cq.ring_mask];
  }
  void drop_completions(unsigned count) noexcept { io_uring_cq_advance(&ring_, count); }

  // The bytes of a completed receive; they stay until the buffer is given back.
  std::string_view received(const io_uring_cqe& completion) const noexcept;
  // Gives back its buffer, if it has one. The kernel gets it with the next offer_buffers().
  void give_back(const io_uring_cqe& completion) noexcept;
  void offer_buffers() noexcept;

  // Whether enter() would do something: submit entries, or fetch completions. No system call. What
  // the kernel finishes after quiet(false) and before this call is not missed: either this says so,
  // or the eventfd.
  bool has_work() const noexcept;

  // The kernel signals this eventfd when there are completions to fetch, unless it is to be quiet.
  // Throws RingRefused.
  void signal(int event);
  void quiet(bool on) noexcept;

private:
  Uring() = default;
  void set_up(const RingSizes& sizes);
  void set_up_buffers();
  static bool try_out();
  unsigned kernel_flags() const noexcept { return IO_URING_READ_ONCE(*ring_.sq.kflags); }
  void offer(unsigned number) noexcept;

  io_uring ring_{};
  io_uring_buf_ring* buffers_ = nullptr; // shared with the kernel
  std::size_t buffers_size_ = 0;         // of its memory
  std::unique_ptr<char[]> bytes_;        // of all buffers
  unsigned buffer_count_ = 0;
  unsigned buffer_bytes_ = 0;
  int offered_ = 0; // since the last offer_buffers()
  bool set_up_ = false;
  bool enabled_ = false;
};

} // namespace server
