// The socket of a connection: it waits until the socket is readable or writable, and reads and
// writes without waiting. A Channel knows no HTTP and no timers, so it is compiled once for all
// backends.
#pragma once

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace server {

using Socket =
    boost::asio::basic_stream_socket<boost::asio::ip::tcp, boost::asio::io_context::executor_type>;
using Error = boost::system::error_code;

// What became of a read or a write. With `done`, the size says how many bytes moved.
enum class Transfer {
  done,
  would_block,  // nothing can move now
  end_of_input, // the peer has sent FIN
  failed        // reset, most likely
};

// At most one wait is pending in each direction. Closing the socket makes the pending waits
// complete soon, with an error. A derived class deletes itself once it is closed and pending() is
// false, because a pending wait refers to the object.
class Channel {
public:
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

protected:
  // Takes over an accepted socket and makes it non-blocking.
  explicit Channel(Socket socket);
  virtual ~Channel() = default;

  // Called when a wait has completed. The socket is readable or writable unless there is an error.
  virtual void on_readable(Error error) = 0;
  virtual void on_writable(Error error) = 0;

  // The peer's address and port, for a log. Costs a system call. The text is 0.0.0.0:0 when the
  // peer is gone.
  std::string peer() const;

  // Starts a wait, which holds no buffer. Does nothing while a wait in this direction is pending.
  // Throws std::bad_alloc.
  void wait_readable();
  void wait_writable();
  bool waits_readable() const noexcept { return waits_readable_; }
  bool waits_writable() const noexcept { return waits_writable_; }
  bool pending() const noexcept { return waits_readable_ || waits_writable_; }

  // None of these waits. Each makes one system call; closing makes a few.
  Transfer read(std::span<char> room, std::size_t& size);
  Transfer write(const std::array<std::string_view, 2>& pieces, std::size_t& size);
  std::size_t unread_input();          // bytes that have arrived and were not read
  bool shut_down_send();               // false when the peer is gone already
  std::chrono::milliseconds silence(); // since the peer's last byte, or since it connected
  void close_socket();
  void reset_socket(); // sends RST; what was not delivered is dropped

  // Reads and drops input until none is left, in at most `reads` reads. Returns what became of the
  // last one.
  Transfer discard(int reads);

  // Fetches an object into the cache. Among thousands of connections the current one is in no
  // cache. To be called before the system call of a turn: the memory is then fetched while the
  // kernel works, instead of part by part afterwards.
  static void prefetch(const void* object, std::size_t size) noexcept {
    constexpr std::size_t kCacheLine = 64;
    for (std::size_t at = 0; at < size; at += kCacheLine) {
      __builtin_prefetch(static_cast<const char*>(object) + at, 1);
    }
  }

private:
  Socket socket_;
  bool waits_readable_ = false;
  bool waits_writable_ = false;
};

} // namespace server
