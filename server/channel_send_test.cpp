// What every transport must do with what channels send, over loopback connections.
#include "server/channel_testing.hpp"

#include <string>
#include <string_view>

namespace server {
namespace {

INSTANTIATE_TEST_SUITE_P(Of, Channels, testing::Values(Io::epoll, Io::io_uring),
                         [](const auto& test) { return std::string(to_string(test.param)); });

TEST_P(Channels, SendToAPeerThatHasSentFin) {
  Probe channel(transport());
  channel.client_sends("a");
  channel.client_sends_fin();
  channel.input = [&](std::string_view /*bytes*/) {
    EXPECT_EQ(channel.send_soon("12"), Transfer::done);
  };
  run();
  EXPECT_EQ(channel.client_reads(), "12");
  EXPECT_EQ(channel.seen, "a<end>");
}

TEST_P(Channels, AreToldWhenThereIsRoomAgain) {
  Probe channel(transport());
  for (int i = 0; i < 3; ++i) {
    const std::size_t sent = channel.fill();
    EXPECT_GT(sent, 0U);
    channel.wait_writable();
    run();
    EXPECT_EQ(channel.seen, "");
    EXPECT_EQ(channel.client_reads().size(), sent);
    run();
    EXPECT_EQ(std::exchange(channel.seen, ""), "<writable>");
  }
}

TEST_P(Channels, AreToldOfAResetWhileTheyWaitForRoom) {
  Probe channel(transport());
  channel.fill();
  channel.read(false);
  channel.wait_writable();
  channel.client_resets();
  run();
  EXPECT_EQ(channel.seen, "<writable>");
  EXPECT_EQ(channel.send_now("a"), Transfer::failed);
}

TEST_P(Channels, MayYieldToOthers) {
  Probe channel(transport());
  std::string order;
  channel.input = [&](std::string_view /*bytes*/) {
    channel.wait_writable(); // there is room
    channel.read(false);
    order += 'i';
  };
  channel.writable = [&] {
    order += 'w';
    channel.read(true);
  };
  channel.client_sends("a");
  run();
  EXPECT_EQ(order, "iw");
  channel.client_sends("b");
  run();
  EXPECT_EQ(order, "iwiw");
  EXPECT_EQ(channel.seen, "a<writable>b<writable>");
}

TEST_P(Channels, SendFinAndAreClosedAtOnce) {
  Probe channel(transport());
  run();
  EXPECT_TRUE(channel.shut_down_send());
  EXPECT_EQ(channel.client_reads(), "$");
  Probe other(transport());
  run();
  other.close();
  run();
  EXPECT_EQ(other.client_reads(), "$");
}

TEST_P(Channels, SendResetsWhenTheyAreToldTo) {
  Probe channel(transport());
  run();
  EXPECT_EQ(channel.send_now("a"), Transfer::done);
  channel.reset();
  run();
  EXPECT_EQ(channel.client_reads().back(), '!');
}

TEST_P(Channels, HaveOneSendUnderWay) {
  Probe channel(transport());
  channel.input = [&](std::string_view /*bytes*/) {
    EXPECT_EQ(channel.send_soon("1"), Transfer::done);
    EXPECT_EQ(channel.send_soon("2"), Transfer::would_block);
    EXPECT_EQ(channel.send_now("2"), Transfer::would_block);
    channel.wait_writable();
  };
  channel.writable = [&] {
    EXPECT_FALSE(channel.sending());
    EXPECT_EQ(channel.send_soon("2"), Transfer::done);
  };
  channel.client_sends("a");
  run();
  EXPECT_EQ(channel.client_reads(), "12");
}

TEST_P(Channels, GetBackWhatAFullSocketDidNotTake) {
  Ends ends = connected(Buffers::small);
  const std::size_t filler = fill_up(ends);
  Probe channel(transport(), std::move(ends));
  std::string owed;
  echo(channel, owed);
  channel.read(true);
  run();
  EXPECT_EQ(channel.came_back, 1);
  const std::string answer = channel.seen;
  EXPECT_EQ(owed, answer);
  std::string all;
  run_until([&] {
    all += channel.client_reads();
    return all.size() == filler + answer.size();
  });
  EXPECT_EQ(all, std::string(filler, 'x') + answer);
  EXPECT_EQ(owed, "");
}

// They asked while the send was queued, and the socket was not known to be full.
TEST_P(Channels, AreToldWhenThereIsRoomForWhatCameBack) {
  Ends ends = connected(Buffers::small);
  fill_up(ends);
  Probe channel(transport(), std::move(ends));
  channel.input = [&](std::string_view /*bytes*/) {
    EXPECT_EQ(channel.send_soon("1"), Transfer::done);
    EXPECT_EQ(channel.send_soon("2"), Transfer::would_block);
    channel.wait_writable();
    channel.read(false);
  };
  channel.read(true);
  run();
  EXPECT_EQ(channel.came_back, 1);
  channel.seen.clear();
  channel.client_reads();
  run();
  EXPECT_EQ(channel.seen, "<writable>");
}

// With room for a part of it.
TEST_P(Channels, GetBackTheRestOfAShortSend) {
  Probe channel(transport(), Buffers::small);
  std::string owed;
  echo(channel, owed);
  std::string expected;
  std::string all;
  for (int i = 0; i < 3000 && channel.came_back == 0; ++i) {
    const std::string more = counted(4000).substr(static_cast<std::size_t>(i) % 1000);
    channel.client_sends(more);
    expected += more;
    run();
  }
  EXPECT_GT(channel.came_back, 0);
  run_until([&] {
    all += channel.client_reads();
    return all.size() == expected.size();
  });
  EXPECT_EQ(all, expected);
}

TEST_P(Channels, LearnHowASendFailsWhenTheyTryAgain) {
  Probe channel(transport());
  Transfer again = Transfer::done;
  channel.input = [&](std::string_view /*bytes*/) {
    EXPECT_EQ(channel.send_soon("1"), Transfer::done);
    channel.client_resets();
  };
  channel.unsent = [&](std::string_view /*bytes*/) { channel.wait_writable(); };
  channel.writable = [&] { again = channel.send_soon("1"); };
  channel.client_sends("a");
  run();
  EXPECT_EQ(channel.came_back, 1);
  EXPECT_EQ(again, Transfer::failed);
}

TEST_P(Channels, SeeAnEndWhenWhatTheySentHasLeft) {
  Probe channel(transport());
  channel.client_sends("a");
  channel.client_sends_fin();
  bool sending = true;
  channel.input = [&](std::string_view /*bytes*/) {
    EXPECT_EQ(channel.send_soon("1"), Transfer::done);
  };
  channel.ended = [&] {
    sending = channel.sending();
    channel.close();
  };
  run();
  EXPECT_EQ(channel.seen, "a<end>");
  EXPECT_FALSE(sending);
  EXPECT_EQ(channel.client_reads(), "1$");
}

TEST_P(Channels, SendWhatTheySentBeforeTheyAreClosed) {
  Probe channel(transport());
  channel.input = [&](std::string_view /*bytes*/) {
    EXPECT_EQ(channel.send_soon("last"), Transfer::done);
    channel.close();
  };
  channel.client_sends("a");
  run();
  EXPECT_EQ(channel.client_reads(), "last$");
}

} // namespace
} // namespace server
