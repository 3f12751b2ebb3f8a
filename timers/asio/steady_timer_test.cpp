// timers::steady_timer as a user of Asio's timer knows it, side by side with Asio's: times, counts,
// order, moves and members. wait_queue_test.cpp has lifetimes and memory.
#include "timers/asio/steady_timer.hpp"

#include "timers/testing/steady_timers.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <gmock/gmock.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <type_traits>

namespace timers::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using time_point = Clock::time_point;

template <class Kind> class SteadyTimer : public TimerTest<Kind> {};
TYPED_TEST_SUITE(SteadyTimer, BothKinds, KindName);

TYPED_TEST(SteadyTimer, HasTheTypesOfAsiosTimer) {
  TEST_NAMES;
  using Asio = asio::steady_timer;
  static_assert(std::is_same_v<typename Timer::executor_type, Asio::executor_type>);
  static_assert(std::is_same_v<typename Timer::clock_type, Asio::clock_type>);
  static_assert(std::is_same_v<typename Timer::duration, Asio::duration>);
  static_assert(std::is_same_v<typename Timer::time_point, Asio::time_point>);
  static_assert(std::is_same_v<typename Timer::traits_type, Asio::traits_type>);
  using IoTimer = typename TypeParam::template Timer<asio::io_context::executor_type>;
  static_assert(std::is_same_v<
                typename Timer::template rebind_executor<typename IoTimer::executor_type>::other,
                IoTimer>);
  static_assert(!std::is_copy_constructible_v<Timer> && !std::is_copy_assignable_v<Timer>);
  static_assert(!std::is_convertible_v<asio::any_io_executor, Timer>);
  static_assert(!std::is_convertible_v<asio::io_context&, Timer>);
}

TYPED_TEST(SteadyTimer, IsMadeFromAnExecutorOrAContext) {
  TEST_NAMES;
  const asio::any_io_executor executor = io.get_executor();
  const time_point at = Clock::now() + kLong;
  EXPECT_EQ(Timer(executor).expiry(), time_point());
  EXPECT_EQ(Timer(io).expiry(), time_point());
  EXPECT_EQ(Timer(executor, at).expiry(), at);
  EXPECT_EQ(Timer(io, at).expiry(), at);
  EXPECT_GE(Timer(executor, kLong).expiry(), at);
  EXPECT_GE(Timer(io, kLong).expiry(), at);
  EXPECT_LT(Timer(io, kLong).expiry(), at + kPatience);
  EXPECT_EQ(Timer(executor).get_executor(), executor);
  EXPECT_EQ(Timer(io).get_executor(), executor);
}

TYPED_TEST(SteadyTimer, ExpiresAtItsTimeAndNotBefore) {
  TEST_NAMES;
  Timer timer(io, 30ms);
  std::optional<time_point> at;
  timer.async_wait([&](error_code error) {
    EXPECT_EQ(error, kSuccess);
    at = Clock::now();
  });
  run_out(io);
  ASSERT_TRUE(at);
  EXPECT_GE(*at, timer.expiry());
}

TYPED_TEST(SteadyTimer, HasExpiredWhenItWasNotToldWhenTo) {
  TEST_NAMES;
  Timer timer(io);
  timer.async_wait(log.handler(1));
  run_out(io);
  timer.expires_at(time_point::min());
  timer.async_wait(log.handler(2));
  run_out(io);
  timer.expires_after(-1s);
  timer.async_wait(log.handler(3));
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess), Pair(2, kSuccess), Pair(3, kSuccess)));
}

TYPED_TEST(SteadyTimer, CompletesAWaitOfTheThreadThatOnlyPolls) {
  TEST_NAMES;
  Timer timer(io, 20ms);
  timer.async_wait(log.handler(1));
  for (const auto start = Clock::now(); log.entries.empty() && Clock::now() - start < kPatience;) {
    io.poll();
    io.restart();
  }
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess)));
}

TYPED_TEST(SteadyTimer, CompletesWaitsInTheOrderInWhichTheyWereStarted) {
  TEST_NAMES;
  Timer timer(io, 20ms);
  for (int number = 1; number <= 4; ++number) {
    timer.async_wait(log.handler(number));
  }
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess), Pair(2, kSuccess), Pair(3, kSuccess),
                                       Pair(4, kSuccess)));
}

