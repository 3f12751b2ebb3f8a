// The cheapest possible io_uring server: clients and their requests arrive by themselves (multishot
// accept and recv, the latter into buffers that all connections share), and one system call per
// loop submits all answers and waits for what comes next.
//   bare_ring [PORT]      (without PORT: any free port; always on loopback)
// Needs Linux 6.1. Where io_uring is not available it says so in one line and ends with exit
// code 1.
#include "bench/servers/bare.hpp"

#include <liburing.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <vector>

namespace {

using bare::kAnswer;

constexpr unsigned kQueued = 4096;        // operations until a submission is forced
constexpr unsigned kCompletions = 65'536; // of one loop; more end multishot operations
constexpr unsigned kBuffers = 4096;       // a power of two
constexpr unsigned kBufferBytes = 2048;

// What a completion belongs to. Only the last completion of a connection's receiving closes it, so
// a receive is always that of the open connection. A failed send may be reported after its
// descriptor was given to another client: the generation tells the two apart.
enum class Op : std::uint8_t { kAccept, kReceive, kSend, kOther };

struct Tag {
  Op op;
  std::uint16_t generation;
  int fd;

  std::uint64_t packed() const {
    return std::uint64_t(op) << 48 | std::uint64_t(generation) << 32 | std::uint32_t(fd);
  }
  static Tag of(const io_uring_cqe& done) {
    const std::uint64_t bits = done.user_data;
    return {Op(bits >> 48), std::uint16_t(bits >> 32), int(std::uint32_t(bits))};
  }
};

int check(int result, const char* what) {
  if (result < 0) {
    throw std::system_error(-result, std::generic_category(), what);
  }
  return result;
}

class Server {
public:
  explicit Server(int listener) : listener_(listener) {
    io_uring_params wanted{};
    wanted.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    wanted.cq_entries = kCompletions;
    check(io_uring_queue_init_params(kQueued, &ring_, &wanted), "io_uring is not available");
    offer_buffers();
    accept_more();
  }

  [[noreturn]] void serve() {
    for (;;) {
      const int submitted = io_uring_submit_and_wait(&ring_, 1);
      if (submitted != -EINTR && submitted != -EBUSY) { // busy: take the completions first
        check(submitted, "io_uring_enter");
      }
      handle_completions();
    }
  }

private:
  void offer_buffers() {
    io_uring_buf_reg wanted{};
    wanted.ring_addr = reinterpret_cast<std::uintptr_t>(offers_.get());
    wanted.ring_entries = kBuffers;
    check(io_uring_register_buf_ring(&ring_, &wanted, 0),
          "io_uring is not available: registering the buffers");
    io_uring_buf_ring_init(offers_.get());
    for (unsigned number = 0; number < kBuffers; ++number) {
      give_back(number);
    }
    io_uring_buf_ring_advance(offers_.get(), given_back_);
    given_back_ = 0;
  }

  // Takes effect with the next io_uring_buf_ring_advance().
  void give_back(unsigned number) {
    io_uring_buf_ring_add(offers_.get(), &memory_[std::size_t{number} * kBufferBytes], kBufferBytes,
                          static_cast<std::uint16_t>(number), io_uring_buf_ring_mask(kBuffers),
                          given_back_++);
  }

  io_uring_sqe* queue(Tag tag, void (*prepare)(io_uring_sqe*, int fd)) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    while (entry == nullptr) {
      check(io_uring_submit(&ring_), "io_uring_enter");
      entry = io_uring_get_sqe(&ring_);
    }
    prepare(entry, tag.fd);
    io_uring_sqe_set_data64(entry, tag.packed());
    return entry;
  }

  void accept_more() {
    queue({Op::kAccept, 0, listener_}, [](io_uring_sqe* entry, int fd) {
      io_uring_prep_multishot_accept(entry, fd, nullptr, nullptr, 0);
    });
  }

