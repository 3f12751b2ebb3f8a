// What only a ring can get wrong, over loopback connections. Each hazard of io_uring is a test by
// name.
#include "server/channel_testing.hpp"
#include "server/ring.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace server {
namespace {

class Rings : public testing::Test {
protected:
  void SetUp() override {
    try {
      Uring({.submissions = 4, .completions = 8, .buffers = 2, .buffer_bytes = 64});
    } catch (const RingRefused& refused) {
      GTEST_SKIP() << refused.what();
    }
  }

  Ring& start(const RingSizes& sizes = {}) {
    Ring& ring = boost::asio::make_service<Ring>(io, sizes);
    run();
    return ring;
  }
  void run() { server::run(io); }

  boost::asio::io_context io;
};

TEST_F(Rings, SendWhatIsSentInARoundWhenItEnds) {
  Ring& ring = start();
  Probe channel(ring);
  std::string at_once;
  channel.input = [&](std::string_view /*bytes*/) {
    EXPECT_EQ(channel.send_soon("answer"), Transfer::done);
    EXPECT_TRUE(channel.sending());
    at_once = channel.client_reads();
  };
  channel.client_sends("a");
  run();
  EXPECT_EQ(at_once, "");
  EXPECT_FALSE(channel.sending());
  EXPECT_EQ(channel.client_reads(), "answer");
}

TEST_F(Rings, SendAtOnceWhatIsNotToWait) {
  Ring& ring = start();
  Probe channel(ring);
  std::string at_once;
  channel.input = [&](std::string_view /*bytes*/) {
    EXPECT_EQ(channel.send_now("answer"), Transfer::done);
    at_once = channel.client_reads();
  };
  channel.client_sends("a");
  run();
  EXPECT_EQ(at_once, "answer");
}

// The completion of the failed send comes with input that was there when the receive was armed.
TEST_F(Rings, GiveBackFailedSendsBeforeTheyHandOverInput) {
  Ring& ring = start();
  Probe channel(ring, connected());
  std::string order;
  channel.client_sends("a");
  channel.client_resets();
  channel.input = [&](std::string_view /*bytes*/) { order += 'i'; };
  channel.unsent = [&](std::string_view bytes) { order += bytes; };
  Probe other(ring);
  other.input = [&](std::string_view /*bytes*/) {
    EXPECT_EQ(channel.send_soon("u"), Transfer::done);
    channel.read(true);
  };
  other.client_sends("a");
  run();
  EXPECT_EQ(order, "ui");
}

TEST_F(Rings, CloseASocketWhoseReceiveIsArmed) {
  Ring& ring = start();
  Probe channel(ring);
  run();
  channel.close();
  run();
  EXPECT_EQ(channel.client_reads(), "$");
}

TEST_F(Rings, CloseASocketThatWaitsForRoomAndForInput) {
  Ring& ring = start();
  Probe channel(ring);
  const std::size_t filler = channel.fill();
  channel.wait_writable();
  run();
  channel.close();
  run();
  EXPECT_EQ(channel.client_reads(), std::string(filler, 'x') + "$");
}

TEST_F(Rings, GoOnWhenBuffersAreFewerThanSockets) {
  Ring& ring = start({.buffers = 4, .buffer_bytes = 64});
  std::vector<std::unique_ptr<Probe>> all;
  for (int i = 0; i < 100; ++i) {
    all.push_back(std::make_unique<Probe>(ring));
    all.back()->client_sends(counted(1000));
  }
  run();
  for (const auto& each : all) {
    EXPECT_EQ(each->seen, counted(1000));
    each->client_sends("more");
    each->client_sends_fin();
  }
  run();
  for (const auto& each : all) {
    EXPECT_EQ(each->seen, counted(1000) + "more<end>");
  }
}

TEST_F(Rings, GoOnWhenTheQueueAndItsCompletionsAreFewerThanSockets) {
  Ring& ring = start({.submissions = 4, .completions = 8, .buffers = 16, .buffer_bytes = 64});
  std::vector<std::unique_ptr<Probe>> all;
  std::vector<std::string> owed(100);
  for (std::size_t i = 0; i < owed.size(); ++i) {
    all.push_back(std::make_unique<Probe>(ring));
    echo(*all.back(), owed[i]);
  }
  run();
  for (const auto& each : all) {
    each->client_sends(counted(2000));
  }
  run();
  for (const auto& each : all) {
    EXPECT_EQ(each->client_reads(), counted(2000));
  }
  for (const auto& each : all) {
    each->close();
  }
  run();
  for (const auto& each : all) {
    EXPECT_EQ(each->client_reads(), "$");
  }
}

// If a full queue were submitted outside a round, these receives would take the input.
TEST_F(Rings, TakeWhatHasArrivedWhenTheQueueIsFull) {
  Ring& ring = start({.submissions = 4, .completions = 64});
  std::vector<std::unique_ptr<Probe>> all;
  for (int i = 0; i < 20; ++i) {
    Ends ends = connected();
    ASSERT_EQ(::send(ends.client, "input", 5, 0), 5);
    all.push_back(std::make_unique<Probe>(ring, std::move(ends)));
    all.back()->read(true);
  }
  for (const auto& each : all) {
    std::string_view bytes;
    EXPECT_EQ(each->unread_input(), 5U);
    EXPECT_EQ(each->take(bytes), Transfer::done);
    EXPECT_EQ(bytes, "input");
    each->client_sends("more");
  }
  run();
  for (const auto& each : all) {
    EXPECT_EQ(each->seen, "more");
  }
}

TEST_F(Rings, SendAtOnceWhatDoesNotFitIntoTheArena) {
  Ring& ring = start({.arena_bytes = 100});
  std::vector<std::unique_ptr<Probe>> all;
  std::vector<std::string> owed(10);
  for (std::size_t i = 0; i < owed.size(); ++i) {
    all.push_back(std::make_unique<Probe>(ring));
    echo(*all.back(), owed[i]);
    all.back()->client_sends(counted(70));
  }
  run();
  for (const auto& each : all) {
    EXPECT_EQ(each->client_reads(), counted(70));
  }
}

// Only what the kernel had received already is kept here; the rest stays in the socket.
TEST_F(Rings, HoldLittleForAChannelThatDoesNotRead) {
  Ring& ring = start();
  Probe channel(ring);
  run();
  channel.read(false);
  const std::string sent = counted(1'000'000);
  std::thread client([&] {
    for (std::size_t at = 0; at < sent.size(); at += 10'000) {
      channel.client_sends(sent.substr(at, 10'000));
    }
  });
  // Waits until the peer's bytes have filled the socket, or all are sent; then reads them all.
  for (int i = 0; i < 200; ++i) {
    run();
    std::this_thread::yield();
  }
  EXPECT_EQ(channel.seen, "");
  EXPECT_LE(ring.stashed(), 256U * 1024);
  channel.read(true);
  while (channel.seen.size() < sent.size()) {
    run();
  }
  client.join();
  EXPECT_EQ(channel.seen, sent);
  EXPECT_EQ(ring.stashed(), 0U);
}

TEST_F(Rings, TakeWhatTheyHoldFirst) {
  Ring& ring = start();
  Probe channel(ring);
  run();
  channel.read(false);
  channel.client_sends("a");
  run(); // it was received
  channel.client_sends("b");
  std::string_view bytes;
  std::string all;
  while (channel.take(bytes) == Transfer::done) {
    all += bytes;
  }
  EXPECT_EQ(all, "ab");
  channel.read(true);
  channel.client_sends("c");
  run();
  EXPECT_EQ(channel.seen, "c");
}

// The completion that was under way finds nobody, though the slot has another user.
TEST_F(Rings, DropCompletionsOfSocketsThatAreClosed) {
  Ring& ring = start();
  for (int i = 0; i < 100; ++i) {
    auto old = std::make_unique<Probe>(ring);
    run();
    old->client_sends("old");
    old.reset(); // its completion is fetched together with the cancellation
    Probe young(ring);
    run();
    EXPECT_EQ(young.seen, "");
    young.client_sends("young");
    run();
    EXPECT_EQ(young.seen, "young");
  }
}

TEST_F(Rings, WakeUpForAnotherThreadsPost) {
  Ring& ring = start();
  Probe channel(ring);
  bool ran = false;
  std::thread other([&] { boost::asio::post(io, [&] { ran = true; }); });
  other.join();
  run();
  EXPECT_TRUE(ran);
}

// Set up here, used there: the ring belongs to the thread of its first round.
TEST_F(Rings, BelongToTheThreadThatRunsThem) {
  Ring& ring = boost::asio::make_service<Ring>(io, RingSizes{});
  std::string seen;
  std::thread other([&] {
    Probe channel(ring);
    channel.client_sends("a");
    run();
    seen = channel.seen;
    channel.close();
    run();
  });
  other.join();
  EXPECT_EQ(seen, "a");
}

} // namespace
} // namespace server
