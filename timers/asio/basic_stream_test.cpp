// What basic_stream promises about timeouts, which is what Beast promises about them
// (CONTRACT.md, lines 39 and 40).
// basic_stream_differential_test.cpp compares the two.
#include "timers/asio/basic_stream.hpp"

#include "timers/testing/streams.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace timers::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
namespace asio = boost::asio;
namespace beast = boost::beast;

class BasicStream : public StreamTest {};

// --- When operations end.

TEST_F(BasicStream, ADeadlineEndsAPendingReadAndClosesTheSocket) {
  Operation read;
  const auto start = Clock::now();
  stream.expires_after(kSoon);
  pair.read(read.note());
  run_until(read);
  EXPECT_EQ(read.result(), kTimedOut);
  EXPECT_GE(Clock::now() - start, kSoon);
  EXPECT_FALSE(stream.socket().is_open());
}

TEST_F(BasicStream, ADeadlineEndsAPendingWrite) {
  Operation write;
  stream.expires_after(kSoon);
  pair.write_much(write.note());
  run();
  EXPECT_EQ(write.result(), kTimedOut);
  EXPECT_FALSE(stream.socket().is_open());
}

TEST_F(BasicStream, ATimeoutEqualsTheConditionTimeout) {
  Operation read;
  stream.expires_after(kSoon);
  pair.read(read.note());
  run();
  EXPECT_TRUE(read.result()->error == beast::condition::timeout);
}

TEST_F(BasicStream, AnOperationInTimeIsNotDisturbed) {
  Operation read;
  Operation write;
  stream.expires_after(kNever);
  pair.send("four");
  pair.read(read.note());
  stream.async_write_some(asio::buffer("abc", 3), write.note());
  run();
  EXPECT_EQ(read.result(), success(4));
  EXPECT_EQ(write.result(), success(3));
  EXPECT_TRUE(stream.socket().is_open());
}

TEST_F(BasicStream, AnOperationKeepsTheErrorOfTheSocket) {
  Operation read;
  stream.expires_after(kNever);
  pair.peer.close();
  pair.read(read.note());
  run();
  EXPECT_EQ(read.result(), (Ended{asio::error::eof, 0}));
}

TEST_F(BasicStream, ADeadlineWithNothingPendingDoesNothing) {
  stream.expires_after(kSoon);
  run_for(kLater);
  EXPECT_TRUE(stream.socket().is_open());
}

TEST_F(BasicStream, ADeadlineThatPassedWhileIdleEndsTheNextOperationAtOnceAlthoughThereIsData) {
  Operation read;
  stream.expires_after(kSoon);
  std::this_thread::sleep_for(kSoon);
  pair.send("four");
  pair.read(read.note());
  EXPECT_FALSE(read.ended()) << "a handler must not be called by what starts the operation";
  run();
  EXPECT_EQ(read.result(), kTimedOut);
  EXPECT_FALSE(stream.socket().is_open());
}

TEST_F(BasicStream, AnOperationThatBeginsTooLateEndsThePendingOneOfTheOtherDirection) {
  Operation read;
  Operation write;
  pair.read(read.note());
  stream.expires_after(0s); // the write's
  stream.async_write_some(asio::buffer("abc", 3), write.note());
  run();
  EXPECT_EQ(write.result(), kTimedOut);
  EXPECT_EQ(read.result(), kAborted);
}

TEST_F(BasicStream, ATimeoutIsAbsoluteOverSeveralOperations) {
  stream.expires_after(kSoon);
  std::size_t bytes = 0;
  Operation last;
  const auto start = Clock::now();
  // The peer sends all the time, and still the deadline comes.
  while (!last.ended() && Clock::now() - start < kPatience) {
    Operation read;
    pair.send("x");
    pair.read(read.note());
    run_until(read);
    if (read.result()->error) {
      last = read;
    }
    bytes += read.result()->bytes;
  }
  EXPECT_EQ(last.result(), kTimedOut);
  EXPECT_GT(bytes, 0U);
}

