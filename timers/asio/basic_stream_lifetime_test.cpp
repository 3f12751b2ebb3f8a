// Cancelling and closing a basic_stream, moving and destroying it, and the end of its context
// (CONTRACT.md, lines 37 and 38).
#include "timers/asio/basic_stream.hpp"

#include "timers/testing/streams.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

namespace timers::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
namespace asio = boost::asio;
namespace beast = boost::beast;

class StreamLifetime : public StreamTest {};

TEST_F(StreamLifetime, CancelAbortsBothDirectionsAndLeavesTheSocketOpen) {
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

TEST_F(StreamLifetime, CloseAbortsEvenIfTheDeadlinePassesBeforeTheHandlerIsCalled) {
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

// The check arrives after the call, and before the handler.
TEST(StreamLifetimeOnAStrand, WhatACallAbortsHasNotTimedOutThoughItsDeadlineHadPassed) {
  for (const bool releases : {false, true}) {
    asio::thread_pool pool(2);
    const auto strand = asio::make_strand(pool.get_executor());
    Connected<unix_stream> pair(strand);
    std::optional<Unix::socket> released;
    Operation read;
    asio::post(strand, [&] {
      pair.stream.expires_after(kSoon);
      pair.read(read.note());
      std::this_thread::sleep_for(kLater); // the check waits for the strand
      if (releases) {
        released.emplace(pair.stream.release_socket());
      } else {
        pair.stream.close();
      }
    });
    pool.join();
    EXPECT_EQ(read.result(), kAborted) << (releases ? "released" : "closed");
  }
}

TEST_F(StreamLifetime, ADestroyedStreamAbortsItsOperations) {
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

TEST_F(StreamLifetime, AStreamMayBeDestroyedByItsHandler) {
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

TEST_F(StreamLifetime, AContextIsDestroyedWithOperationsPendingAndTheirHandlersAreNotCalled) {
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

TEST_F(StreamLifetime, AContextIsDestroyedWhileATimeoutIsOnItsWay) {
  asio::io_context other;
  auto session = std::make_shared<Connected<unix_stream>>(other.get_executor());
  session->stream.expires_after(1ms);
  session->read([session](beast::error_code, std::size_t) { FAIL(); });
  session.reset();
  std::this_thread::sleep_for(kSoon);
  other.poll_one(); // the pass, and the check is posted
}

TEST_F(StreamLifetime, RunReturnsSoonAfterTheLastOperation) {
  Operation read;
  stream.expires_after(kNever);
  pair.send("four");
  pair.read(read.note());
  const auto start = Clock::now();
  run();
  EXPECT_LT(Clock::now() - start, 5s); // not an hour
  EXPECT_EQ(read.result(), success(4));
}

TEST_F(StreamLifetime, AReleasedSocketIsOpenAndItsOperationsAreAborted) {
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

TEST_F(StreamLifetime, AMovedStreamTakesSocketAndDeadlineAlongAndLeavesANewOne) {
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

TEST_F(StreamLifetime, AStreamMovesWithPendingOperations) {
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

TEST_F(StreamLifetime, AStreamConvertsToOneWithAnotherExecutor) {
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

} // namespace
} // namespace timers::test
