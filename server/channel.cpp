#include "server/channel.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <sstream>
#include <utility>

namespace server {
namespace {

Transfer transfer_of(Error error) {
  if (!error) {
    return Transfer::done;
  }
  if (error == boost::asio::error::would_block) {
    return Transfer::would_block;
  }
  return error == boost::asio::error::eof ? Transfer::end_of_input : Transfer::failed;
}

} // namespace

Channel::Channel(Socket socket) : socket_(std::move(socket)) {
  Error error;
  socket_.non_blocking(true, error);
}

void Channel::wait_readable() {
  if (!waits_readable_) {
    socket_.async_wait(Socket::wait_read, [this](Error error) {
      waits_readable_ = false;
      on_readable(error);
    });
    waits_readable_ = true;
  }
}

void Channel::wait_writable() {
  if (!waits_writable_) {
    socket_.async_wait(Socket::wait_write, [this](Error error) {
      waits_writable_ = false;
      on_writable(error);
    });
    waits_writable_ = true;
  }
}

std::string Channel::peer() const {
  Error error;
  std::ostringstream text;
  text << socket_.remote_endpoint(error);
  return text.str();
}

Transfer Channel::read(std::span<char> room, std::size_t& size) {
  Error error;
  size = socket_.read_some(boost::asio::buffer(room.data(), room.size()), error);
  return transfer_of(error);
}

Transfer Channel::write(const std::array<std::string_view, 2>& pieces, std::size_t& size) {
  Error error;
  const auto first = boost::asio::buffer(pieces[0]);
  // Asio sends one buffer with send(), which is cheaper than sendmsg().
  if (pieces[1].empty()) {
    size = socket_.write_some(first, error);
  } else {
    size = socket_.write_some(std::array{first, boost::asio::buffer(pieces[1])}, error);
  }
  return transfer_of(error);
}

Transfer Channel::discard(int reads) {
  std::array<char, 4096> bytes;
  std::size_t size = 0;
  Transfer transfer = Transfer::done;
  for (; reads > 0 && transfer == Transfer::done; --reads) {
    transfer = read(bytes, size);
  }
  return transfer;
}

std::size_t Channel::unread_input() {
  Error error;
  return socket_.available(error);
}

// Without an answer from the kernel, as after a reset, nothing is to be expected of the peer.
std::chrono::milliseconds Channel::silence() {
  tcp_info info{};
  socklen_t size = sizeof info;
  const bool known = getsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0;
  return known ? std::chrono::milliseconds(info.tcpi_last_data_recv) : std::chrono::hours(24);
}

bool Channel::shut_down_send() {
  Error error;
  socket_.shutdown(Socket::shutdown_send, error);
  return !error;
}

void Channel::reset_socket() {
  Error error;
  socket_.set_option(boost::asio::socket_base::linger(true, 0), error);
  socket_.close(error);
}

void Channel::close_socket() {
  Error error;
  socket_.close(error);
}

} // namespace server
