// What a connection does with a send that is still queued when something else wants its turn, with
// every transport. connection_fuzz.cpp and the tests of the binary have everything else.
#include "server/connection.hpp"

#include "server/channel_testing.hpp"
#include "timers/none.hpp"

#include <boost/asio/post.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace server {
namespace {

constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

class Connections : public Channels {
protected:
  using Context = ConnectionContext<timers::None>;

  void SetUp() override {
    Channels::SetUp();
    if (!IsSkipped()) {
      context_.reset(new Context{
          .transport = transport(),
          .counters = counters_,
          .exchanges = ExchangePool({.limits = {.max_header_bytes = 1000, .max_headers = 10},
                                     .window = {},
                                     .scenario = {Scenario::respond, 1},
                                     .counters = counters_}),
          .timers = timers_,
          .timeouts = {},
          .held_writes = {io, std::chrono::nanoseconds(0)},
          .loop_probe = {io, false}});
    }
  }

  Connection<timers::None>& start(Socket socket) {
    return Connection<timers::None>::start(*context_, std::move(socket));
  }

  // The client sends a request in turn `turn` of another channel, which always has more to read.
  // `between_rounds` is called when the round with that turn is over. A ring ends a round after
  // some calls of the kernel. For some turn the answer is then still queued.
  void ask(Client& client, int turn, const std::function<void()>& between_rounds) {
    Probe busy(transport());
    int turns = 0;
    busy.input = [&](std::string_view /*bytes*/) {
      if (++turns == turn) {
        client.client_sends(kGet);
        boost::asio::post(io, between_rounds);
      }
      if (turns < kTurns + 10) {
        busy.client_sends("a");
      }
    };
    busy.client_sends("a");
    run();
    EXPECT_GT(turns, turn);
  }

  static constexpr int kTurns = 16;

  Counters counters_;
  timers::None timers_{io.get_executor()};
  std::unique_ptr<Context> context_;
};

INSTANTIATE_TEST_SUITE_P(With, Connections, testing::Values(Io::epoll, Io::io_uring),
                         [](const auto& test) { return std::string(to_string(test.param)); });

TEST_P(Connections, SendTheirAnswerBeforeADrainEndsThem) {
  for (int turn = 1; turn <= kTurns; ++turn) {
    Ends ends = connected();
    Client client(ends.client);
    auto& connection = start(std::move(ends.server));
    ask(client, turn, [&] {
      context_->draining = context_->ends_idle = true;
      connection.drain({});
    });
    context_->draining = context_->ends_idle = false;
    const std::string answer = client.client_reads();
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << turn << ": " << answer;
    EXPECT_TRUE(answer.ends_with("\r\n\r\n$")) << turn << ": " << answer;
    EXPECT_EQ(counters_.open, 0U);
  }
}

// For Prometheus a counter that falls has begun anew.
TEST_P(Connections, CountBytesThatCameBackOnceAndNeverTakeThemBack) {
  for (int turn = 1; turn <= kTurns; ++turn) {
    Ends ends = connected(Buffers::small);
    Client client(ends.client);
    const std::size_t filler = fill_up(ends);
    auto& connection = start(std::move(ends.server));
    const std::uint64_t before = counters_.bytes_out;
    std::uint64_t between_rounds = 0;
    ask(client, turn, [&] { between_rounds = counters_.bytes_out; });
    EXPECT_GE(counters_.bytes_out, between_rounds);
    std::size_t received = client.client_reads().size();
    run();
    received += client.client_reads().size();
    EXPECT_GT(received, filler);
    EXPECT_EQ(counters_.bytes_out - before, received - filler);
    connection.cut();
    run();
  }
}

} // namespace
} // namespace server