TEST_F(BasicStream, TheNextOperationEndsAtTheDeadlineThatIsStillSet) {
  Operation first;
  Operation second;
  const auto start = Clock::now();
  stream.expires_after(kLater);
  pair.send("four");
  pair.read(first.note());
  run_until(first);
  pair.read(second.note());
  run_until(second);
  EXPECT_EQ(first.result(), success(4));
  EXPECT_EQ(second.result(), kTimedOut);
  EXPECT_GE(Clock::now() - start, kLater);
}

// --- Which direction times out.

TEST_F(BasicStream, APendingOperationWithALaterDeadlineIsAborted) {
  Operation read;
  Operation write;
  stream.expires_after(kSoon);
  pair.read(read.note());
  stream.expires_after(kNever); // the write's only: a read is pending
  pair.write_much(write.note());
  run();
  EXPECT_EQ(read.result(), kTimedOut);
  EXPECT_EQ(write.result(), kAborted);
}

TEST_F(BasicStream, AnEarlierDeadlineOfTheOtherDirectionCounts) {
  Operation read;
  Operation write;
  const auto start = Clock::now();
  stream.expires_after(kNever);
  pair.read(read.note());
  stream.expires_after(kSoon);
  pair.write_much(write.note());
  run();
  EXPECT_EQ(write.result(), kTimedOut);
  EXPECT_EQ(read.result(), kAborted);
  EXPECT_LT(Clock::now() - start, kPatience);
}

TEST_F(BasicStream, BothDirectionsTimeOutIfBothDeadlinesHavePassed) {
  Operation read;
  Operation write;
  stream.expires_after(kSoon);
  pair.read(read.note());
  pair.write_much(write.note());
  run();
  EXPECT_EQ(read.result(), kTimedOut);
  EXPECT_EQ(write.result(), kTimedOut);
}

TEST_F(BasicStream, TheDeadlineOfAnOperationThatIsOverDoesNotEndAnother) {
  Operation read;
  Operation write;
  stream.expires_after(kSoon);
  pair.read(read.note());
  stream.expires_after(kNever);
  pair.write_much(write.note());
  pair.send("four");
  run_until(read); // the timer stays where the read needed it
  run_for(kLater);
  EXPECT_EQ(read.result(), success(4));
  EXPECT_FALSE(write.ended());
  EXPECT_TRUE(stream.socket().is_open());
  stream.close();
  run();
  EXPECT_EQ(write.result(), kAborted);
}

// --- Setting deadlines.

TEST_F(BasicStream, ZeroAndThePastEndOperationsAtOnce) {
  for (const bool after : {true, false}) {
    Connected<unix_stream> other(io.get_executor());
    Operation read;
    after ? other.stream.expires_after(0s) : other.stream.expires_at(Clock::now() - 1s);
    other.read(read.note());
    run();
    EXPECT_EQ(read.result(), kTimedOut);
    EXPECT_FALSE(other.stream.socket().is_open());
  }
}

TEST_F(BasicStream, ANegativeDurationIsZero) {
  Operation read;
  stream.expires_after(-1h);
  pair.read(read.note());
  run();
  EXPECT_EQ(read.result(), kTimedOut);
}

TEST_F(BasicStream, TheLongestDurationsAreNever) {
  Operation read;
  stream.expires_after(std::chrono::hours::max());
  pair.read(read.note());
  run_for(kSoon);
  EXPECT_FALSE(read.ended());
  stream.cancel();
  run();
  Operation again;
  stream.expires_at(Clock::time_point::max());
  pair.read(again.note());
  run_for(kSoon);
  EXPECT_FALSE(again.ended());
}

TEST_F(BasicStream, ExpiresNeverEndsADeadline) {
  Operation read;
  stream.expires_after(kSoon);
  stream.expires_never();
  pair.read(read.note());
  run_for(kLater);
  EXPECT_FALSE(read.ended());
}

TEST_F(BasicStream, APendingOperationKeepsItsDeadline) {
  Operation read;
  stream.expires_after(kSoon);
  pair.read(read.note());
  stream.expires_after(kNever);
  stream.expires_never();
  run();
  EXPECT_EQ(read.result(), kTimedOut);
}

