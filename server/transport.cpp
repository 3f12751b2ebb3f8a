#include "server/transport.hpp"

#include "server/epoll_set.hpp"
#ifdef IDLEWHEEL_URING
#include "server/ring.hpp"
#endif

#include <spdlog/spdlog.h>

#include <array>
#include <cstddef>
#include <stdexcept>

namespace server {
namespace {

// Throws std::runtime_error when there is none.
Transport& ring_transport([[maybe_unused]] boost::asio::io_context& io) {
#ifdef IDLEWHEEL_URING
  return boost::asio::make_service<Ring>(io);
#else
  throw std::runtime_error("io_uring is not available: this program was built without liburing");
#endif
}

} // namespace

std::string_view to_string(Io io) noexcept {
  constexpr std::array<std::string_view, 3> kNames{"epoll", "io_uring", "auto"};
  return kNames[static_cast<std::size_t>(io)];
}

Transport& epoll_transport(boost::asio::io_context& io) {
  return boost::asio::use_service<EpollSet>(io);
}

Transport& make_transport(boost::asio::io_context& io, Io kind) {
  if (kind == Io::epoll) {
    return epoll_transport(io);
  }
  try {
    return ring_transport(io);
  } catch (const std::runtime_error& refused) {
    if (kind == Io::io_uring) {
      throw;
    }
    spdlog::info("{}; using epoll", refused.what());
    return epoll_transport(io);
  }
}

} // namespace server