TYPED_TEST(SteadyTimer, CancelsAllInOrderAndCountsThem) {
  TEST_NAMES;
  Timer timer(io, kLong);
  EXPECT_EQ(timer.cancel(), 0U);
  for (int number = 1; number <= 3; ++number) {
    timer.async_wait(log.handler(number));
  }
  EXPECT_EQ(timer.cancel(), 3U);
  EXPECT_EQ(timer.cancel(), 0U);
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted), Pair(2, kAborted), Pair(3, kAborted)));
}

TYPED_TEST(SteadyTimer, CancelsTheFirstStartedWhenOneIsToGo) {
  TEST_NAMES;
  Timer timer(io, 20ms);
  EXPECT_EQ(timer.cancel_one(), 0U);
  for (int number = 1; number <= 3; ++number) {
    timer.async_wait(log.handler(number));
  }
  EXPECT_EQ(timer.cancel_one(), 1U);
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted), Pair(2, kSuccess), Pair(3, kSuccess)));
  EXPECT_EQ(timer.cancel_one(), 0U);
  EXPECT_EQ(timer.cancel(), 0U);
}

TYPED_TEST(SteadyTimer, CancelsAWaitWhoseTimeIsOverAsLongAsNothingHasRun) {
  TEST_NAMES;
  Timer timer(io);
  timer.async_wait(log.handler(1));
  timer.async_wait(log.handler(2));
  EXPECT_EQ(timer.cancel(), 2U);
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted), Pair(2, kAborted)));
}

TYPED_TEST(SteadyTimer, DoesNotCancelWhatHasExpired) {
  TEST_NAMES;
  Timer timer(io, 20ms);
  timer.async_wait([&](error_code error) {
    log.handler(1)(error);
    EXPECT_EQ(timer.cancel(), 0U);
  });
  timer.async_wait(log.handler(2));
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess), Pair(2, kSuccess)));
}

TYPED_TEST(SteadyTimer, CancelsWhenItsExpiryIsSet) {
  TEST_NAMES;
  Timer timer(io, kLong);
  timer.async_wait(log.handler(1));
  timer.async_wait(log.handler(2));
  const time_point at = Clock::now() + kLong;
  EXPECT_EQ(timer.expires_at(at), 2U);
  EXPECT_EQ(timer.expiry(), at);
  EXPECT_EQ(timer.expires_after(kLong), 0U);
  EXPECT_GE(timer.expiry(), at);
  timer.async_wait(log.handler(3));
  EXPECT_EQ(timer.expires_after(20ms), 1U);
  timer.async_wait(log.handler(4));
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted), Pair(2, kAborted), Pair(3, kAborted),
                                       Pair(4, kSuccess)));
}

TYPED_TEST(SteadyTimer, ComesEarlierWhenItsExpiryIsSetEarlier) {
  TEST_NAMES;
  Timer timer(io, kLong);
  timer.async_wait(log.handler(1));
  timer.expires_after(20ms);
  timer.async_wait(log.handler(2));
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted), Pair(2, kSuccess)));
}

TYPED_TEST(SteadyTimer, SaturatesWhatNoTimePointHolds) {
  TEST_NAMES;
  Timer timer(io, Timer::duration::max());
  EXPECT_EQ(timer.expiry(), time_point::max());
  timer.expires_after(Timer::duration::max() - 1ns);
  EXPECT_EQ(timer.expiry(), time_point::max());
  timer.async_wait(log.handler(1));
  io.run_for(30ms);
  EXPECT_THAT(log.entries, IsEmpty());
  timer.expires_after(Timer::duration::min());
  EXPECT_LT(timer.expiry(), time_point());
  timer.async_wait(log.handler(2));
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted), Pair(2, kSuccess)));
}