  void receive_more(Tag connection) {
    connection.op = Op::kReceive;
    queue(connection, [](io_uring_sqe* entry, int fd) {
      io_uring_prep_recv_multishot(entry, fd, nullptr, 0, 0);
      entry->flags |= IOSQE_BUFFER_SELECT;
    });
  }

  // Only a send that failed is reported.
  void send_answer(Tag connection) {
    connection.op = Op::kSend;
    queue(connection, [](io_uring_sqe* entry, int fd) {
      io_uring_prep_send(entry, fd, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL | MSG_WAITALL);
      entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    });
  }

  // Queued behind the answers that the connection still gets.
  void close_connection(Tag connection) {
    ++generations_[std::size_t(connection.fd)];
    connection.op = Op::kOther;
    queue(connection, io_uring_prep_close)->flags |= IOSQE_CQE_SKIP_SUCCESS;
  }

  // Receiving then ends, and that closes the connection.
  void end_connection(Tag connection) {
    connection.op = Op::kOther;
    queue(connection, [](io_uring_sqe* entry, int fd) {
      io_uring_prep_shutdown(entry, fd, SHUT_RDWR);
    })->flags |= IOSQE_CQE_SKIP_SUCCESS;
  }

  void handle_completions() {
    io_uring_cqe* done = nullptr;
    unsigned head = 0;
    unsigned count = 0;
    io_uring_for_each_cqe(&ring_, head, done) {
      handle(*done);
      ++count;
    }
    io_uring_buf_ring_advance(offers_.get(), given_back_);
    given_back_ = 0;
    io_uring_cq_advance(&ring_, count);
  }

  void handle(const io_uring_cqe& done) {
    const Tag tag = Tag::of(done);
    const bool more = (done.flags & IORING_CQE_F_MORE) != 0;
    if (tag.op == Op::kAccept) {
      accepted(done.res, more);
    } else if (tag.op == Op::kReceive) {
      if (done.flags & IORING_CQE_F_BUFFER) {
        give_back(done.flags >> IORING_CQE_BUFFER_SHIFT);
      }
      received(tag, done.res, more);
    } else if (tag.op == Op::kSend && generations_[std::size_t(tag.fd)] == tag.generation) {
      end_connection(tag);
    }
  }

  void accepted(int fd, bool more) {
    if (fd >= 0) {
      if (generations_.size() <= std::size_t(fd)) {
        generations_.resize(std::size_t(fd) * 2 + 1);
      }
      receive_more({Op::kReceive, generations_[std::size_t(fd)], fd});
    } else if (fd == -EINVAL) {
      check(fd, "io_uring is not available: accept");
    }
    if (!more) {
      accept_more();
    }
  }

  void received(Tag connection, int size, bool more) {
    if (size > 0) {
      send_answer(connection);
    }
    if (size > 0 || size == -ENOBUFS) { // out of buffers: all are back when this is submitted
      if (!more) {
        receive_more(connection);
      }
    } else {
      close_connection(connection);
    }
  }

  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };

  const int listener_;
  io_uring ring_{};
  std::unique_ptr<io_uring_buf_ring, Free> offers_{static_cast<io_uring_buf_ring*>(
      std::aligned_alloc(4096, std::size_t{kBuffers} * sizeof(io_uring_buf)))};
  std::vector<char> memory_ = std::vector<char>(std::size_t{kBuffers} * kBufferBytes);
  int given_back_ = 0; // buffers, since the kernel was told
  std::vector<std::uint16_t> generations_;
};

} // namespace

int main(int argc, char** argv) {
  const auto port = argc > 1 ? bare::port_of(argv[1]) : 0;
  if (!port || argc > 2) {
    std::fputs("usage: bare_ring [PORT]\n", stderr);
    return 2;
  }
  try {
    bare::raise_file_limit();
    const int listener = bare::listen_on(*port);
    Server server(listener);
    bare::announce(listener);
    server.serve();
  } catch (const std::system_error& error) {
    std::fprintf(stderr, "bare_ring: %s\n", error.what());
    return 1;
  }
}
