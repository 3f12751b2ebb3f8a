// timers::steady_timer side by side with Asio's: where handlers run, what is kept busy, completion
// tokens, and cancellation of single waits.
#include "timers/asio/steady_timer.hpp"

#include "timers/testing/steady_timers.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context_strand.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <gmock/gmock.h>

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <thread>

namespace timers::test {
namespace {

using asio::cancellation_type;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

template <class Kind> class SteadyTimer : public TimerTest<Kind> {};
TYPED_TEST_SUITE(SteadyTimer, BothKinds, KindName);

TYPED_TEST(SteadyTimer, CompletesOnItsExecutor) {
  TEST_NAMES;
  const auto strand = asio::make_strand(io);
  typename TypeParam::template Timer<asio::strand<asio::io_context::executor_type>> timer(strand,
                                                                                          20ms);
  int calls = 0;
  const auto handler = [&](error_code) {
    ++calls;
    EXPECT_TRUE(strand.running_in_this_thread());
  };
  timer.async_wait(handler);
  timer.async_wait(handler);
  run_out(io);
  timer.async_wait(handler);
  timer.cancel();
  run_out(io);
  EXPECT_EQ(calls, 3);
}

TYPED_TEST(SteadyTimer, CompletesOnTheExecutorOfTheHandler) {
  TEST_NAMES;
  const auto strand = asio::make_strand(asio::any_io_executor(io.get_executor()));
  asio::io_context::strand old_strand(io);
  Timer timer(io, 20ms);
  int calls = 0;
  const auto start = [&] {
    timer.async_wait(asio::bind_executor(strand, [&](error_code) {
      ++calls;
      EXPECT_TRUE(strand.running_in_this_thread());
    }));
    timer.async_wait(asio::bind_executor(old_strand, [&](error_code) {
      ++calls;
      EXPECT_TRUE(old_strand.running_in_this_thread());
    }));
    timer.async_wait(asio::bind_executor(asio::any_io_executor(strand), [&](error_code) {
      ++calls;
      EXPECT_TRUE(strand.running_in_this_thread());
    }));
  };
  start();
  run_out(io);
  start();
  EXPECT_EQ(timer.cancel(), 3U);
  run_out(io);
  EXPECT_EQ(calls, 6);
}

TYPED_TEST(SteadyTimer, WaitsForAStrandThatIsBusy) {
  TEST_NAMES;
  const auto strand = asio::make_strand(io);
  Timer timer(io, Clock::time_point());
  asio::dispatch(strand, [&] {
    timer.async_wait(asio::bind_executor(strand, log.handler(2)));
    timer.cancel();
    log.handler(1)(kSuccess);
  });
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess), Pair(2, kAborted)));
}

// Were a turn posted to the strand that is running, the strand would have to be posted anew for it.
TYPED_TEST(SteadyTimer, TakesOneTurnOfTheContextForAWaitThatItsStrandCancels) {
  TEST_NAMES;
  const auto strand = asio::make_strand(io);
  Timer timer(strand, kLong);
  int rounds = 100;
  int cancelled = 0;
  std::function<void()> round = [&] {
    timer.expires_after(kLong);
    if (rounds-- > 0) {
      timer.async_wait([&](error_code) { ++cancelled; });
      asio::post(io, asio::bind_executor(strand, round));
    }
  };
  asio::dispatch(strand, round);
  const std::size_t turns = io.run_for(kPatience);
  EXPECT_EQ(cancelled, 100);
  EXPECT_LE(turns, 100U + 100U + 5U) << "but for the rounds, and a wake-up or two of the service";
}

TYPED_TEST(SteadyTimer, KeepsTheContextOfTheHandlerBusy) {
  TEST_NAMES;
  asio::io_context other;
  Timer timer(io, 50ms);
  std::thread::id called_on;
  timer.async_wait(
      asio::bind_executor(other, [&](error_code) { called_on = std::this_thread::get_id(); }));
  std::thread runs_other([&] { other.run_for(kPatience); });
  const auto id = runs_other.get_id();
  run_out(io);
  runs_other.join();
  EXPECT_TRUE(other.stopped());
  EXPECT_EQ(called_on, id);
}

TYPED_TEST(SteadyTimer, LetsTheContextOfTheHandlerGoWhenItIsCancelled) {
  TEST_NAMES;
  asio::io_context other;
  Timer timer(io, kLong);
  timer.async_wait(asio::bind_executor(other, log.handler(1)));
  other.run_for(20ms);
  EXPECT_FALSE(other.stopped());
  timer.cancel();
  EXPECT_THAT(log.entries, IsEmpty());
  run_out(io);
  EXPECT_THAT(log.entries, IsEmpty()) << "it was called off its executor";
  run_out(other);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted)));
}

TYPED_TEST(SteadyTimer, RunsOnThreadPoolsAndTheSystemExecutor) {
  TEST_NAMES;
  asio::thread_pool pool(2);
  Timer on_pool(pool, 20ms);
  Timer on_strand(asio::make_strand(pool), 20ms);
  Timer on_system(asio::system_executor(), 20ms);
  for (Timer* timer : {&on_pool, &on_strand, &on_system}) {
    auto expired = timer->async_wait(asio::use_future);
    ASSERT_EQ(expired.wait_for(kPatience), std::future_status::ready);
    expired.get();
    EXPECT_GE(Clock::now(), timer->expiry());
    timer->expires_after(kLong);
    auto cancelled = timer->async_wait(asio::use_future);
    EXPECT_EQ(timer->cancel(), 1U);
    ASSERT_EQ(cancelled.wait_for(kPatience), std::future_status::ready);
    EXPECT_THROW(cancelled.get(), boost::system::system_error);
  }
  pool.join();
}