// The idiom of a condition variable: wait for ever, until somebody cancels.
TYPED_TEST(SteadyTimer, NeverExpiresAtTheLastTimePointButKeepsRunBusy) {
  TEST_NAMES;
  Timer condition(io, time_point::max());
  condition.async_wait(log.handler(1));
  condition.async_wait(log.handler(2));
  io.run_for(50ms);
  EXPECT_FALSE(io.stopped()) << "a wait that is pending is work";
  EXPECT_THAT(log.entries, IsEmpty());
  EXPECT_EQ(condition.cancel_one(), 1U);
  io.run_for(50ms);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted)));
  EXPECT_EQ(condition.cancel(), 1U);
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted), Pair(2, kAborted)));
}

TYPED_TEST(SteadyTimer, LetsRunReturnSoonAfterTheLastWaitWasCancelled) {
  TEST_NAMES;
  Timer first(io, kLong);
  Timer second(io, 2 * kLong);
  first.async_wait(log.handler(1));
  second.async_wait(log.handler(2));
  asio::post(io, [&] {
    first.cancel();
    second.cancel();
  });
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted), Pair(2, kAborted)));
}

TYPED_TEST(SteadyTimer, NeverCallsAHandlerInsideAFunctionOfTheTimer) {
  TEST_NAMES;
  bool inside = false;
  std::size_t calls = 0;
  const auto handler = [&](error_code) {
    EXPECT_FALSE(inside);
    ++calls;
  };
  // On a thread that runs the executor, where it would be allowed to call a handler at once.
  asio::post(io, [&] {
    inside = true;
    std::optional<Timer> timer(std::in_place, io);
    timer->async_wait(handler); // it has expired
    timer->expires_after(kLong);
    timer->async_wait(handler);
    timer->async_wait(handler);
    timer->cancel_one();
    timer->cancel();
    timer->async_wait(handler);
    timer->expires_at(Clock::now());
    timer->async_wait(handler);
    timer->async_wait(handler);
    timer.reset();
    inside = false;
  });
  run_out(io);
  EXPECT_EQ(calls, 6U);
}

TYPED_TEST(SteadyTimer, MovesWithItsPendingWaits) {
  TEST_NAMES;
  Timer from(io, 20ms);
  const time_point expiry = from.expiry();
  from.async_wait(log.handler(1));
  from.async_wait(log.handler(2));
  Timer to(std::move(from));
  EXPECT_EQ(to.expiry(), expiry);
  EXPECT_EQ(to.get_executor(), io.get_executor());
  to.async_wait(log.handler(3));
  EXPECT_EQ(to.cancel_one(), 1U);
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted), Pair(2, kSuccess), Pair(3, kSuccess)));
}

TYPED_TEST(SteadyTimer, IsAsNewWhenItWasMovedFrom) {
  TEST_NAMES;
  Timer from(io, kLong);
  from.async_wait(log.handler(1));
  Timer to(std::move(from));
  EXPECT_EQ(from.expiry(), time_point());
  EXPECT_EQ(from.get_executor(), io.get_executor());
  EXPECT_EQ(from.cancel(), 0U);
  from.async_wait(log.handler(2));
  io.run_for(50ms);
  EXPECT_THAT(log.entries, ElementsAre(Pair(2, kSuccess)));
  EXPECT_EQ(to.cancel(), 1U);
  run_out(io);
}

TYPED_TEST(SteadyTimer, IsAssignedWithItsPendingWaits) {
  TEST_NAMES;
  asio::io_context other;
  Timer from(io, 20ms);
  from.async_wait(log.handler(1));
  Timer to(other, kLong);
  to.async_wait(log.handler(2));
  to = std::move(from);
  EXPECT_EQ(to.get_executor(), io.get_executor());
  run_out(other);
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(2, kAborted), Pair(1, kSuccess)));
}

