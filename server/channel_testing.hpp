// What tests of channels share: a channel that notes what happens to it, and the client at the
// other end of its loopback connection. What is sent over loopback has arrived when the call
// returns, so that no test waits, as long as it fits into the receiver's first window (64 KB). The
// rest travels when the kernel gets to it: see run_until().
#pragma once

#include "server/channel.hpp"
#include "server/transport.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace server {

struct Ends {
  int client;
  Socket server;
};

// With buffers as small as the kernel allows, if they are to be filled.
enum class Buffers { usual, small };

inline Ends connected(Buffers buffers = Buffers::usual) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(bind(listener, raw, size), 0);
  EXPECT_EQ(listen(listener, 1), 0);
  EXPECT_EQ(getsockname(listener, raw, &size), 0);
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  if (const int least = 1; buffers == Buffers::small) {
    EXPECT_EQ(setsockopt(listener, SOL_SOCKET, SO_SNDBUF, &least, sizeof least), 0);
    EXPECT_EQ(setsockopt(client, SOL_SOCKET, SO_RCVBUF, &least, sizeof least), 0);
  }
  EXPECT_EQ(connect(client, raw, size), 0);
  Error error;
  Socket server = accept_from(listener, error).value();
  close(listener);
  return {client, std::move(server)};
}

// Sends until not even one byte is taken. Returns how many bytes were.
template <class Send> std::size_t fill(Send send) {
  const std::string bytes(64 * 1024, 'x');
  std::size_t all = 0;
  for (const std::size_t piece : {bytes.size(), std::size_t{1}}) {
    for (std::size_t size = 0;
         send({std::string_view(bytes).substr(0, piece), {}}, size) == Transfer::done;) {
      all += size;
    }
  }
  return all;
}

// Fills the server's end until it takes nothing even when the client has sent something, with which
// it acknowledges what has arrived. Returns how many bytes it took. What the client sent is left:
// empty lines, which a server ignores.
inline std::size_t fill_up(const Ends& ends) {
  std::size_t all = 0;
  for (std::size_t more = 1; more != 0; all += more) {
    more = fill([&](const Pieces& pieces, std::size_t& size) {
      return ends.server.send_pieces(pieces, size);
    });
    EXPECT_EQ(send(ends.client, "\r\n", 2, MSG_DONTWAIT), 2);
  }
  return all;
}

// The other end of a connection.
class Client {
public:
  explicit Client(int descriptor) noexcept : client_(descriptor) {}
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { close_client(); }

  // All of it must find room: nobody reads while this thread sends.
  void client_sends(std::string_view bytes, int flags = 0) {
    EXPECT_EQ(client_sends_some(bytes, flags), bytes.size());
  }
  // Returns how many bytes found room.
  std::size_t client_sends_some(std::string_view bytes, int flags = 0) {
    const ssize_t size =
        ::send(client_, bytes.data(), bytes.size(), flags | MSG_DONTWAIT | MSG_NOSIGNAL);
    return size < 0 ? 0 : static_cast<std::size_t>(size);
  }
  void client_sends_fin() { EXPECT_EQ(shutdown(client_, SHUT_WR), 0); }
  void client_resets() {
    const linger abort{1, 0};
    EXPECT_EQ(setsockopt(client_, SOL_SOCKET, SO_LINGER, &abort, sizeof abort), 0);
    close_client();
  }
  void close_client() {
    if (client_ >= 0) {
      ::close(std::exchange(client_, -1));
    }
  }
  // All that has arrived. The last character is '$' behind a FIN, and '!' behind a reset.
  std::string client_reads() {
    std::string all;
    std::string room(1 << 20, '\0');
    ssize_t size = 0;
    while ((size = recv(client_, room.data(), room.size(), MSG_DONTWAIT)) > 0) {
      all.append(room, 0, static_cast<std::size_t>(size));
    }
    return all + (size == 0 ? "$" : errno == EAGAIN ? "" : "!");
  }

private:
  int client_;
};

