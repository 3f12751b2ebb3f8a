// A client's socket in an event loop. The transport hands the channel what arrives, and sends what
// the channel gives it, at once or at the end of a round. There are two transports: an
// edge-triggered epoll instance (epoll_set.hpp) and io_uring (ring.hpp). A channel knows no HTTP
// and no timers, so it and the transports are compiled once for all backends.
#pragma once

#include "server/socket.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/intrusive/list.hpp>

#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace server {

class Channel;

// Linked while the transport is to call the channel again without an event.
using AgainHook =
    boost::intrusive::list_base_hook<boost::intrusive::tag<Channel>,
                                     boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

// When bytes are sent.
enum class Sending {
  soon, // they may leave with the round, together with what other channels send
  now   // after the call the kernel has them: nothing comes back in on_unsent()
};

// How a channel's next send is made. A send that is queued has no result. When the socket does not
// take it, it comes back, and the next one is made at once, so that its result says why.
class SendState {
public:
  bool writable() const noexcept { return writable_; }
  bool may_queue() const noexcept { return !at_once_; }

  // A send was made at once.
  void sent(Transfer how) noexcept {
    writable_ = how != Transfer::would_block;
    at_once_ = !writable_;
  }
  // What was queued was not taken, or not all of it: the socket is full, or has failed.
  void came_back(bool full) noexcept {
    writable_ = !full;
    at_once_ = true;
  }
  void has_room() noexcept { writable_ = true; }

private:
  bool writable_ = true;
  bool at_once_ = false;
};

// The channels of one io_context, which one thread runs. A service of that io_context, so it lives
// as long. Its rounds are handlers of the io_context, and take turns with the others.
class Transport : public boost::asio::execution_context::service {
public:
  // The value of --io, and of `io` in /stats.
  virtual std::string_view name() const noexcept = 0;

  // To be called after a handler of the io_context has thrown for lack of memory. Starts a round
  // that could not be started. Throws std::bad_alloc.
  virtual void resume() = 0;

protected:
  // The most that one call of on_input() hands over.
  static constexpr std::size_t kReadSize = 16 * 1024;

  using boost::asio::execution_context::service::service;

  // Fetches a channel, and what is derived from it, into the cache. Among thousands of connections
  // the next one is in no cache. It is fetched while an earlier one has its turn, instead of part
  // by part in its own.
  static void prefetch(const void* channel) noexcept {
    constexpr std::size_t kCacheLine = 64;
    constexpr std::size_t kConnection = 320; // bytes, about
    for (std::size_t at = 0; channel != nullptr && at < kConnection; at += kCacheLine) {
      __builtin_prefetch(static_cast<const char*>(channel) + at, 1);
    }
  }

  using Channels = boost::intrusive::list<Channel, boost::intrusive::base_hook<AgainHook>,
                                          boost::intrusive::constant_time_size<false>>;

private:
  friend Channel;

  // Each does what the function of Channel with its name says. Only open() may throw.
  virtual void open(Channel& channel) = 0;
  virtual void read_on(Channel& channel) noexcept = 0;
  virtual Transfer take(Channel& channel, std::string_view& bytes) noexcept = 0;
  virtual std::size_t unread_input(const Channel& channel) const noexcept = 0;
  // Copies the bytes, and sends them when the round ends. False when there is no room for them,
  // while sending(), and outside a round.
  virtual bool queue_send(Channel& channel, std::string_view bytes) noexcept = 0;
  virtual bool sending(const Channel& channel) const noexcept = 0;
  virtual void wait_writable(Channel& channel) noexcept = 0;
  virtual void close(Channel& channel) noexcept = 0;
};

class Channel : public AgainHook {
public:
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  bool reads() const noexcept { return reads_; }
  bool waits_writable() const noexcept { return waits_writable_; }

