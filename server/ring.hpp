// The transport on io_uring: what many sockets read and send in a round costs one system call. A
// receive is armed once per socket and goes on; its bytes come in buffers that all share. What is
// sent is copied into an arena, and leaves with the call that fetches the next completions. The
// io_context waits for the ring as for one descriptor, an eventfd.
//
// Sends do not wait in the kernel: they are over when the call that submits them returns. Only one
// that failed, or took not all, has a completion. So no connection needs a buffer for what it
// sends.
#pragma once

#include "server/channel.hpp"
#include "server/ring_slots.hpp"
#include "server/ring_stash.hpp"

#include <boost/asio/posix/basic_stream_descriptor.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace server {

class Ring final : public Transport {
public:
  static inline boost::asio::execution_context::id id;
  static constexpr std::string_view kName = "io_uring";

  // For boost::asio::make_service(). The thread that makes it need not be the one that runs the
  // io_context. Throws RingRefused.
  explicit Ring(boost::asio::execution_context& io, const RingSizes& sizes = {});

  std::string_view name() const noexcept override { return kName; }
  void resume() override;

  // Bytes that were received for channels that do not read. Costs O(such channels).
  std::size_t stashed() const noexcept { return stash_.size(); }

private:
  // Calls of the kernel in a round, and about how many completions it handles. Then timers and the
  // acceptor have their turns.
  static constexpr int kMostEnters = 8;
  static constexpr unsigned kMostCompletionsOfRound = 4096;
  // Longer output is sent at once: copying it would cost more than the call that it saves.
  static constexpr std::size_t kMostQueued = 16 * 1024;

  using Descriptor =
      boost::asio::posix::basic_stream_descriptor<boost::asio::io_context::executor_type>;

  using Kind = RingSlots::Kind;

  void shutdown() override;
  void open(Channel& channel) override;
  void read_on(Channel& channel) noexcept override;
  Transfer take(Channel& channel, std::string_view& bytes) noexcept override;
  std::size_t unread_input(const Channel& channel) const noexcept override;
  bool queue_send(Channel& channel, std::string_view bytes) noexcept override;
  bool sending(const Channel& channel) const noexcept override;
  void wait_writable(Channel& channel) noexcept override;
  void close(Channel& channel) noexcept override;

  void wait();
  void round();
  void enter();
  unsigned handle_completions();
  void report_unsent(unsigned count);
  void prefetch_channel(const io_uring_cqe& completion) noexcept;
  void on_completion(const io_uring_cqe& completion);
  void on_received(std::uint32_t number, const io_uring_cqe& completion);
  void look_for_reset(std::uint32_t number) noexcept;
  void hand_over(RingSlot& slot, std::string_view bytes) noexcept;
  void stash(RingSlot& slot, std::string_view bytes) noexcept;
  std::string_view unstash(RingSlot& slot) noexcept;
  void report_end(RingSlot& slot) noexcept;
  void have_turn(Channel& channel) noexcept;
  void call_again(Channel& channel) noexcept;

  void settle(std::uint32_t number) noexcept;
  void want_round() noexcept;

  Uring uring_;
  Descriptor event_;
  std::uint64_t event_count_ = 0; // what Asio reads from the eventfd
  RingSlots slots_{uring_};
  RingStash stash_;
  Channels again_;
  // Bytes of the current batch of sends, and of the one before, whose failures are still to be
  // reported.
  std::array<std::unique_ptr<char[]>, 2> arenas_;
  std::size_t arena_bytes_;
  std::size_t arena_used_ = 0;
  unsigned handled_ = 0;               // of the completions that were fetched
  std::array<char, kReadSize> room_{}; // what take() hands out
  bool in_round_ = false;
  bool round_is_due_ = false;
  bool waits_for_event_ = false;
};

} // namespace server
