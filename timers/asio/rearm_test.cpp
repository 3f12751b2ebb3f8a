// What timers::steady_timer has beyond Asio's: rearm_at() and rearm_after(), slots that outlive
// moves, and assignment that cancels (CONTRACT.md, line 43).
#include "timers/asio/steady_timer.hpp"

#include "timers/testing/steady_timers.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include <gmock/gmock.h>

#include <memory>
#include <optional>

namespace timers::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using time_point = Clock::time_point;

template <class Kind> class Rearm : public TimerTest<Kind> {};
TYPED_TEST_SUITE(Rearm, WheelKinds, KindName);

TYPED_TEST(Rearm, LaterKeepsTheWaits) {
  TEST_NAMES;
  Timer timer(io, 20ms);
  std::optional<time_point> at;
  timer.async_wait([&](error_code error) {
    EXPECT_EQ(error, kSuccess);
    at = Clock::now();
  });
  timer.async_wait(log.handler(1));
  const time_point expiry = Clock::now() + 80ms;
  timer.rearm_at(expiry);
  EXPECT_EQ(timer.expiry(), expiry);
  run_out(io);
  ASSERT_TRUE(at);
  EXPECT_GE(*at, expiry);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess)));
}

TYPED_TEST(Rearm, AgainAndAgainMovesTheSameWait) {
  TEST_NAMES;
  Timer timer(io, 30ms);
  timer.async_wait(log.handler(1));
  time_point expiry;
  for (int turn = 0; turn < 10; ++turn) {
    io.run_for(10ms);
    expiry = Clock::now() + 30ms;
    timer.rearm_after(30ms);
    if (!log.entries.empty()) {
      return; // a slow machine: the timer had expired before it was moved
    }
  }
  run_out(io);
  EXPECT_GE(Clock::now(), expiry);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess)));
}

TYPED_TEST(Rearm, EarlierKeepsTheWaits) {
  TEST_NAMES;
  Timer timer(io, kLong);
  timer.async_wait(log.handler(1));
  timer.async_wait(log.handler(2));
  timer.rearm_after(20ms);
  run_out(io);
  EXPECT_GE(Clock::now(), timer.expiry());
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess), Pair(2, kSuccess)));
}

TYPED_TEST(Rearm, ToThePastCompletesSoonAndNotInside) {
  TEST_NAMES;
  Timer timer(io, kLong);
  timer.async_wait(log.handler(1));
  asio::post(io, [&] {
    timer.rearm_at(time_point());
    EXPECT_THAT(log.entries, IsEmpty());
  });
  run_out(io);
  timer.expires_after(kLong);
  timer.async_wait(log.handler(2));
  timer.rearm_after(-1h);
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess), Pair(2, kSuccess)));
}

// It was started when its time was over, and its turn was on the way.
TYPED_TEST(Rearm, TakesBackAWaitWhoseTimeIsOverAsLongAsNothingHasRun) {
  TEST_NAMES;
  Timer timer(io);
  timer.async_wait(log.handler(1));
  timer.rearm_after(kLong);
  io.run_for(50ms);
  EXPECT_THAT(log.entries, IsEmpty());
  timer.rearm_after(20ms);
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess)));
}

TYPED_TEST(Rearm, ToNeverAndBack) {
  TEST_NAMES;
  Timer timer(io, 20ms);
  timer.async_wait(log.handler(1));
  timer.rearm_at(time_point::max());
  io.run_for(80ms);
  EXPECT_FALSE(io.stopped());
  EXPECT_THAT(log.entries, IsEmpty());
  timer.rearm_after(20ms);
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess)));
  timer.rearm_after(std::chrono::hours::max());
  EXPECT_EQ(timer.expiry(), time_point::max());
}

TYPED_TEST(Rearm, WithoutWaitsSetsTheExpiry) {
  TEST_NAMES;
  Timer timer(io);
  timer.rearm_after(kLong);
  EXPECT_GT(timer.expiry(), Clock::now());
  timer.async_wait(log.handler(1));
  timer.cancel();
  timer.rearm_after(20ms);
  timer.async_wait(log.handler(2));
  run_out(io);
  timer.rearm_at(time_point());
  timer.async_wait(log.handler(3));
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted), Pair(2, kSuccess), Pair(3, kSuccess)));
}

TYPED_TEST(Rearm, InAHandlerOfTheSameTimerStartsAnew) {
  TEST_NAMES;
  Timer timer(io, 20ms);
  timer.async_wait([&](error_code) {
    timer.rearm_after(20ms);
    timer.async_wait(log.handler(1));
  });
  run_out(io);
  EXPECT_GE(Clock::now(), timer.expiry());
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess)));
}

TYPED_TEST(Rearm, StillCancelsAndCounts) {
  TEST_NAMES;
  Timer timer(io, kLong);
  timer.async_wait(log.handler(1));
  timer.async_wait(log.handler(2));
  timer.rearm_after(2 * kLong);
  EXPECT_EQ(timer.cancel_one(), 1U);
  timer.rearm_after(kLong);
  EXPECT_EQ(timer.expires_after(kLong), 1U);
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted), Pair(2, kAborted)));
}

TYPED_TEST(Rearm, GoesOnAfterAMove) {
  TEST_NAMES;
  Timer from(io, 20ms);
  from.async_wait(log.handler(1));
  from.rearm_after(kLong);
  Timer to(std::move(from));
  from.rearm_after(0s); // as new: it has no waits
  io.run_for(50ms);
  EXPECT_THAT(log.entries, IsEmpty());
  to.rearm_after(20ms);
  run_out(io);
  EXPECT_GE(Clock::now(), to.expiry());
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess)));
}

// Asio's documentation says so too, but its timers of one context do otherwise.
TYPED_TEST(Rearm, AnAssignedTimerHasCancelledItsWaits) {
  TEST_NAMES;
  Timer from(io, 20ms);
  from.async_wait(log.handler(1));
  Timer to(io, kLong);
  to.async_wait(log.handler(2));
  to = std::move(from);
  Timer& self = to;
  to = std::move(self);
  EXPECT_EQ(to.cancel_one(), 1U);
  to = Timer(io);
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(2, kAborted), Pair(1, kAborted)));
}

TYPED_TEST(Rearm, ASlotFollowsItsWaitWhenTheTimerMoves) {
  TEST_NAMES;
  asio::cancellation_signal signal;
  auto from = std::make_unique<Timer>(io, kLong);
  from->async_wait(asio::bind_cancellation_slot(signal.slot(), log.handler(1)));
  Timer to(std::move(*from));
  from.reset();
  signal.emit(asio::cancellation_type::terminal);
  EXPECT_EQ(to.cancel(), 0U);
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted)));
}

// A strand must not be kept beyond its context.
TYPED_TEST(Rearm, ASlotMayOutliveTheTimerAndItsContext) {
  TEST_NAMES;
  asio::cancellation_signal signal;
  {
    asio::io_context context;
    Timer timer(asio::make_strand(context), kLong);
    timer.async_wait(asio::bind_cancellation_slot(signal.slot(), log.handler(1)));
  }
  signal.emit(asio::cancellation_type::terminal);
  EXPECT_THAT(log.entries, IsEmpty());
}

} // namespace
} // namespace timers::test
