// What basic_stream has beyond Beast's: idle_after() and rearm_after() (CONTRACT.md, lines 40
// and 41).
#include "timers/asio/basic_stream.hpp"

#include "timers/testing/streams.hpp"

#include <boost/asio/buffer.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace timers::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
namespace asio = boost::asio;
namespace beast = boost::beast;

class StreamIdle : public StreamTest {};

TEST_F(StreamIdle, RearmAfterMovesTheDeadlinesOfPendingOperationsLater) {
  Operation read;
  Operation write;
  stream.expires_after(kSoon);
  pair.read(read.note());
  pair.write_much(write.note());
  stream.rearm_after(kNever);
  run_for(kLater);
  EXPECT_FALSE(read.ended());
  EXPECT_FALSE(write.ended());
  stream.rearm_after(kSoon); // and earlier
  run();
  EXPECT_EQ(read.result(), kTimedOut);
  EXPECT_EQ(write.result(), kTimedOut);
}

TEST_F(StreamIdle, RearmAfterGivesADeadlineToAnOperationThatHasNone) {
  Operation read;
  pair.read(read.note());
  stream.rearm_after(kSoon);
  run();
  EXPECT_EQ(read.result(), kTimedOut);
}

TEST_F(StreamIdle, RearmAfterForeverTakesItAway) {
  Operation read;
  stream.expires_after(kSoon);
  pair.read(read.note());
  stream.rearm_after(kForever);
  run_for(kLater);
  EXPECT_FALSE(read.ended());
}

TEST_F(StreamIdle, AnIdleTimeoutEndsWhatIsPendingInBothDirections) {
  Operation read;
  Operation write;
  const auto start = Clock::now();
  stream.idle_after(kSoon);
  pair.read(read.note());
  pair.write_much(write.note());
  run();
  EXPECT_EQ(read.result(), kTimedOut);
  EXPECT_EQ(write.result(), kTimedOut);
  EXPECT_GE(Clock::now() - start, kSoon);
  EXPECT_FALSE(stream.socket().is_open());
}

TEST_F(StreamIdle, AnIdleTimeoutIsRestartedByEachTransferAndDoesNotEndABusyConnection) {
  const auto idle = 200ms;
  stream.idle_after(idle);
  const auto start = Clock::now();
  while (Clock::now() - start < 2 * idle) {
    Operation read;
    pair.read(read.note());
    pair.send("x");
    run_until(read);
    ASSERT_EQ(read.result(), success(1));
    std::this_thread::sleep_for(idle / 10);
  }
  Operation last;
  const auto idle_since = Clock::now();
  pair.read(last.note());
  run_until(last);
  EXPECT_EQ(last.result(), kTimedOut);
  EXPECT_GE(Clock::now() - idle_since, idle);
}

TEST_F(StreamIdle, WritesKeepAPendingReadFromTheIdleTimeout) {
  const auto idle = 200ms;
  Operation read;
  stream.idle_after(idle);
  pair.read(read.note());
  auto last = Clock::now();
  for (const auto start = Clock::now(); Clock::now() - start < 2 * idle;) {
    Operation write;
    last = Clock::now();
    stream.async_write_some(asio::buffer("x", 1), write.note());
    run_until(write);
    run_for(20ms);
    ASSERT_FALSE(read.ended());
  }
  run();
  EXPECT_EQ(read.result(), kTimedOut);
  EXPECT_GE(Clock::now() - last, idle);
}

TEST_F(StreamIdle, AnIdleTimeoutIsNotRestartedByATransferOfNoBytes) {
  const auto idle = 200ms;
  Operation read;
  stream.idle_after(idle);
  pair.read(read.note());
  for (const auto start = Clock::now(); !read.ended() && Clock::now() - start < 20 * idle;) {
    Operation empty;
    stream.async_write_some(asio::const_buffer(), empty.note());
    run_until(empty);
    run_for(20ms);
  }
  EXPECT_EQ(read.result(), kTimedOut);
}

TEST_F(StreamIdle, ADeadlineThatPassedEndsTheNextOperationAtOnceBesideAnIdleTimeoutToo) {
  Operation read;
  stream.idle_after(kNever);
  stream.expires_after(kSoon);
  std::this_thread::sleep_for(kLater);
  pair.send("four");
  pair.read(read.note());
  run();
  EXPECT_EQ(read.result(), kTimedOut);
}

TEST_F(StreamIdle, TimeInWhichNothingIsPendingDoesNotCountAsIdle) {
  stream.idle_after(kSoon);
  run_for(kLater);
  Operation read;
  pair.send("four");
  pair.read(read.note());
  run();
  EXPECT_EQ(read.result(), success(4));
}

TEST_F(StreamIdle, AnIdleTimeoutAppliesToWhatIsPendingAlready) {
  Operation read;
  pair.read(read.note());
  stream.idle_after(kSoon);
  run();
  EXPECT_EQ(read.result(), kTimedOut);
}

TEST_F(StreamIdle, OfIdleTimeoutAndDeadlineTheEarlierCounts) {
  for (const bool idle_first : {true, false}) {
    Connected<unix_stream> other(io.get_executor());
    Operation read;
    other.stream.idle_after(idle_first ? std::chrono::nanoseconds(kSoon) : kNever);
    other.stream.expires_after(idle_first ? std::chrono::nanoseconds(kNever) : kSoon);
    other.read(read.note());
    const auto start = Clock::now();
    run();
    EXPECT_EQ(read.result(), kTimedOut);
    EXPECT_LT(Clock::now() - start, kPatience);
  }
}

TEST_F(StreamIdle, AnIdleTimeoutIsEndedByForeverAndByExpiresNever) {
  for (const bool never : {true, false}) {
    Connected<unix_stream> other(io.get_executor());
    Operation read;
    other.stream.idle_after(kSoon);
    never ? other.stream.expires_never() : other.stream.idle_after(kForever);
    other.read(read.note());
    run_for(kLater);
    EXPECT_FALSE(read.ended());
  }
}

TEST_F(StreamIdle, AnIdleTimeoutOfAPendingOperationCanBeEnded) {
  Operation read;
  stream.idle_after(kSoon);
  pair.read(read.note());
  stream.idle_after(kForever);
  run_for(kLater);
  EXPECT_FALSE(read.ended());
}

} // namespace
} // namespace timers::test
