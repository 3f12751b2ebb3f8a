// What basic_stream promises about timeouts, which is what Beast promises about them.
// basic_stream_differential_test.cpp compares the two.
#include "timers/asio/basic_stream.hpp"

#include "timers/testing/streams.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace timers::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
namespace asio = boost::asio;
namespace beast = boost::beast;

constexpr auto kSoon = 30ms;    // a deadline for which a test waits
constexpr auto kLater = 60ms;   // one clearly after that
constexpr auto kPatience = 10s; // much longer than any test runs
constexpr auto kNever = 1h;     // a deadline that does not come

class BasicStream : public testing::Test {
protected:
  void run() {
    io.restart();
    io.run_for(kPatience);
    EXPECT_TRUE(io.stopped()) << "an operation is pending that should have ended";
  }

  void run_until(const Operation& operation) {
    const auto end = Clock::now() + kPatience;
    while (!operation.ended() && Clock::now() < end) {
      io.restart();
      io.run_one_until(end);
    }
    EXPECT_TRUE(operation.ended());
  }

  void run_for(std::chrono::milliseconds duration) {
    io.restart();
    io.run_for(duration);
  }

  asio::io_context io{1};
  Connected<unix_stream> pair{io.get_executor()};
  unix_stream& stream = pair.stream;
};

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

// --- Cancelling, closing, and the ends of things.

TEST_F(BasicStream, CancelAbortsBothDirectionsAndLeavesTheSocketOpen) {
  Operation read;
  Operation write;
  stream.expires_after(kNever);
  pair.read(read.note());
  pair.write_much(write.note());
  stream.cancel();
  run();
  EXPECT_EQ(read.result(), kAborted);
  EXPECT_EQ(write.result(), kAborted);
  EXPECT_TRUE(stream.socket().is_open());
}

TEST_F(BasicStream, CloseAbortsEvenIfTheDeadlinePassesBeforeTheHandlerIsCalled) {
  Operation read;
  stream.expires_after(kSoon);
  pair.read(read.note());
  asio::post(io, [&] {
    stream.close();
    std::this_thread::sleep_for(kLater);
  });
  run();
  EXPECT_EQ(read.result(), kAborted);
  EXPECT_FALSE(stream.socket().is_open());
}

TEST_F(BasicStream, ADestroyedStreamAbortsItsOperations) {
  Operation read;
  Operation write;
  {
    auto other = std::make_unique<Connected<unix_stream>>(io.get_executor());
    other->stream.expires_after(kSoon);
    other->read(read.note());
    other->write_much(write.note());
  }
  run();
  EXPECT_EQ(read.result(), kAborted);
  EXPECT_EQ(write.result(), kAborted);
}

TEST_F(BasicStream, AStreamMayBeDestroyedByItsHandler) {
  auto other = std::make_unique<Connected<unix_stream>>(io.get_executor());
  bool called = false;
  other->stream.expires_after(kSoon);
  other->read([&](beast::error_code error, std::size_t) {
    EXPECT_EQ(error, beast::error::timeout);
    other.reset();
    called = true;
  });
  run();
  EXPECT_TRUE(called);
}

TEST_F(BasicStream, AContextIsDestroyedWithOperationsPendingAndTheirHandlersAreNotCalled) {
  auto alive = std::make_shared<int>(0);
  {
    asio::io_context other;
    for (int i = 0; i < 100; ++i) {
      auto session = std::make_shared<Connected<unix_stream>>(other.get_executor());
      session->stream.expires_after(i % 2 == 0 ? std::chrono::nanoseconds(kSoon) : kNever);
      session->read([session, alive](beast::error_code, std::size_t) { FAIL(); });
      session->write_much([session, alive](beast::error_code, std::size_t) { FAIL(); });
    }
    Connected<unix_stream> late(other.get_executor());
    late.stream.expires_after(0s);
    late.read([alive](beast::error_code, std::size_t) { FAIL(); });
  }
  EXPECT_EQ(alive.use_count(), 1);
}

TEST_F(BasicStream, AContextIsDestroyedWhileATimeoutIsOnItsWay) {
  asio::io_context other;
  auto session = std::make_shared<Connected<unix_stream>>(other.get_executor());
  session->stream.expires_after(1ms);
  session->read([session](beast::error_code, std::size_t) { FAIL(); });
  session.reset();
  std::this_thread::sleep_for(kSoon);
  other.poll_one(); // the pass, and the check is posted
}

TEST_F(BasicStream, RunReturnsSoonAfterTheLastOperation) {
  Operation read;
  stream.expires_after(kNever);
  pair.send("four");
  pair.read(read.note());
  const auto start = Clock::now();
  run();
  EXPECT_LT(Clock::now() - start, 5s); // not an hour
  EXPECT_EQ(read.result(), success(4));
}

