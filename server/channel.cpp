#include "server/channel.hpp"

#include <boost/asio/error.hpp>

#include <utility>

namespace server {
namespace {

Transfer outcome(Error error) {
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

boost::asio::ip::tcp::endpoint Channel::peer() const noexcept {
  Error error;
  return socket_.remote_endpoint(error);
}

Transfer Channel::read(boost::asio::mutable_buffer buffer, std::size_t& size) {
  Error error;
  size = socket_.read_some(buffer, error);
  return outcome(error);
}

Transfer Channel::write(const std::array<boost::asio::const_buffer, 2>& buffers,
                        std::size_t& size) {
  Error error;
  // One buffer goes by send(), which is cheaper than sendmsg().
  size = buffers[1].size() == 0 ? socket_.write_some(buffers[0], error)
                                : socket_.write_some(buffers, error);
  return outcome(error);
}

std::size_t Channel::unread_input() {
  Error error;
  return socket_.available(error);
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
