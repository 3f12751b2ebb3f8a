// A client's socket: non-blocking, and closed when its owner is destroyed. It knows no event loop,
// so every transport uses it.
#pragma once

#include <boost/system/error_code.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace server {

using Error = boost::system::error_code;

// What became of a read or a write. With `done`, a size says how many bytes moved.
enum class Transfer {
  done,
  would_block,  // nothing can move now
  end_of_input, // the peer has sent FIN
  failed        // reset, most likely
};

// What is written at once: two runs of bytes, of which the second may be empty.
using Pieces = std::array<std::string_view, 2>;

// Each call makes one system call, unless it says otherwise, and none of them waits.
class Socket {
public:
  Socket() = default;
  explicit Socket(int descriptor) noexcept : descriptor_(descriptor) {}
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, kNone)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~Socket() { close(); }

  int descriptor() const noexcept { return descriptor_; }

  Transfer receive(std::span<char> room, std::size_t& size) const noexcept;
  Transfer send(std::string_view bytes, std::size_t& size) const noexcept;
  Transfer send_pieces(const Pieces& pieces, std::size_t& size) const noexcept;
  std::size_t unread_input() const noexcept; // bytes that have arrived and were not read
  bool was_reset() const noexcept;           // and everything that had come before was read
  std::chrono::milliseconds silence() const; // since the peer's last byte, or its connect
  bool shut_down_send() const noexcept;      // sends FIN; false when the peer is gone
  void reset_on_close() const noexcept;      // RST instead of FIN
  std::string peer() const;                  // 0.0.0.0:0 when it is gone
  void close() noexcept;                     // nothing when it is closed

private:
  static constexpr int kNone = -1;

  int descriptor_ = kNone;
};

// Accepts a connection that waits in a listening socket, which must be non-blocking. Nothing when
// that fails, with the reason in `error`. Asio's acceptor would register the connection in an epoll
// instance of Asio's.
std::optional<Socket> accept_from(int listener, Error& error) noexcept;

} // namespace server
