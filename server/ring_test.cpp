// What only a ring can get wrong, over loopback connections. Each hazard of io_uring is a test by
// name.
#include "server/channel_testing.hpp"
#include "server/ring.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

extern "C" [[gnu::weak]] std::size_t __sanitizer_get_current_allocated_bytes();

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

// The round ends while there is always more to do, so its last send is still queued.
TEST_F(Rings, AreReadDirectlyWhileASendIsUnderWay) {
  Ring& ring = start();
  Probe channel(ring);
  std::string taken;
  int turns = 0;
  channel.input = [&](std::string_view /*bytes*/) {
    EXPECT_EQ(channel.send_soon("1"), Transfer::done);
    channel.client_sends(++turns == 1 ? "b" : "c");
    if (turns == 1) {
      boost::asio::post(io, [&] {
        EXPECT_TRUE(channel.sending());
        std::string_view bytes;
        EXPECT_EQ(channel.take(bytes), Transfer::done);
        taken = bytes;
        channel.read(false);
      });
    }
  };
  channel.client_sends("a");
  run();
  EXPECT_EQ(taken, "c");
  EXPECT_EQ(channel.client_reads(), std::string(static_cast<std::size_t>(turns), '1'));
}

// A channel that ends could not send again what came back.
TEST_F(Rings, SeeAnEndThatIsTakenWhileASendIsUnderWayWhenItHasLeft) {
  Ring& ring = start();
  Probe channel(ring);
  bool over = false;
  channel.input = [&](std::string_view /*bytes*/) {
    EXPECT_EQ(channel.send_soon("1"), Transfer::done);
    if (channel.seen == "a") {
      boost::asio::post(io, [&] {
        over = true;
        channel.client_sends_fin();
        EXPECT_TRUE(channel.sending());
        std::string_view bytes;
        EXPECT_EQ(channel.take(bytes), Transfer::done);
        EXPECT_EQ(channel.take(bytes), Transfer::would_block);
      });
    }
    if (!over) {
      channel.client_sends("a");
    }
  };
  channel.ended = [&] { EXPECT_FALSE(channel.sending()); };
  channel.client_sends("a");
  run();
  EXPECT_TRUE(channel.seen.ends_with("a<end>")) << channel.seen;
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

// A round is bounded by what it handles, not only by its calls of the kernel.
TEST_F(Rings, LetTheLoopHaveItsTurnWhenEachCallBringsMuch) {
  constexpr std::size_t kBytes = 64;
  constexpr unsigned kBuffers = 1024;
  Ring& ring = start({.buffers = kBuffers, .buffer_bytes = kBytes});
  std::vector<std::unique_ptr<Probe>> all;
  unsigned turns = 0;
  unsigned turns_of_round = 0;
  for (int i = 0; i < 60; ++i) {
    all.push_back(std::make_unique<Probe>(ring));
    all.back()->input = [&](std::string_view /*bytes*/) {
      if (++turns == 1) {
        boost::asio::post(io, [&] { turns_of_round = turns; });
      }
    };
    all.back()->client_sends(std::string(300 * kBytes, 'x'));
  }
  run();
  EXPECT_EQ(turns, 60U * 300);
  EXPECT_GT(turns_of_round, 0U);
  EXPECT_LE(turns_of_round, 4096 + kBuffers);
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

// Their sends fail, because their clients do not read. More input has completed than there is room
// for, so that a call of the kernel does not report these failures at once.
TEST_F(Rings, KeepTheOrderWhenCompletionsOfFailedSendsOverflow) {
  constexpr std::size_t kMany = 100;
  Ring& ring = start({.submissions = 8, .completions = 8, .buffers = 256, .buffer_bytes = 512});
  std::vector<std::unique_ptr<Probe>> all;
  std::vector<std::string> owed(kMany);
  for (std::size_t i = 0; i < kMany; ++i) {
    all.push_back(std::make_unique<Probe>(ring, Buffers::small));
    echo(*all.back(), owed[i]);
  }
  run();
  const std::string sent = counted(5000);
  for (int i = 0; i < 3; ++i) {
    for (const auto& each : all) {
      each->client_sends(sent);
    }
    run();
  }
  int came_back = 0;
  for (const auto& each : all) {
    came_back += each->came_back;
    std::string received;
    run_until(io, [&] {
      received += each->client_reads();
      return received.size() == 3 * sent.size();
    });
    EXPECT_EQ(received, sent + sent + sent);
  }
  EXPECT_GT(came_back, 0);
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
  Ends ends = connected();
  const int least = 1;
  ASSERT_EQ(setsockopt(ends.client, SOL_SOCKET, SO_SNDBUF, &least, sizeof least), 0);
  Probe channel(ring, std::move(ends));
  channel.read(true);
  run();
  channel.read(false);
  const std::string sent = counted(2'000'000);
  std::size_t taken = 0;
  for (std::size_t more = 1; more != 0; taken += more) {
    more = channel.client_sends_some(std::string_view(sent).substr(taken, 10'000));
    run();
  }
  EXPECT_EQ(channel.seen, "");
  EXPECT_LT(taken, sent.size()) << "all that was sent was received";
  EXPECT_GT(ring.stashed(), 0U);
  EXPECT_LE(ring.stashed(), 256U * 1024);
  channel.read(true);
  for (run(); taken < sent.size(); run()) {
    taken += channel.client_sends_some(std::string_view(sent).substr(taken, 10'000));
  }
  EXPECT_EQ(channel.seen, sent);
  EXPECT_EQ(ring.stashed(), 0U);
}

// Nobody would drop an empty entry.
TEST_F(Rings, HoldNothingOfWhatFindsNoMemory) {
  if (__sanitizer_get_current_allocated_bytes == nullptr) {
    GTEST_SKIP() << "needs a sanitizer that counts what is allocated";
  }
  const Probe channel(start());
  RingStash stash;
  const std::string_view huge("", std::numeric_limits<std::ptrdiff_t>::max());
  const std::size_t before = __sanitizer_get_current_allocated_bytes();
  EXPECT_ANY_THROW(stash.add(channel, huge));
  EXPECT_EQ(__sanitizer_get_current_allocated_bytes(), before);
  stash.add(channel, "kept");
  EXPECT_ANY_THROW(stash.add(channel, huge));
  EXPECT_EQ(stash.size(channel), 4U);
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

// The loop falls asleep before each request. A completion that comes in that moment must not be
// missed (Uring::quiet()), so the client's pauses sweep over it.
TEST_F(Rings, WakeUpForEachRequest) {
  constexpr int kRequests = 5000;
  Ring& ring = start();
  Ends ends = connected();
  const int peer = ends.client;
  const timeval patience{.tv_sec = 20, .tv_usec = 0};
  ASSERT_EQ(setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
  Probe channel(ring, std::move(ends));
  std::string owed;
  echo(channel, owed);
  channel.read(true);
  int answers = 0;
  std::thread client([&] {
    using Clock = std::chrono::steady_clock;
    char byte = 'a';
    while (answers < kRequests && send(peer, &byte, 1, MSG_NOSIGNAL) == 1 &&
           recv(peer, &byte, 1, 0) == 1) {
      ++answers;
      const auto until = Clock::now() + std::chrono::nanoseconds(answers % 200 * 100);
      while (Clock::now() < until) {
      }
    }
    io.stop();
  });
  io.restart();
  io.run_for(std::chrono::seconds(60));
  client.join();
  EXPECT_EQ(answers, kRequests);
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