TEST_F(BasicStream, AReleasedSocketIsOpenAndItsOperationsAreAborted) {
  Operation read;
  stream.expires_after(kSoon);
  pair.read(read.note());
  Unix::socket socket = stream.release_socket();
  std::this_thread::sleep_for(kLater); // no timeout is left behind
  run();
  EXPECT_EQ(read.result(), kAborted);
  EXPECT_TRUE(socket.is_open());
  EXPECT_FALSE(stream.socket().is_open());
  pair.send("four");
  EXPECT_EQ(socket.read_some(asio::buffer(pair.input)), 4U);
}

// --- Moving.

TEST_F(BasicStream, AMovedStreamTakesSocketAndDeadlineAlongAndLeavesANewOne) {
  stream.expires_after(kSoon);
  unix_stream moved(std::move(stream));
  EXPECT_TRUE(moved.socket().is_open());
  EXPECT_FALSE(stream.socket().is_open());
  EXPECT_EQ(stream.get_executor(), moved.get_executor());
  Operation read;
  moved.async_read_some(asio::buffer(pair.input), read.note());
  run();
  EXPECT_EQ(read.result(), kTimedOut);

  Operation again;
  Unix::socket peer(io);
  asio::local::connect_pair(stream.socket(), peer);
  pair.read(again.note());
  run_for(kLater);
  EXPECT_FALSE(again.ended()) << "the stream that is left behind has no deadline";
}

TEST_F(BasicStream, AStreamMovesWithPendingOperations) {
  Operation read;
  stream.expires_after(kSoon);
  pair.read(read.note());
  auto moved = std::make_unique<unix_stream>(std::move(stream));
  Operation other;
  pair.read(other.note()); // the old one is as new
  run();
  EXPECT_EQ(read.result(), kTimedOut);
  EXPECT_FALSE(moved->socket().is_open());
  EXPECT_EQ(other.result(), (Ended{asio::error::bad_descriptor, 0}));
}

TEST_F(BasicStream, AStreamConvertsToOneWithAnotherExecutor) {
  Connected<basic_stream<Unix, asio::io_context::executor_type>> plain(io.get_executor());
  plain.stream.expires_after(0s);
  unix_stream converted(std::move(plain.stream));
  EXPECT_TRUE(converted.socket().is_open());
  EXPECT_EQ(converted.get_executor(), asio::any_io_executor(io.get_executor()));
  Operation read;
  plain.send("four");
  converted.async_read_some(asio::buffer(pair.input), read.note());
  run();
  EXPECT_EQ(read.result(), success(4)) << "it has no deadline";
}

// --- Beyond Beast.

TEST_F(BasicStream, RearmAfterMovesTheDeadlinesOfPendingOperationsLater) {
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

TEST_F(BasicStream, RearmAfterGivesADeadlineToAnOperationThatHasNone) {
  Operation read;
  pair.read(read.note());
  stream.rearm_after(kSoon);
  run();
  EXPECT_EQ(read.result(), kTimedOut);
}

TEST_F(BasicStream, RearmAfterForeverTakesItAway) {
  Operation read;
  stream.expires_after(kSoon);
  pair.read(read.note());
  stream.rearm_after(kForever);
  run_for(kLater);
  EXPECT_FALSE(read.ended());
}

TEST_F(BasicStream, AnIdleTimeoutEndsWhatIsPendingInBothDirections) {
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

TEST_F(BasicStream, AnIdleTimeoutIsRestartedByEachTransferAndDoesNotEndABusyConnection) {
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

TEST_F(BasicStream, WritesKeepAPendingReadFromTheIdleTimeout) {
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

TEST_F(BasicStream, TimeInWhichNothingIsPendingDoesNotCountAsIdle) {
  stream.idle_after(kSoon);
  run_for(kLater);
  Operation read;
  pair.send("four");
  pair.read(read.note());
  run();
  EXPECT_EQ(read.result(), success(4));
}

TEST_F(BasicStream, AnIdleTimeoutAppliesToWhatIsPendingAlready) {
  Operation read;
  pair.read(read.note());
  stream.idle_after(kSoon);
  run();
  EXPECT_EQ(read.result(), kTimedOut);
}

TEST_F(BasicStream, OfIdleTimeoutAndDeadlineTheEarlierCounts) {
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

TEST_F(BasicStream, AnIdleTimeoutIsEndedByForeverAndByExpiresNever) {
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

TEST_F(BasicStream, AnIdleTimeoutOfAPendingOperationCanBeEnded) {
  Operation read;
  stream.idle_after(kSoon);
  pair.read(read.note());
  stream.idle_after(kForever);
  run_for(kLater);
  EXPECT_FALSE(read.ended());
}

} // namespace
} // namespace timers::test