TYPED_TEST(SteadyTimer, ConvertsFromATimerOfAnotherExecutorWithItsWaits) {
  TEST_NAMES;
  using IoTimer = typename TypeParam::template Timer<asio::io_context::executor_type>;
  IoTimer first(io, 20ms);
  first.async_wait(log.handler(1));
  Timer timer(std::move(first));
  IoTimer second(io, 40ms);
  second.async_wait(log.handler(2));
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess), Pair(2, kSuccess)));
  second.expires_after(20ms);
  second.async_wait(log.handler(3));
  timer = std::move(second);
  EXPECT_EQ(second.expiry(), time_point());
  timer.async_wait(log.handler(4));
  EXPECT_EQ(timer.cancel_one(), 1U);
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess), Pair(2, kSuccess), Pair(3, kAborted),
                                       Pair(4, kSuccess)));
  static_assert(!std::is_constructible_v<IoTimer, Timer>);
}

TYPED_TEST(SteadyTimer, CancelsItsWaitsWhenItIsDestroyed) {
  TEST_NAMES;
  {
    Timer timer(io, kLong);
    timer.async_wait(log.handler(1));
    timer.async_wait(log.handler(2));
  }
  EXPECT_THAT(log.entries, IsEmpty());
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted), Pair(2, kAborted)));
}

TYPED_TEST(SteadyTimer, MayBeUsedAndDestroyedByItsHandlers) {
  TEST_NAMES;
  auto timer = std::make_unique<Timer>(io, 20ms);
  timer->async_wait([&](error_code) {
    timer->expires_after(20ms);
    timer->async_wait([&](error_code error) {
      log.handler(1)(error);
      timer.reset();
    });
    timer->async_wait(log.handler(2));
  });
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess), Pair(2, kSuccess)));
}

TYPED_TEST(SteadyTimer, CompletesTheOthersWhenAHandlerThrows) {
  TEST_NAMES;
  Timer timer(io, 20ms);
  timer.async_wait([](error_code) { throw std::runtime_error("from a handler"); });
  timer.async_wait(log.handler(1));
  EXPECT_THROW(io.run_for(kPatience), std::runtime_error);
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess)));
}

TYPED_TEST(SteadyTimer, RunsAgainAfterItsContextWasStopped) {
  TEST_NAMES;
  Timer timer(io, 20ms);
  timer.async_wait(log.handler(1));
  io.stop();
  EXPECT_EQ(io.run(), 0U);
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess)));
}

TYPED_TEST(SteadyTimer, BlocksUntilItsTimeIsOver) {
  TEST_NAMES;
  Timer timer(io, 20ms);
  timer.wait();
  EXPECT_GE(Clock::now(), timer.expiry());
  timer.expires_after(20ms);
  error_code error = kAborted;
  timer.wait(error);
  EXPECT_EQ(error, kSuccess);
  EXPECT_GE(Clock::now(), timer.expiry());
  timer.expires_at(time_point::min());
  timer.wait();
}

#if !defined(BOOST_ASIO_NO_DEPRECATED) && BOOST_ASIO_VERSION < 103200
TYPED_TEST(SteadyTimer, HasTheDeprecatedMembersToo) {
  TEST_NAMES;
  Timer timer(io, kLong);
  const auto start = [&] { timer.async_wait([](error_code) {}); };
  error_code error = kAborted;
  start();
  EXPECT_EQ(timer.cancel(error), 1U);
  EXPECT_EQ(std::exchange(error, kAborted), kSuccess);
  start();
  EXPECT_EQ(timer.cancel_one(error), 1U);
  EXPECT_EQ(std::exchange(error, kAborted), kSuccess);
  start();
  EXPECT_EQ(timer.expires_at(time_point() + 1s, error), 1U);
  EXPECT_EQ(std::exchange(error, kAborted), kSuccess);
  EXPECT_EQ(timer.expires_at(), time_point() + 1s);
  EXPECT_LT(timer.expires_from_now(), 0s);
  start();
  EXPECT_EQ(timer.expires_from_now(kLong), 1U);
  start();
  EXPECT_EQ(timer.expires_from_now(kLong, error), 1U);
  EXPECT_EQ(error, kSuccess);
  EXPECT_GT(timer.expires_from_now(), kLong - kPatience);
  timer.expires_at(time_point::min());
  EXPECT_EQ(timer.expires_from_now(), Timer::duration::min());
  timer.expires_at(time_point::max());
  EXPECT_GT(timer.expires_from_now(), kLong);
  run_out(io);
}
#endif

} // namespace
} // namespace timers::test