// Notes what it is handed in `seen`: bytes, "<end>" and "<failed>", and "<writable>". What it does
// then is up to the test.
class Probe final : public Channel, public Client {
public:
  Probe(Transport& transport, Ends ends)
      : Channel(transport, std::move(ends.server)), Client(ends.client) {}
  explicit Probe(Transport& transport, Buffers buffers = Buffers::usual)
      : Probe(transport, connected(buffers)) {
    read(true);
  }

  using Channel::close;
  using Channel::read;
  using Channel::reset;
  using Channel::send;
  using Channel::sending;
  using Channel::shut_down_send;
  using Channel::take;
  using Channel::unread_input;
  using Channel::wait_writable;

  Transfer send_now(std::string_view bytes) {
    std::size_t size = 0;
    return send({bytes, {}}, Sending::now, size);
  }
  Transfer send_soon(std::string_view bytes) {
    std::size_t size = 0;
    return send({bytes, {}}, Sending::soon, size);
  }

  // Fills the socket until it does not even take one byte. Returns how many it took.
  std::size_t fill() {
    return server::fill([this](const Pieces& pieces, std::size_t& size) {
      return send(pieces, Sending::now, size);
    });
  }

  std::function<void(std::string_view)> input = [](std::string_view /*bytes*/) {};
  std::function<void()> writable = [] {};
  std::function<void()> ended = [] {};
  std::function<void(std::string_view)> unsent = [](std::string_view /*bytes*/) {};
  std::string seen;
  int came_back = 0; // how often `unsent` was called

private:
  // The functions are copied, because they may delete the channel.
  void on_input(std::string_view bytes) noexcept override {
    seen += bytes;
    const auto act = input;
    act(bytes);
  }
  void on_end(Transfer how) noexcept override {
    seen += how == Transfer::end_of_input ? "<end>" : "<failed>";
    const auto act = ended;
    act();
  }
  void on_writable() noexcept override {
    seen += "<writable>";
    const auto act = writable;
    act();
  }
  void on_unsent(std::string_view bytes) noexcept override {
    ++came_back;
    const auto act = unsent;
    act(bytes);
  }
};

// Answers everything that arrives with the same bytes, and sends again what came back.
inline void echo(Probe& probe, std::string& owed) {
  const auto flush = [&probe, &owed] {
    std::size_t size = 0;
    if (owed.empty()) {
      return;
    }
    if (probe.send({owed, {}}, Sending::soon, size) == Transfer::done) {
      owed.erase(0, size);
    }
    if (!owed.empty()) {
      probe.wait_writable();
    }
  };
  probe.input = [&owed, flush](std::string_view bytes) {
    owed += bytes;
    flush();
  };
  probe.writable = flush;
  probe.unsent = [&probe, &owed](std::string_view bytes) {
    owed.insert(0, bytes);
    probe.wait_writable();
  };
}

inline std::string counted(std::size_t size) {
  std::string bytes;
  for (std::size_t i = 0; bytes.size() < size; ++i) {
    bytes += std::to_string(i) + ' ';
  }
  return bytes;
}

// Everything that can happen now happens.
inline void run(boost::asio::io_context& io) {
  io.restart();
  io.poll();
}

// Runs until `happened()`, for ten seconds at most.
template <class Condition> void run_until(boost::asio::io_context& io, Condition happened) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  for (run(io); !happened() && std::chrono::steady_clock::now() < end; run(io)) {
    io.restart();
    io.run_one_for(std::chrono::milliseconds(10));
  }
}

// A loop with the transport that the test is about. Skipped where the machine forbids it.
class Channels : public testing::TestWithParam<Io> {
protected:
  void SetUp() override {
    try {
      transport_ = &make_transport(io, GetParam());
    } catch (const std::runtime_error& refused) {
      GTEST_SKIP() << refused.what();
    }
    run();
  }
  void run() { server::run(io); }
  template <class Condition> void run_until(Condition happened) { server::run_until(io, happened); }
  Transport& transport() { return *transport_; }

  boost::asio::io_context io;

private:
  Transport* transport_ = nullptr;
};

} // namespace server
