#include "server/listener.hpp"

#include <boost/asio/error.hpp>
#include <spdlog/spdlog.h>

#include <linux/filter.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <new>
#include <optional>
#include <utility>

namespace server {
namespace {

using boost::asio::ip::tcp;

// A socket option for which Asio has no class. Meets Asio's SettableSocketOption requirements.
template <int Level, int Name> class IntegerOption {
public:
  explicit IntegerOption(int value) : value_(value) {}

  template <class Protocol> int level(const Protocol& /*protocol*/) const { return Level; }
  template <class Protocol> int name(const Protocol& /*protocol*/) const { return Name; }
  template <class Protocol> const int* data(const Protocol& /*protocol*/) const { return &value_; }
  template <class Protocol> std::size_t size(const Protocol& /*protocol*/) const {
    return sizeof value_;
  }

private:
  int value_;
};

using ReusePort = IntegerOption<SOL_SOCKET, SO_REUSEPORT>;
using UnsentLimit = IntegerOption<IPPROTO_TCP, TCP_NOTSENT_LOWAT>;
using UserTimeout = IntegerOption<IPPROTO_TCP, TCP_USER_TIMEOUT>;

// How many bytes of a connection the kernel may hold unsent. Without a limit it holds megabytes for
// each peer that does not read.
constexpr int kMostUnsentBytes = 128 * 1024;

// The pause after a failure: long enough to leave the CPU to the work that frees descriptors, and
// short enough that nobody notices.
constexpr auto kPause = std::chrono::milliseconds(100);
// A burst of clients must not overflow the backlog while busy connections have their turns. A SYN
// that is dropped comes again only after a second, then three, then seven.
constexpr int kAcceptsPerTurn = 1024;

// Whether the kernel moves the connections that wait in a listening socket to another one of the
// same port when the first is closed.
bool kernel_migrates_connections() {
  std::ifstream setting("/proc/sys/net/ipv4/tcp_migrate_req");
  int value = 0;
  return setting >> value && value != 0;
}

// A filter of a TCP socket that drops the first packets of handshakes: SYN without ACK. The byte of
// the TCP header that holds these flags is number 13.
std::array<sock_filter, 5> without_new_handshakes() {
  constexpr std::uint32_t kSyn = 0x02;
  constexpr std::uint32_t kAck = 0x10;
  constexpr std::uint32_t kWholePacket = 0xffffffff;
  return {{BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, kSyn | kAck),
           BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kSyn, 0, 1), BPF_STMT(BPF_RET | BPF_K, 0),
           BPF_STMT(BPF_RET | BPF_K, kWholePacket)}};
}

} // namespace

Listener::Listener(boost::asio::io_context& io, const ListenerConfig& config,
                   std::function<void(Socket)> on_accept)
    : backlog_(config.backlog), acceptor_(io), pause_(io), on_accept_(std::move(on_accept)) {
  acceptor_.open(config.endpoint.protocol());
  acceptor_.set_option(boost::asio::socket_base::reuse_address(true));
  acceptor_.set_option(tcp::no_delay(true));
  acceptor_.set_option(UnsentLimit(kMostUnsentBytes));
  acceptor_.set_option(UserTimeout(static_cast<int>(config.user_timeout.count())));
  if (config.share_port) {
    acceptor_.set_option(ReusePort(1));
  }
  acceptor_.bind(config.endpoint);
  acceptor_.listen(config.backlog);
  acceptor_.non_blocking(true);
  wait();
}

// One wake-up accepts many: with thousands of busy connections each round of the loop is long. With
// one connection per round the next ones would wait for minutes.
void Listener::wait() {
  acceptor_.async_wait(Acceptor::wait_read, [this](Error error) {
    waiting_ = false;
    if (!error && acceptor_.is_open()) {
      accept_some();
    }
  });
  waiting_ = true;
}

void Listener::accept_some() {
  if (const Error error = accept_all(kAcceptsPerTurn)) {
    return pause(error);
  }
  wait();
}

// Accepts at most `limit` of the connections that wait. Returns the error that ended this, if any.
Error Listener::accept_all(int limit) {
  for (int accepted = 0; accepted < limit; ++accepted) {
    Error error;
    std::optional<Socket> socket = accept_from(acceptor_.native_handle(), error);
    if (error == boost::asio::error::would_block) {
      break;
    }
    if (socket) {
      error = hand_over(*std::move(socket));
    }
    if (error && error != boost::asio::error::connection_aborted) {
      return error;
    }
  }
  return {};
}

Error Listener::hand_over(Socket socket) {
  try {
    on_accept_(std::move(socket));
    return {};
  } catch (const std::bad_alloc&) {
    return boost::asio::error::no_memory;
  } catch (const boost::system::system_error& error) {
    return error.code();
  }
}

// Descriptors or memory have run out. Without a pause the same connection would fail again and
// again.
void Listener::pause(Error error) {
  ++errors_;
  spdlog::warn("cannot accept a connection: {}; trying again every {} ms", error.message(),
               kPause.count());
  pause_.expires_after(kPause);
  pause_.async_wait([this](Error cancelled) {
    waiting_ = false;
    if (!cancelled && acceptor_.is_open()) {
      accept_some();
    }
  });
  waiting_ = true;
}

void Listener::resume() {
  if (!waiting_ && acceptor_.is_open()) {
    wait();
  }
}

void Listener::change_user_timeout(std::chrono::milliseconds timeout) noexcept {
  Error closed; // it no longer matters
  acceptor_.set_option(UserTimeout(static_cast<int>(timeout.count())), closed);
}

void Listener::leave() {
  if (stopped() || kernel_migrates_connections()) {
    return;
  }
  auto instructions = without_new_handshakes();
  const sock_fprog filter{.len = instructions.size(), .filter = instructions.data()};
  if (setsockopt(acceptor_.native_handle(), SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) !=
      0) {
    spdlog::warn("connections may be reset when the listener is closed: {}", std::strerror(errno));
  }
}

// Accepts what waits first, because closing the socket resets connections that were not accepted.
void Listener::stop() {
  if (!acceptor_.is_open()) {
    return;
  }
  if (const Error error = accept_all(backlog_)) {
    ++errors_;
    spdlog::warn("connections that waited to be accepted are reset: {}", error.message());
  }
  Error error;
  acceptor_.close(error);
  pause_.cancel();
}

} // namespace server
