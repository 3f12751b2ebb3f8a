// What the tokens of cancel_after.hpp do to operations, on one thread (CONTRACT.md, line 44).
#include "timers/asio/cancel_after.hpp"

#include "timers/testing/asio_testing.hpp"

#include <boost/asio.hpp>
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace timers::test {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

class Operations : public SocketTest {
protected:
  ManualOperation operation{io.get_executor()};
};

using CancelAfter = Operations;
using CancelAt = Operations;
using WithTimeout = Operations;
using Deadline = Operations;
using Slots = Operations;

TEST_F(CancelAfter, CancelsAReadThatStalls) {
  const auto begin = Clock::now();
  sockets.near.async_read_some(buffer, timers::cancel_after(20ms, outcome.handler()));
  io.run();
  EXPECT_EQ(outcome.calls, 1);
  EXPECT_EQ(outcome.error, kAborted);
  EXPECT_GE(Clock::now() - begin, 20ms);
}

TEST_F(CancelAfter, LeavesAReadInTimeAlone) {
  send("hello");
  sockets.near.async_read_some(buffer, timers::cancel_after(1h, outcome.handler()));
  io.run(); // which does not wait for the hour
  EXPECT_EQ(outcome.calls, 1);
  EXPECT_EQ(outcome.error, ErrorCode());
  EXPECT_EQ(outcome.size, 5u);
}

TEST_F(CancelAfter, DoesNotCancelWhatHasCompleted) {
  operation.async_run(timers::cancel_after(20ms, outcome.handler()));
  operation.complete();
  asio::steady_timer later(io, 60ms);
  later.async_wait([](ErrorCode) {});
  io.run();
  EXPECT_EQ(outcome.calls, 1);
  EXPECT_EQ(operation.cancels, 0);
}

TEST_F(CancelAfter, CancelsAtOnceButNotInTheInitiatingFunction) {
  for (const auto timeout : {0ms, -5ms}) {
    io.restart();
    outcome = {};
    sockets.near.async_read_some(buffer, timers::cancel_after(timeout, outcome.handler()));
    EXPECT_EQ(outcome.calls, 0);
    io.run();
    EXPECT_EQ(outcome.error, kAborted);
  }
}

TEST_F(CancelAfter, TheLongestDurationIsNever) {
  operation.async_run(timers::cancel_after(std::chrono::hours::max(), outcome.handler()));
  io.poll();
  EXPECT_EQ(operation.cancels, 0);
  operation.complete();
  EXPECT_EQ(outcome.calls, 1);
}

TEST_F(CancelAfter, EmitsTheGivenType) {
  for (const auto type : {asio::cancellation_type::total, asio::cancellation_type::partial}) {
    io.restart();
    operation.async_run(timers::cancel_after(1ms, type, outcome.handler()));
    io.run();
    EXPECT_EQ(operation.type, type);
    operation.complete(kAborted);
  }
  io.restart();
  operation.async_run(timers::cancel_after(1ms, outcome.handler()));
  io.run();
  EXPECT_EQ(operation.type, asio::cancellation_type::terminal);
  operation.complete(kAborted);
}

TEST_F(CancelAfter, EmitsOnceForEachOperation) {
  operation.async_run(timers::cancel_after(1ms, outcome.handler()));
  io.run(); // with nothing to do after the emission, for the operation ignores it
  io.restart();
  io.run_for(50ms);
  EXPECT_EQ(operation.cancels, 1);
  operation.complete();
}

TEST_F(CancelAfter, DeliversASuccessThatComesAfterTheEmission) {
  deadline mine{io};
  operation.async_run(with_timeout(mine, 1ms, outcome.handler()));
  io.run();
  EXPECT_EQ(operation.cancels, 1);
  operation.complete();
  EXPECT_EQ(outcome.error, ErrorCode());
  EXPECT_TRUE(mine.expired());
}

TEST_F(CancelAfter, LetsAnOperationEndThatCannotBeCancelled) {
  asio::post(io, timers::cancel_after(0ms, asio::bind_executor(io, [&] { ++outcome.calls; })));
  io.run();
  EXPECT_EQ(outcome.calls, 1);
}

TEST_F(CancelAfter, CallsTheHandlerWhereTheOperationCompletes) {
  deadline mine{io};
  bool completes = false;
  int called = 0;
  const auto handler = [&](ErrorCode) { called += completes; };
  const auto complete = [&] {
    completes = true;
    operation.complete();
    completes = false;
  };
  operation.async_run(timers::cancel_after(1h, handler));
  complete();
  operation.async_run(timers::cancel_after(mine, 1h, handler));
  complete();
  EXPECT_EQ(called, 2);
}

TEST_F(CancelAfter, TakesHandlersThatCanOnlyBeMoved) {
  auto owned = std::make_unique<int>(1);
  operation.async_run(timers::cancel_after(1h, [&, owned = std::move(owned)](ErrorCode) mutable {
    outcome.calls = *std::exchange(owned, nullptr);
  }));
  operation.complete();
  EXPECT_EQ(outcome.calls, 1);
}

TEST_F(CancelAfter, LetsTheHandlerStartTheNextOperation) {
  deadline mine{io};
  std::function<void(ErrorCode)> next = [&](ErrorCode error) {
    EXPECT_EQ(error, kAborted);
    if (++outcome.calls < 5) {
      sockets.near.async_wait(LocalSocket::wait_read, timers::cancel_after(mine, 1ms, next));
    }
  };
  sockets.near.async_wait(LocalSocket::wait_read, timers::cancel_after(mine, 1ms, next));
  io.run();
  EXPECT_EQ(outcome.calls, 5);
}

TEST_F(CancelAfter, DisarmsWhenTheInitiationThrows) {
  asio::cancellation_signal signal;
  const auto throwing = [](auto&&) { throw std::bad_alloc(); };
  auto token = timers::cancel_after(20ms, asio::bind_executor(io, outcome.handler()));
  using Token = decltype(token);
  EXPECT_THROW((asio::async_initiate<Token, void(ErrorCode)>(throwing, token)), std::bad_alloc);
  auto slotted = timers::cancel_after(
      20ms,
      asio::bind_cancellation_slot(signal.slot(), asio::bind_executor(io, outcome.handler())));
  EXPECT_THROW((asio::async_initiate<decltype(slotted), void(ErrorCode)>(throwing, slotted)),
               std::bad_alloc);
  EXPECT_FALSE(signal.slot().has_handler());
  io.run();
  EXPECT_EQ(outcome.calls, 0);
}

TEST_F(CancelAt, CancelsAtATime) {
  const auto time = Clock::now() + 20ms;
  sockets.near.async_read_some(buffer, timers::cancel_at(time, outcome.handler()));
  io.run();
  EXPECT_EQ(outcome.error, kAborted);
  EXPECT_GE(Clock::now(), time);
}

TEST_F(CancelAt, TakesATypeAndADeadline) {
  deadline mine{io};
  const auto type = asio::cancellation_type::total;
  operation.async_run(timers::cancel_at(mine, Clock::now() + 1ms, type, outcome.handler()));
  io.run();
  operation.complete(kAborted);
  EXPECT_EQ(operation.type, type);
  EXPECT_TRUE(mine.expired());
  io.restart();
  operation.async_run(timers::cancel_at(mine, Clock::now(), outcome.handler()));
  io.run();
  EXPECT_EQ(operation.type, asio::cancellation_type::terminal);
  operation.complete();
  operation.async_run(timers::cancel_at(Clock::time_point::max(), type, outcome.handler()));
  io.poll();
  EXPECT_EQ(operation.cancels, 2);
  operation.complete();
}

TEST_F(CancelAt, ATimeInThePastIsOverAtOnce) {
  sockets.near.async_read_some(buffer, timers::cancel_at(Clock::time_point(), outcome.handler()));
  EXPECT_EQ(outcome.calls, 0);
  io.run();
  EXPECT_EQ(outcome.error, kAborted);
}

TEST_F(WithTimeout, TellsATimeout) {
  sockets.near.async_read_some(buffer, with_timeout(20ms, outcome.handler()));
  io.run();
  EXPECT_EQ(outcome.error, kTimedOut);
}

TEST_F(WithTimeout, TellsItFromTheUsersCancellation) {
  asio::cancellation_signal signal;
  sockets.near.async_read_some(
      buffer, with_timeout(1h, asio::bind_cancellation_slot(signal.slot(), outcome.handler())));
  asio::post(io, [&] { signal.emit(asio::cancellation_type::terminal); });
  io.run();
  EXPECT_EQ(outcome.error, kAborted);
  io.restart();
  sockets.near.async_read_some(buffer, with_timeout(1h, outcome.handler()));
  asio::post(io, [&] { sockets.near.cancel(); });
  io.run();
  EXPECT_EQ(outcome.calls, 2);
  EXPECT_EQ(outcome.error, kAborted);
}

TEST_F(WithTimeout, KeepsOtherErrors) {
  sockets.far.close();
  sockets.near.async_read_some(buffer, with_timeout(1h, outcome.handler()));
  io.run();
  EXPECT_EQ(outcome.error, asio::error::eof);
  io.restart();
  operation.async_run(with_timeout(1ms, outcome.handler()));
  io.run();
  operation.complete(asio::error::eof); // after the emission
  EXPECT_EQ(outcome.error, asio::error::eof);
}

TEST_F(WithTimeout, TellsThroughAnExceptionPointer) {
  const auto wait = [this]() -> asio::awaitable<int> {
    asio::steady_timer timer(io, 1h);
    co_await timer.async_wait(asio::use_awaitable);
    co_return 1;
  };
  std::exception_ptr thrown;
  asio::co_spawn(io, wait(), with_timeout(20ms, [&](std::exception_ptr exception, int) {
                   thrown = exception;
                 }));
  io.run();
  ASSERT_TRUE(thrown);
  try {
    std::rethrow_exception(thrown);
  } catch (const boost::system::system_error& error) {
    EXPECT_EQ(error.code(), kTimedOut);
  }
}

TEST_F(WithTimeout, KeepsOtherExceptionsAndNone) {
  for (const bool throws : {false, true}) {
    io.restart();
    const auto late = [&]() -> asio::awaitable<void> {
      co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
      asio::steady_timer timer(io, 40ms);
      co_await timer.async_wait(asio::use_awaitable);
      if (throws) {
        throw std::runtime_error("late");
      }
    };
    std::exception_ptr thrown;
    asio::co_spawn(io, late(),
                   with_timeout(1ms, [&](std::exception_ptr exception) { thrown = exception; }));
    io.run();
    EXPECT_EQ(thrown != nullptr, throws);
    if (thrown) {
      EXPECT_THROW(std::rethrow_exception(thrown), std::runtime_error);
    }
  }
}

TEST_F(WithTimeout, TheInnermostTimeoutOfNestedOnesIsTold) {
  sockets.near.async_read_some(buffer, with_timeout(1h, with_timeout(1ms, outcome.handler())));
  io.run();
  EXPECT_EQ(outcome.error, kTimedOut);
  io.restart();
  sockets.near.async_read_some(buffer, with_timeout(1ms, with_timeout(1h, outcome.handler())));
  io.run();
  EXPECT_EQ(outcome.error, kTimedOut);
  io.restart();
  sockets.near.async_read_some(buffer,
                               with_timeout(1h, timers::cancel_after(1ms, outcome.handler())));
  io.run();
  EXPECT_EQ(outcome.error, kAborted);
}

TEST_F(Deadline, TellsWhetherItCancelledTheLastOperation) {
  deadline mine{io};
  EXPECT_FALSE(mine.expired());
  sockets.near.async_read_some(buffer, timers::cancel_after(mine, 1ms, outcome.handler()));
  io.run();
  EXPECT_EQ(outcome.error, kAborted);
  EXPECT_TRUE(mine.expired());
  send("x");
  sockets.near.async_read_some(buffer, timers::cancel_after(mine, 1h, outcome.handler()));
  EXPECT_FALSE(mine.expired());
  io.restart();
  io.run();
  EXPECT_EQ(outcome.error, ErrorCode());
  EXPECT_FALSE(mine.expired());
}

TEST_F(Deadline, EachOperationHasItsOwnTime) {
  deadline mine{io};
  for (const auto timeout : {1h, 2h}) { // filed at one hour
    operation.async_run(timers::cancel_after(mine, timeout, outcome.handler()));
    operation.complete();
  }
  const auto begin = Clock::now();
  sockets.near.async_read_some(buffer, timers::cancel_after(mine, 20ms, outcome.handler()));
  io.run();
  EXPECT_EQ(outcome.error, kAborted);
  EXPECT_GE(Clock::now() - begin, 20ms);
  // Filed at 20 ms from before, so that a check comes too early and files the timer again.
  io.restart();
  operation.async_run(timers::cancel_after(mine, 20ms, outcome.handler()));
  operation.complete();
  const auto second = Clock::now();
  sockets.near.async_read_some(buffer, timers::cancel_after(mine, 60ms, outcome.handler()));
  io.run();
  EXPECT_EQ(outcome.error, kAborted);
  EXPECT_GE(Clock::now() - second, 60ms);
}

TEST_F(Deadline, ForgetsHowTheLastOperationIsCancelled) {
  deadline mine{io};
  operation.async_run(timers::cancel_after(mine, 1h, outcome.handler()));
  operation.complete();
  auto token = timers::cancel_after(mine, 1ms, asio::bind_executor(io, outcome.handler()));
  std::function<void()> complete;
  asio::async_initiate<decltype(token), void(ErrorCode)>(
      [&](auto handler) { // which cannot be cancelled
        complete = [kept = std::make_shared<decltype(handler)>(std::move(handler))] {
          std::move (*kept)(ErrorCode());
        };
      },
      token);
  io.run();
  EXPECT_TRUE(mine.expired());
  EXPECT_EQ(operation.cancels, 0);
  complete();
  EXPECT_EQ(outcome.calls, 2);
}

TEST_F(Deadline, MayBeDestroyedBeforeItsOperation) {
  auto mine = std::make_unique<deadline>(io);
  operation.async_run(with_timeout(*mine, 20ms, outcome.handler()));
  mine.reset();
  io.run();
  EXPECT_EQ(operation.cancels, 1);
  operation.complete(kAborted);
  EXPECT_EQ(outcome.error, kTimedOut);
}

TEST_F(Deadline, MayBeDestroyedByTheHandler) {
  auto mine = std::make_unique<deadline>(io);
  sockets.near.async_read_some(buffer, with_timeout(*mine, 1ms, [&](ErrorCode, std::size_t) {
                                 mine.reset();
                                 ++outcome.calls;
                               }));
  io.run();
  EXPECT_EQ(outcome.calls, 1);
}

TEST_F(Deadline, FollowsTheExecutorOfItsOperations) {
  deadline mine{io};
  const auto strand = asio::make_strand(io);
  bool in_strand = false;
  operation.on_cancel = [&] { in_strand = strand.running_in_this_thread(); };
  for (const bool bound : {true, false, true}) {
    io.restart();
    if (bound) {
      operation.async_run(
          timers::cancel_after(mine, 1ms, asio::bind_executor(strand, outcome.handler())));
    } else {
      operation.async_run(timers::cancel_after(mine, 1ms, outcome.handler()));
    }
    io.run();
    EXPECT_EQ(in_strand, bound);
    operation.complete();
  }
}

TEST_F(Deadline, DoesNotKeepRunFromReturning) {
  deadline mine{io};
  // Within a composed operation, handlers have an executor that counts as work.
  const auto composed = [&](auto token) {
    return asio::async_compose<decltype(token), void(ErrorCode)>(
        [&, step = 0](auto& self, ErrorCode error = {}, std::size_t = 0) mutable {
          if (step++ == 0) {
            sockets.near.async_read_some(buffer, timers::cancel_after(mine, 1ms, std::move(self)));
          } else {
            self.complete(error);
          }
        },
        token, sockets.near);
  };
  composed(outcome.handler());
  io.run();
  EXPECT_EQ(outcome.calls, 1);
  EXPECT_EQ(outcome.error, kAborted);
}

TEST_F(Slots, TheUsersSlotStillCancels) {
  deadline mine{io};
  asio::cancellation_signal signal;
  const auto type = asio::cancellation_type::partial;
  operation.async_run(
      timers::cancel_after(1h, asio::bind_cancellation_slot(signal.slot(), outcome.handler())));
  signal.emit(type);
  EXPECT_EQ(operation.cancels, 1);
  EXPECT_EQ(operation.type, type);
  operation.complete(kAborted);
  operation.async_run(timers::cancel_after(
      mine, 1h, asio::bind_cancellation_slot(signal.slot(), outcome.handler())));
  signal.emit(type);
  EXPECT_EQ(operation.cancels, 2);
  operation.complete(kAborted);
  EXPECT_FALSE(mine.expired());
  EXPECT_EQ(outcome.calls, 2);
}

TEST_F(Slots, TheUsersSlotIsClearWhenTheHandlerIsCalled) {
  asio::cancellation_signal signal;
  bool clear = false;
  operation.async_run(
      timers::cancel_after(1h, asio::bind_cancellation_slot(signal.slot(), [&](ErrorCode) {
                             clear = !signal.slot().has_handler();
                           })));
  EXPECT_TRUE(signal.slot().has_handler());
  operation.complete();
  EXPECT_TRUE(clear);
  signal.emit(asio::cancellation_type::terminal);
  EXPECT_EQ(operation.cancels, 0);
}

TEST_F(Slots, AreForwardedThroughNestedTokens) {
  asio::cancellation_signal signal;
  operation.async_run(timers::cancel_after(
      1h,
      timers::cancel_after(2h, asio::bind_cancellation_slot(signal.slot(), outcome.handler()))));
  signal.emit(asio::cancellation_type::total);
  EXPECT_EQ(operation.cancels, 1);
  operation.complete();
  EXPECT_FALSE(signal.slot().has_handler());
}

TEST_F(Slots, MayBeGoneWhenTheContextDestroysTheHandler) {
  auto mine = std::make_unique<asio::io_context>();
  auto socket = std::make_unique<SocketPair<>>(*mine);
  {
    asio::cancellation_signal signal;
    socket->near.async_read_some(
        buffer,
        timers::cancel_after(1h, asio::bind_cancellation_slot(signal.slot(), outcome.handler())));
  }
  socket.reset();
  mine.reset();
  EXPECT_EQ(outcome.calls, 0);
}

} // namespace
} // namespace timers::test
