#include "server/channel.hpp"

#include <utility>

namespace server {

Channel::Channel(Transport& transport, Socket socket)
    : transport_(transport), socket_(std::move(socket)) {
  transport_.open(*this);
}

Channel::~Channel() { close(); }

// At most one send is under way, so that the order is kept.
Transfer Channel::send(const Pieces& pieces, Sending when, std::size_t& size) noexcept {
  if (when == Sending::soon && send_state_.may_queue() && pieces[1].empty() &&
      transport_.queue_send(*this, pieces[0])) {
    size = pieces[0].size();
    return Transfer::done;
  }
  if (sending()) {
    return Transfer::would_block;
  }
  const Transfer transfer = socket_.send_pieces(pieces, size);
  send_state_.sent(transfer);
  return transfer;
}

} // namespace server
