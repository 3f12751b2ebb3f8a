// The socket of a connection: waits for it to become readable or writable, reads and writes what
// goes at once. Knows no HTTP and no timers, so it is compiled once for all backends.
#pragma once

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace server {

using Socket =
    boost::asio::basic_stream_socket<boost::asio::ip::tcp, boost::asio::io_context::executor_type>;
using Error = boost::system::error_code;

// What became of a read or a write. The sizes say how many bytes moved, in case of `done`.
enum class Transfer {
  done,
  would_block,
  end_of_input, // the peer has sent FIN
  failed        // reset, most likely
};

// At most one wait is pending each way. A derived class deletes itself once it is closed and
// pending() is false; a closed channel's waits complete soon, with an error.
class Channel {
public:
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

protected:
  // Takes over an accepted socket and makes it non-blocking.
  explicit Channel(Socket socket);
  virtual ~Channel() = default;

  // A wait has completed; the socket is readable or writable unless there is an error.
  virtual void on_readable(Error error) = 0;
  virtual void on_writable(Error error) = 0;

  // The peer's address and port, for a log. A system call; unspecified when the peer is gone.
  std::string peer() const;

  // Waiting for readability holds no buffer. Waiting again while a wait is pending does nothing.
  void wait_readable();
  void wait_writable();
  bool waits_readable() const noexcept { return waits_readable_; }
  bool waits_writable() const noexcept { return waits_writable_; }
  bool pending() const noexcept { return waits_readable_ || waits_writable_; }

  // One system call each.
  Transfer read(std::span<char> room, std::size_t& size);
  Transfer write(const std::array<std::string_view, 2>& pieces, std::size_t& size);
  std::size_t unread_input(); // bytes
  bool shut_down_send();      // false when the peer is gone already
  void close_socket();
  void reset_socket(); // with RST: what was not delivered is dropped

  // Reads and drops what it read, at most so many times, until there is nothing left.
  Transfer discard(int reads);

  // Among thousands of connections this one is in no cache. To be called before the system call of
  // a turn: all of the object is fetched from memory while the kernel works, instead of part by
  // part afterwards.
  static void prefetch(const void* object, std::size_t size) noexcept;

private:
  Socket socket_;
  bool waits_readable_ = false;
  bool waits_writable_ = false;
};

} // namespace server
