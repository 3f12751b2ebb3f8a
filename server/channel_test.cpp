// What every transport must do, over loopback connections: input, its end, and turns. Sending is in
// channel_send_test.cpp.
#include "server/channel_testing.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <memory>
#include <vector>

namespace server {
namespace {

INSTANTIATE_TEST_SUITE_P(Of, Channels, testing::Values(Io::epoll, Io::io_uring),
                         [](const auto& test) { return std::string(to_string(test.param)); });

TEST_P(Channels, AreHandedWhatArrivesOnce) {
  Probe channel(transport());
  run();
  EXPECT_EQ(channel.seen, "");
  channel.client_sends("a");
  run();
  EXPECT_EQ(channel.seen, "a");
  run();
  channel.client_sends("b");
  run();
  EXPECT_EQ(channel.seen, "ab");
}

TEST_P(Channels, AreHandedWhatCameBeforeTheyExisted) {
  Ends ends = connected();
  EXPECT_EQ(send(ends.client, "ab", 2, 0), 2);
  Probe channel(transport(), std::move(ends));
  channel.read(true);
  run();
  EXPECT_EQ(channel.seen, "ab");
}

TEST_P(Channels, AreHandedWhatComesInTheirTurn) {
  Probe channel(transport());
  channel.input = [&](std::string_view bytes) {
    if (bytes == "a") {
      channel.client_sends("b");
    }
  };
  channel.client_sends("a");
  run();
  EXPECT_EQ(channel.seen, "ab");
}

TEST_P(Channels, AreHandedNothingWhileTheyDoNotRead) {
  Probe channel(transport());
  channel.read(false);
  channel.client_sends("a");
  run();
  channel.client_sends("b");
  run();
  EXPECT_EQ(channel.seen, "");
  EXPECT_EQ(channel.unread_input(), 2U);
  channel.read(true);
  run();
  EXPECT_EQ(channel.seen, "ab");
  channel.client_sends("c");
  run();
  EXPECT_EQ(channel.seen, "abc");
}

TEST_P(Channels, MayStopReadingInEachTurn) {
  Probe channel(transport());
  channel.input = [&](std::string_view /*bytes*/) { channel.read(false); };
  std::string sent;
  for (int i = 0; i < 30; ++i) {
    sent += static_cast<char>('a' + i % 26);
    channel.client_sends(sent.substr(sent.size() - 1));
    if (i % 2 == 0) {
      run();
    }
    channel.read(true);
    run();
    EXPECT_EQ(channel.seen, sent);
  }
}

TEST_P(Channels, StopReadingInTheMiddleOfMuchInput) {
  Probe channel(transport());
  std::string sent;
  for (int i = 0; i < 60'000; ++i) {
    sent += static_cast<char>('a' + i % 26);
  }
  channel.input = [&](std::string_view /*bytes*/) { channel.read(false); };
  channel.client_sends(sent);
  for (std::size_t before = 1; before != channel.seen.size();) {
    before = channel.seen.size();
    EXPECT_EQ(before + channel.unread_input(), sent.size());
    channel.read(true);
    run();
  }
  EXPECT_EQ(channel.seen, sent);
}

TEST_P(Channels, AreHandedMuchInPieces) {
  Probe channel(transport());
  std::size_t largest = 0;
  channel.input = [&](std::string_view bytes) { largest = std::max(largest, bytes.size()); };
  const std::string sent(60'000, 'x');
  channel.client_sends(sent);
  run();
  EXPECT_EQ(channel.seen, sent);
  EXPECT_LE(largest, 16U * 1024);
}

// The two come in one event, and there is no second one for the end.
TEST_P(Channels, SeeAFinThatCameWithData) {
  Probe channel(transport());
  channel.client_sends("a");
  channel.client_sends_fin();
  run();
  EXPECT_EQ(channel.seen, "a<end>");
}

TEST_P(Channels, SeeAFinThatCameAfterTheData) {
  Probe channel(transport());
  channel.client_sends("a");
  run();
  channel.client_sends_fin();
  run();
  EXPECT_EQ(channel.seen, "a<end>");
}

TEST_P(Channels, SeeAFinThatComesInTheirTurn) {
  Probe channel(transport());
  channel.input = [&](std::string_view /*bytes*/) { channel.client_sends_fin(); };
  channel.client_sends("a");
  run();
  EXPECT_EQ(channel.seen, "a<end>");
}

TEST_P(Channels, SeeAFinThatCameWhileTheyDidNotRead) {
  Probe channel(transport());
  channel.read(false);
  channel.client_sends("a");
  channel.client_sends_fin();
  run();
  EXPECT_EQ(channel.seen, "");
  channel.read(true);
  run();
  EXPECT_EQ(channel.seen, "a<end>");
}

TEST_P(Channels, SeeAnEndOnce) {
  Probe channel(transport());
  channel.client_sends_fin();
  run();
  channel.read(false);
  channel.read(true);
  run();
  EXPECT_EQ(channel.seen, "<end>");
}

TEST_P(Channels, SeeAReset) {
  Probe channel(transport());
  channel.client_resets();
  run();
  EXPECT_EQ(channel.seen, "<failed>");
}

TEST_P(Channels, SeeAResetThatCameWithData) {
  Probe channel(transport());
  channel.client_sends("a");
  channel.client_resets();
  run();
  EXPECT_TRUE(channel.seen.ends_with("<failed>")) << channel.seen;
}

// The receive is armed when both are there already.
TEST_P(Channels, SeeAResetThatCameWithDataBeforeTheyRead) {
  Ends ends = connected();
  EXPECT_EQ(send(ends.client, "a", 1, 0), 1);
  Probe channel(transport(), std::move(ends));
  channel.client_resets();
  channel.read(true);
  run();
  EXPECT_TRUE(channel.seen.ends_with("<failed>")) << channel.seen;
}

// A read stops at urgent data, so that a short read says nothing about what is behind it.
TEST_P(Channels, AreHandedWhatIsBehindUrgentData) {
  Probe channel(transport());
  channel.client_sends("a");
  channel.client_sends("!", MSG_OOB);
  channel.client_sends("bc");
  run();
  EXPECT_EQ(channel.seen, "abc");
  channel.client_sends("d");
  run();
  EXPECT_EQ(channel.seen, "abcd");
}

TEST_P(Channels, ThatHaveMuchInputLetOthersHaveTheirTurns) {
  Probe busy(transport());
  Probe other(transport());
  std::size_t before = 0;
  other.input = [&](std::string_view /*bytes*/) { before = busy.seen.size(); };
  const std::string sent(500'000, 'x');
  busy.client_sends(sent);
  other.client_sends("1");
  run_until([&] { return busy.seen.size() == sent.size(); });
  EXPECT_EQ(busy.seen.size(), sent.size());
  EXPECT_EQ(other.seen, "1");
  EXPECT_LT(before, 100'000U);
}

TEST_P(Channels, ThatHaveMuchInputLetTheLoopHaveItsTurn) {
  Probe busy(transport());
  bool posted = false;
  std::size_t before = 0;
  busy.input = [&](std::string_view /*bytes*/) {
    if (!std::exchange(posted, true)) {
      boost::asio::post(io, [&] { before = busy.seen.size(); });
    }
  };
  const std::string sent(1'000'000, 'x');
  busy.client_sends(sent);
  run_until([&] { return busy.seen.size() == sent.size(); });
  EXPECT_EQ(busy.seen.size(), sent.size());
  EXPECT_GT(before, 0U);
  EXPECT_LT(before, sent.size());
}

// Each is answered at once, so that there is always more.
TEST_P(Channels, ThatAreNeverIdleLetTheLoopHaveItsTurn) {
  constexpr int kMany = 20;
  std::vector<std::unique_ptr<Probe>> all;
  bool over = false;
  int turns = 0;
  for (int i = 0; i < kMany; ++i) {
    all.push_back(std::make_unique<Probe>(transport()));
    all.back()->input = [&, probe = all.back().get()](std::string_view /*bytes*/) {
      ++turns;
      if (!over && turns < 100'000) {
        probe->client_sends("a");
      }
    };
    all.back()->client_sends("a");
  }
  boost::asio::post(io, [&] { boost::asio::post(io, [&] { over = true; }); });
  run();
  EXPECT_TRUE(over);
  EXPECT_LT(turns, 10'000);
}

// Both have input when the first one closes the second.
TEST_P(Channels, AreNotCalledOnceTheyAreClosed) {
  Probe first(transport());
  Probe second(transport());
  int calls = 0;
  for (Probe* const each : {&first, &second}) {
    each->input = [&](std::string_view /*bytes*/) {
      ++calls;
      first.close();
      second.close();
    };
    each->client_sends("a");
  }
  run();
  EXPECT_EQ(calls, 1);
}

TEST_P(Channels, MayDeleteThemselvesAndOthers) {
  auto first = std::make_unique<Probe>(transport());
  auto second = std::make_unique<Probe>(transport());
  int calls = 0;
  for (Probe* const each : {first.get(), second.get()}) {
    each->input = [&, each](std::string_view /*bytes*/) {
      ++calls;
      each->wait_writable(); // is to be called again
      second.reset();
      first.reset();
    };
    each->client_sends("a");
  }
  run();
  EXPECT_EQ(calls, 1);
}

// It is more than an EpollSet reads before some of them have their turns.
TEST_P(Channels, ThatHaveMuchInputMayDeleteAllOthers) {
  std::vector<std::unique_ptr<Probe>> all;
  int calls = 0;
  for (int i = 0; i < 6; ++i) {
    all.push_back(std::make_unique<Probe>(transport()));
    all.back()->input = [&](std::string_view /*bytes*/) {
      ++calls;
      all.clear();
    };
    all.back()->client_sends(std::string(16 * 1024, 'x'));
  }
  run();
  EXPECT_EQ(calls, 1);
}

// The new socket has the number of the old one, whose input was fetched.
TEST_P(Channels, GetNothingOfTheChannelBeforeThem) {
  Probe first(transport());
  auto second = std::make_unique<Probe>(transport());
  std::unique_ptr<Probe> third;
  const auto replace = [&] {
    if (second != nullptr) {
      second.reset();
      third = std::make_unique<Probe>(transport());
    }
  };
  first.input = [&](std::string_view /*bytes*/) { replace(); };
  first.client_sends("a");
  second->client_sends("b");
  second->input = [&](std::string_view /*bytes*/) { second->wait_writable(); };
  run();
  ASSERT_NE(third, nullptr);
  EXPECT_EQ(third->seen, "");
  third->client_sends("c");
  run();
  EXPECT_EQ(third->seen, "c");
}

TEST_P(Channels, MayBeClosedAndOpenedAgainManyTimes) {
  for (int i = 0; i < 200; ++i) {
    auto channel = std::make_unique<Probe>(transport());
    if (i % 3 != 0) {
      run();
    }
    channel->client_sends("a");
    if (i % 2 == 0) {
      run();
      EXPECT_EQ(channel->seen, "a");
    }
    channel->close();
    if (i % 5 != 0) {
      run();
      EXPECT_TRUE(channel->client_reads().find_first_of("$!") != std::string::npos);
    }
  }
}

TEST_P(Channels, AreManyInARound) {
  constexpr std::size_t kMany = 700;
  std::vector<std::unique_ptr<Probe>> all;
  for (std::size_t i = 0; i < kMany; ++i) {
    all.push_back(std::make_unique<Probe>(transport()));
    all.back()->client_sends("ab");
  }
  run();
  for (const auto& each : all) {
    EXPECT_EQ(each->seen, "ab");
  }
}

TEST_P(Channels, AreReadDirectlyOutsideTheirTurns) {
  Probe channel(transport());
  run();
  channel.client_sends("ab");
  EXPECT_EQ(channel.unread_input(), 2U);
  std::string_view bytes;
  EXPECT_EQ(channel.take(bytes), Transfer::done); // a timer takes a last look
  EXPECT_EQ(bytes, "ab");
  EXPECT_EQ(channel.take(bytes), Transfer::would_block);
  channel.client_sends("c");
  run();
  EXPECT_EQ(channel.seen, "c");
  channel.client_sends_fin();
  EXPECT_EQ(channel.take(bytes), Transfer::end_of_input);
  run();
  EXPECT_EQ(channel.seen, "c"); // it was reported
}

// The loop holds no work of channels that are gone.
TEST_P(Channels, MayBeAllGone) {
  { const Probe channel(transport()); }
  run();
  Probe channel(transport());
  channel.client_sends("a");
  run();
  EXPECT_EQ(channel.seen, "a");
}

} // namespace
} // namespace server