TYPED_TEST(SteadyTimer, HasADefaultToken) {
  TEST_NAMES;
  using AwaitTimer =
      typename asio::use_awaitable_t<>::as_default_on_t<typename TypeParam::template Timer<>>;
  AwaitTimer timer(io, 20ms);
  bool done = false;
  asio::co_spawn(
      io,
      [&]() -> asio::awaitable<void> {
        co_await timer.async_wait();
        EXPECT_GE(Clock::now(), timer.expiry());
        done = true;
      },
      asio::detached);
  run_out(io);
  EXPECT_TRUE(done);
}

TYPED_TEST(SteadyTimer, WorksInCoroutinesAndDeferred) {
  TEST_NAMES;
  Timer timer(io, 20ms);
  bool done = false;
  asio::co_spawn(
      io,
      [&]() -> asio::awaitable<void> {
        co_await timer.async_wait(asio::use_awaitable);
        timer.expires_after(20ms);
        co_await timer.async_wait(asio::deferred);
        auto later = timer.async_wait(asio::deferred);
        timer.expires_after(20ms);
        co_await std::move(later);
        EXPECT_GE(Clock::now(), timer.expiry());
        asio::post(io, [&] { timer.cancel(); });
        timer.expires_after(kLong);
        EXPECT_THROW(co_await timer.async_wait(asio::use_awaitable), boost::system::system_error);
        done = true;
      },
      asio::detached);
  run_out(io);
  EXPECT_TRUE(done);
}

TYPED_TEST(SteadyTimer, IsCancelledByTheOtherSideOfAnAwaitableOperator) {
  TEST_NAMES;
  using namespace asio::experimental::awaitable_operators;
  Timer soon(io, 20ms);
  Timer late(io, kLong);
  std::size_t first = 9;
  asio::co_spawn(
      io,
      [&]() -> asio::awaitable<void> {
        const auto winner =
            co_await (late.async_wait(asio::use_awaitable) || soon.async_wait(asio::use_awaitable));
        first = winner.index();
        EXPECT_EQ(late.cancel(), 0U);
      },
      asio::detached);
  run_out(io);
  EXPECT_EQ(first, 1U);
}

// Any type of cancellation ends a wait, and only the one to which the slot belongs.
TYPED_TEST(SteadyTimer, CancelsTheWaitOfASlot) {
  TEST_NAMES;
  for (const auto type :
       {cancellation_type::terminal, cancellation_type::partial, cancellation_type::total}) {
    log.entries.clear();
    asio::cancellation_signal signal;
    Timer timer(io, 20ms);
    timer.async_wait(log.handler(1));
    timer.async_wait(asio::bind_cancellation_slot(signal.slot(), log.handler(2)));
    timer.async_wait(log.handler(3));
    signal.emit(cancellation_type::none);
    asio::post(io, [&] {
      signal.emit(type);
      signal.emit(type); // it is cancelled already
      EXPECT_THAT(log.entries, IsEmpty());
    });
    run_out(io);
    EXPECT_THAT(log.entries, ElementsAre(Pair(2, kAborted), Pair(1, kSuccess), Pair(3, kSuccess)));
    signal.emit(type); // it is over
  }
}

TYPED_TEST(SteadyTimer, CountsOnlyTheWaitsThatASlotHasLeft) {
  TEST_NAMES;
  asio::cancellation_signal signals[3];
  Timer timer(io, kLong);
  for (auto& signal : signals) {
    timer.async_wait(asio::bind_cancellation_slot(signal.slot(), log.handler(1)));
  }
  signals[2].emit(cancellation_type::terminal);
  timer.async_wait(log.handler(2));
  signals[0].emit(cancellation_type::terminal);
  EXPECT_EQ(timer.cancel(), 2U);
  run_out(io);
  EXPECT_EQ(log.entries.size(), 4U);
}

TYPED_TEST(SteadyTimer, EndsRunWhenASlotHasCancelledItsLastWait) {
  TEST_NAMES;
  asio::cancellation_signal signal;
  Timer timer(io, kLong);
  timer.async_wait(asio::bind_cancellation_slot(signal.slot(), log.handler(1)));
  asio::post(io, [&] { signal.emit(cancellation_type::total); });
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted)));
}

TYPED_TEST(SteadyTimer, IgnoresASlotWhoseTimerIsGone) {
  TEST_NAMES;
  asio::cancellation_signal signal;
  {
    auto context = std::make_unique<asio::io_context>();
    Timer timer(asio::make_strand(*context), kLong);
    timer.async_wait(asio::bind_cancellation_slot(signal.slot(), log.handler(1)));
    timer.cancel();
    context->run_for(kPatience);
    // Emitting now is what Asio allows last.
    signal.emit(cancellation_type::terminal);
  }
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted)));
}

} // namespace
} // namespace timers::test
