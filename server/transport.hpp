// The transports by the names that users type in --io.
#pragma once

#include "server/channel.hpp"

namespace server {

enum class Io { epoll, io_uring, automatic };

// The name that users type.
std::string_view to_string(Io io) noexcept;

// Makes the transport of an io_context that has none of this kind. The thread that makes it need
// not be the one that runs the io_context. `automatic` is io_uring where that is allowed, and
// otherwise epoll, with a line in the log. Throws std::runtime_error, whose text is one line.
Transport& make_transport(boost::asio::io_context& io, Io kind);

// The transport that every kernel has. It is made when the io_context has none yet. Throws
// boost::system::system_error.
Transport& epoll_transport(boost::asio::io_context& io);

} // namespace server
