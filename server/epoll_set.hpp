// The transport that every kernel has: sockets in an epoll instance of their own, for which the
// io_context waits as one descriptor. A socket is registered once, when it is opened,
// edge-triggered. Waiting for it is a flag afterwards, not a system call: a request costs one
// recv() and one send(). A round of the io_context costs three calls more, however many sockets
// became ready in it, and one for each further look at a busy set.
//
// Up to 16 sockets that are ready are a batch: first all of them are read, then their channels have
// their turns, then what these sent is written. The code of each step is then in the processor's
// caches for all of them.
#pragma once

#include "server/channel.hpp"

#include <boost/asio/posix/basic_stream_descriptor.hpp>

#include <sys/epoll.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace server {

class EpollSet final : public Transport {
public:
  static inline boost::asio::execution_context::id id;
  static constexpr std::string_view kName = "epoll";

  // For boost::asio::use_service(). Throws boost::system::system_error when there is no descriptor
  // for it.
  explicit EpollSet(boost::asio::io_context& io);

  std::string_view name() const noexcept override { return kName; }
  void resume() override;

private:
  // How many events one epoll_wait() fetches, and about how many a round handles. Then timers and
  // the acceptor have their turns.
  static constexpr int kMostEvents = 128;
  static constexpr int kMostEventsOfRound = 256;
  // After so many events the next are looked for at once, without going through the io_context.
  static constexpr int kBusy = 8;
  static constexpr std::size_t kBatch = 16;
  // The longest send that is queued. Longer output is sent at once: copying it would cost more than
  // is won.
  static constexpr std::size_t kMostQueued = 4096;

  // A channel whose turn it is, and what was read for it. Without a read, it is told that it is
  // writable.
  struct Turn {
    Channel* channel; // null once it is closed
    std::optional<Transfer> read;
    std::string_view bytes;
  };
  struct Send {
    Channel* channel; // null once it is closed
    std::string_view bytes;
  };

  using Descriptor =
      boost::asio::posix::basic_stream_descriptor<boost::asio::io_context::executor_type>;

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
  int handle_events();
  void begin_turn(Channel& channel, std::uint32_t events) noexcept;
  bool batch_is_full() const noexcept {
    return turns_end_ == kBatch || input_.size() - input_size_ < kReadSize;
  }
  void end_batch() noexcept;
  void have_turn(const Turn& turn) noexcept;
  Transfer receive(Channel& channel, std::span<char> room, std::string_view& bytes) noexcept;
  void send_queued(const Send& send) noexcept;
  void call_again(Channel& channel) noexcept;

  Descriptor epoll_;
  std::array<epoll_event, kMostEvents> events_{};
  int next_ = 0; // of events_, the first that was not handled
  int end_ = 0;
  Channels again_;
  std::array<Turn, kBatch> turns_{};
  std::size_t turns_end_ = 0;
  std::array<Send, kBatch> sends_{};
  std::size_t sends_end_ = 0;
  std::array<char, 4 * kReadSize> input_{}; // of the batch
  std::size_t input_size_ = 0;
  std::array<char, kBatch * kMostQueued> output_{}; // of the batch
  std::size_t output_size_ = 0;
  std::array<char, kReadSize> room_{}; // what take() hands out
  bool in_batch_ = false;              // channels have their turns
  bool round_is_due_ = false;
  bool waits_for_event_ = false;
};

} // namespace server