TEST_F(BasicStream, WithBothDirectionsPendingSettingADeadlineDoesNothing) {
  Operation read;
  Operation write;
  stream.expires_after(kSoon);
  pair.read(read.note());
  pair.write_much(write.note());
  stream.expires_after(kNever);
  stream.expires_at(Clock::now() - 1h);
  stream.expires_never();
  const auto start = Clock::now();
  run();
  EXPECT_EQ(read.result(), kTimedOut);
  EXPECT_EQ(write.result(), kTimedOut);
  EXPECT_GE(Clock::now() - start, kSoon / 2);
}

TEST_F(BasicStream, AHandlerMaySetTheDeadlineOfTheNextOperation) {
  Operation second;
  stream.expires_after(kSoon);
  pair.send("four");
  pair.read([&](beast::error_code, std::size_t) {
    stream.expires_after(kNever); // nothing is pending any more
    pair.read(second.note());
  });
  run_for(kLater);
  EXPECT_FALSE(second.ended());
  EXPECT_TRUE(stream.socket().is_open());
}

TEST_F(BasicStream, AStreamThatTimedOutMayConnectAgain) {
  Operation read;
  stream.expires_after(kSoon);
  pair.read(read.note());
  run();
  Unix::socket peer(io);
  asio::local::connect_pair(stream.socket(), peer);
  stream.expires_after(kNever);
  Operation again;
  asio::write(peer, asio::buffer("four", 4));
  pair.read(again.note());
  run();
  EXPECT_EQ(again.result(), success(4));
}

// --- Empty buffers.

TEST_F(BasicStream, EmptyBuffersCompleteWithSuccess) {
  Operation read;
  Operation write;
  stream.expires_after(kNever);
  stream.async_read_some(asio::mutable_buffer(), read.note());
  stream.async_write_some(asio::const_buffer(), write.note());
  EXPECT_FALSE(read.ended());
  run();
  EXPECT_EQ(read.result(), success(0));
  EXPECT_EQ(write.result(), success(0));
}

TEST_F(BasicStream, EmptyBuffersTimeOutToo) {
  Operation read;
  Operation write;
  stream.expires_after(0s);
  stream.async_read_some(asio::mutable_buffer(), read.note());
  stream.async_write_some(asio::const_buffer(), write.note());
  run();
  EXPECT_EQ(read.result(), kTimedOut);
  EXPECT_EQ(write.result(), kTimedOut);
  EXPECT_FALSE(stream.socket().is_open());
}

TEST_F(BasicStream, EmptyBuffersCompleteWhileAnOperationOfTheirDirectionIsPending) {
  Operation read;
  Operation empty;
  stream.expires_after(kSoon);
  pair.read(read.note());
  stream.async_read_some(asio::mutable_buffer(), empty.note());
  EXPECT_FALSE(empty.ended());
  run_until(empty);
  EXPECT_EQ(empty.result(), success(0));
  EXPECT_FALSE(read.ended()) << "it is still pending, with its deadline";
  run();
  EXPECT_EQ(read.result(), kTimedOut);
}

// --- Completed, but not delivered.

TEST_F(BasicStream, WhatWasReadBeforeTheDeadlineIsDeliveredAfterIt) {
  Operation read;
  stream.expires_after(kSoon);
  pair.read(read.note());
  asio::post(io, [&] { // now the loop is late
    pair.send("four");
    std::this_thread::sleep_for(kLater);
  });
  run();
  EXPECT_EQ(read.result(), success(4));
}

// Here the timeout comes between the read and its handler, and the next operation gets it.
TEST(BasicStreamOnAStrand, WhatWasReadIsASuccessAlthoughTheTimeoutCameBeforeTheHandler) {
  asio::thread_pool pool(2);
  auto strand = asio::make_strand(pool.get_executor());
  Connected<unix_stream> pair(strand);
  Ended first;
  Operation second;
  asio::post(strand, [&] {
    pair.stream.expires_after(kSoon);
    pair.read([&](beast::error_code error, std::size_t bytes) {
      first = {error, bytes};
      EXPECT_FALSE(pair.stream.socket().is_open());
      pair.stream.expires_after(kNever);
      pair.read(second.note());
    });
    std::this_thread::sleep_for(kLater); // the check waits for the strand
    pair.send("four");
    std::this_thread::sleep_for(kSoon); // and after it what was read
  });
  pool.join();
  EXPECT_EQ(first, success(4));
  EXPECT_EQ(second.result(), kTimedOut);
}

} // namespace
} // namespace timers::test
