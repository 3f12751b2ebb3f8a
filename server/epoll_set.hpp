// The transport that every kernel has: sockets in an epoll instance of their own, for which the
// io_context waits as one descriptor. A socket is registered once, when it is opened,
// edge-triggered. Waiting for it is a flag afterwards, not a system call: a request costs one
// recv() and one send(). A round of the io_context costs two calls more, however many sockets
// became ready in it.
#pragma once

#include "server/channel.hpp"

#include <boost/asio/posix/basic_stream_descriptor.hpp>

#include <sys/epoll.h>

#include <array>
#include <cstddef>
#include <cstdint>

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
  // Fetched at once, and handled in a round. Then timers and the acceptor have their turns.
  static constexpr int kMostEvents = 128;
  static constexpr int kMostEventsOfRound = 256;
  // After so many events the next are looked for at once, without going through the io_context.
  static constexpr int kBusy = 8;

  using Descriptor =
      boost::asio::posix::basic_stream_descriptor<boost::asio::io_context::executor_type>;

  void shutdown() override;
  void open(Channel& channel) override;
  void read_on(Channel& channel) noexcept override;
  Transfer take(Channel& channel, std::string_view& bytes) noexcept override;
  std::size_t unread_input(const Channel& channel) const noexcept override;
  Transfer send(Channel& channel, const Pieces& pieces, Sending when,
                std::size_t& size) noexcept override;
  bool sending(const Channel& /*channel*/) const noexcept override { return false; }
  void wait_writable(Channel& channel) noexcept override;
  void close(Channel& channel) noexcept override;

  void wait();
  void round();
  int handle_events();
  void on_events(Channel& channel, std::uint32_t events) noexcept;
  void read_turn(Channel& channel) noexcept;
  void call_again(Channel& channel) noexcept;

  Descriptor epoll_;
  std::array<epoll_event, kMostEvents> events_{};
  int next_ = 0; // of events_, the first that was not handled
  int end_ = 0;
  Channels again_;
  std::array<char, kReadSize> room_{}; // what all channels are read into
  bool waiting_ = false;               // a round will come
  bool waits_for_events_ = false;
};

} // namespace server
