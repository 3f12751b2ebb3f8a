#include "server/channel.hpp"

#include <utility>

namespace server {

Channel::Channel(Transport& transport, Socket socket)
    : transport_(transport), socket_(std::move(socket)) {
  transport_.open(*this);
}

Channel::~Channel() { close(); }

} // namespace server