  // Since the peer's last byte, or since it connected. Costs a system call.
  std::chrono::milliseconds silence() const { return socket_.silence(); }

protected:
  // Takes over an accepted socket, which is not read from before read(true). Throws std::bad_alloc
  // or boost::system::system_error; the socket is then closed.
  Channel(Transport& transport, Socket socket);
  virtual ~Channel();

  // ---- What the transport calls, in its rounds. Each may delete the channel.

  // Bytes have arrived. They are valid during the call. Not called unless the channel reads.
  virtual void on_input(std::string_view bytes) noexcept = 0;

  // No more will arrive: `end_of_input`, or `failed`. As on_input(), and called once.
  virtual void on_end(Transfer how) noexcept = 0;

  // The wait of wait_writable() is over.
  virtual void on_writable() noexcept = 0;

  // The socket did not take these bytes of the latest send(): they are to be sent again, before any
  // others. They are valid during the call. A wait of wait_writable() that has begun goes on.
  virtual void on_unsent(std::string_view bytes) noexcept = 0;

  // ---- What the channel asks for. None of these calls one of the functions above.

  // Whether what arrives is handed over. Costs no system call in a round. A channel that waits for
  // input holds no buffer. What arrives while it does not read stays in the kernel, except for what
  // the transport had already received, which is bounded.
  void read(bool on) noexcept {
    if (reads_ != on) {
      reads_ = on;
      if (on) {
        transport_.read_on(*this);
      }
    }
  }

  // Takes over what has arrived by now, without waiting for the round. Not to be called in a round:
  // for timers and other handlers of the io_context. The bytes are valid until another channel of
  // this transport takes or is handed some. An end that this reports is not reported by on_end().
  // `would_block` says that nothing can be taken now: a Ring cannot while completions overflow, and
  // leaves an end to on_end() while sending(). At most one system call.
  Transfer take(std::string_view& bytes) noexcept { return transport_.take(*this, bytes); }

  // How many bytes have arrived and were not handed over. Costs a system call, and O(what the round
  // has still to hand over).
  std::size_t unread_input() const noexcept { return transport_.unread_input(*this); }

  // Sends from the front of the pieces; `size` says how many bytes were taken. `would_block` says
  // that nothing can be taken now: wait_writable() tells when. At most one system call.
  Transfer send(const Pieces& pieces, Sending when, std::size_t& size) noexcept;

  // Whether some of what was sent may still come back in on_unsent(). That is known by the time
  // on_writable() is called.
  bool sending() const noexcept { return transport_.sending(*this); }

  // Asks for a call of on_writable() in a later round, as soon as more can be sent. Does nothing
  // when that was asked for already. At most two system calls.
  void wait_writable() noexcept {
    if (!waits_writable_) {
      waits_writable_ = true;
      transport_.wait_writable(*this);
    }
  }

  // Sends FIN. False when the peer is gone already. Not to be called while sending().
  bool shut_down_send() noexcept {
    assert(!sending());
    return socket_.shut_down_send();
  }

  // Closes the socket, with FIN. The transport calls none of the on_...() functions afterwards.
  // What send() took is still offered to the socket; what that does not take is lost.
  void close() noexcept { transport_.close(*this); }
  // Sends RST; what was not delivered is dropped.
  void reset() noexcept {
    socket_.reset_on_close();
    close();
  }

  // The peer's address and port, for a log. Costs a system call.
  std::string peer() const { return socket_.peer(); }

private:
  friend class EpollSet;
  friend class Ring;
  friend class RingSlots;

  Transport& transport_;
  Socket socket_;
  std::uint32_t slot_ = 0; // of a Ring
  bool reads_ = false;
  bool waits_writable_ = false;
  SendState send_state_;
  // What an EpollSet knows of the socket. It is readable until a read finds nothing, or less than
  // it has room for. Behind the end of input, an error or urgent data there may be more than such a
  // short read has found.
  bool readable_ = false;
  bool short_read_ends_input_ = true;
  bool reports_writable_ = false;
  bool ended_ = false;   // the end was reported
  bool sending_ = false; // what it sent is queued
};

} // namespace server
