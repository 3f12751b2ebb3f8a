#include "server/socket.hpp"

#include <boost/asio/ip/tcp.hpp>

#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <sstream>

namespace server {
namespace {

Transfer failure() noexcept {
  return errno == EAGAIN || errno == EWOULDBLOCK ? Transfer::would_block : Transfer::failed;
}

// What became of a call that has returned `result`.
Transfer moved(ssize_t result, std::size_t& size) noexcept {
  if (result < 0) {
    return failure();
  }
  size = static_cast<std::size_t>(result);
  return Transfer::done;
}

} // namespace

Transfer Socket::receive(std::span<char> room, std::size_t& size) const noexcept {
  const Transfer transfer = moved(recv(descriptor_, room.data(), room.size(), 0), size);
  return transfer == Transfer::done && size == 0 ? Transfer::end_of_input : transfer;
}

Transfer Socket::send(std::string_view bytes, std::size_t& size) const noexcept {
  return moved(::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL), size);
}

Transfer Socket::send_pieces(const Pieces& pieces, std::size_t& size) const noexcept {
  if (pieces[1].empty()) {
    return send(pieces[0], size); // cheaper than sendmsg()
  }
  std::array<iovec, 2> parts{};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    parts[i] = {.iov_base = const_cast<char*>(pieces[i].data()), .iov_len = pieces[i].size()};
  }
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  return moved(sendmsg(descriptor_, &message, MSG_NOSIGNAL), size);
}

std::size_t Socket::unread_input() const noexcept {
  int size = 0;
  return ioctl(descriptor_, FIONREAD, &size) == 0 ? static_cast<std::size_t>(size) : 0;
}

bool Socket::was_reset() const noexcept {
  char byte = 0;
  return recv(descriptor_, &byte, 1, MSG_PEEK) < 0 && failure() == Transfer::failed;
}

// Without an answer from the kernel, as after a reset, nothing is to be expected of the peer.
std::chrono::milliseconds Socket::silence() const {
  tcp_info info{};
  socklen_t size = sizeof info;
  const bool known = getsockopt(descriptor_, IPPROTO_TCP, TCP_INFO, &info, &size) == 0;
  return known ? std::chrono::milliseconds(info.tcpi_last_data_recv) : std::chrono::hours(24);
}

bool Socket::shut_down_send() const noexcept { return shutdown(descriptor_, SHUT_WR) == 0; }

void Socket::reset_on_close() const noexcept {
  const linger abort{.l_onoff = 1, .l_linger = 0};
  setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
}

std::string Socket::peer() const {
  boost::asio::ip::tcp::endpoint endpoint;
  auto size = static_cast<socklen_t>(endpoint.capacity());
  if (getpeername(descriptor_, endpoint.data(), &size) == 0) {
    endpoint.resize(size);
  }
  std::ostringstream text;
  text << endpoint;
  return text.str();
}

void Socket::close() noexcept {
  if (descriptor_ != kNone) {
    ::close(std::exchange(descriptor_, kNone));
  }
}

std::optional<Socket> accept_from(int listener, Error& error) noexcept {
  const int descriptor = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (descriptor < 0) {
    error.assign(errno, boost::system::system_category());
    return std::nullopt;
  }
  error.clear();
  return Socket(descriptor);
}

} // namespace server
