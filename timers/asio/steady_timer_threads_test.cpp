// timers::steady_timer with several threads in its context, for the thread sanitizer. A timer is
// used by one thread or strand, while its waits expire on others (CONTRACT.md, lines 34 and 36).
#include "timers/asio/steady_timer.hpp"

#include "timers/testing/steady_timers.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <future>
#include <memory>
#include <random>
#include <vector>

namespace timers::test {
namespace {

constexpr std::size_t kThreads = 4;

template <class Kind> class SteadyTimerThreads : public testing::Test {};
TYPED_TEST_SUITE(SteadyTimerThreads, BothKinds, KindName);

// A thread that runs nothing uses timers that expire all the time on the pool.
TYPED_TEST(SteadyTimerThreads, AreUsedOutsideOfTheirContext) {
  using Timer = typename TypeParam::template Timer<>;
  asio::thread_pool pool(kThreads);
  std::atomic<std::size_t> called = 0;
  std::size_t started = 0;
  std::size_t cancelled = 0;
  std::atomic<std::size_t> aborted = 0;
  {
    Timer timer(pool);
    std::minstd_rand random(1);
    for (int turn = 0; turn < 3000; ++turn) {
      timer.async_wait([&](error_code error) {
        aborted += error == kAborted ? 1 : 0;
        ++called;
      });
      ++started;
      switch (random() % 8) {
      case 0:
        cancelled += timer.cancel();
        break;
      case 1:
        cancelled += timer.cancel_one();
        break;
      case 2:
        cancelled += timer.expires_after(1ms);
        break;
      case 3:
        cancelled += timer.expires_after(kLong);
        break;
      case 4:
        if constexpr (std::is_same_v<TypeParam, WheelKind>) {
          timer.rearm_after(std::chrono::microseconds(random() % 2000));
        }
        break;
      case 5: {
        Timer moved(std::move(timer));
        moved.async_wait([&](error_code error) {
          aborted += error == kAborted ? 1 : 0;
          ++called;
        });
        ++started;
        timer = std::move(moved);
        break;
      }
      default:
        break;
      }
    }
    cancelled += timer.cancel();
  }
  pool.join();
  EXPECT_EQ(called, started);
  EXPECT_EQ(aborted, cancelled);
}

// Each session has a timer of the whole context, and a strand of its own on which it uses it.
TYPED_TEST(SteadyTimerThreads, AreUsedInStrandsWhileOtherThreadsExpireThem) {
  using Timer = typename TypeParam::template Timer<>;
  struct Session : std::enable_shared_from_this<Session> {
    explicit Session(asio::thread_pool& pool) : strand(asio::make_strand(pool)), timer(pool) {}

    void turn() {
      EXPECT_TRUE(strand.running_in_this_thread());
      if (++turns == 200) {
        return;
      }
      const auto next = [self = this->shared_from_this(), number = turns](error_code) {
        if (number == self->turns) {
          self->turn();
        }
      };
      timer.expires_after(std::chrono::microseconds(turns % 3 * 500));
      timer.async_wait(
          asio::bind_cancellation_slot(signal.slot(), asio::bind_executor(strand, next)));
      if (turns % 5 == 0) {
        timer.async_wait(asio::bind_executor(strand, next));
        signal.emit(asio::cancellation_type::total);
      }
      if constexpr (std::is_same_v<TypeParam, WheelKind>) {
        timer.rearm_after(std::chrono::microseconds(turns % 7 * 300));
      }
    }

    asio::strand<asio::thread_pool::executor_type> strand;
    Timer timer;
    asio::cancellation_signal signal;
    int turns = 0;
  };
  asio::thread_pool pool(kThreads);
  std::vector<std::shared_ptr<Session>> sessions;
  for (int i = 0; i < 20; ++i) {
    sessions.push_back(std::make_shared<Session>(pool));
    asio::post(sessions.back()->strand, [session = sessions.back()] { session->turn(); });
  }
  pool.join();
  for (const auto& session : sessions) {
    EXPECT_EQ(session->turns, 200);
    EXPECT_EQ(session.use_count(), 1);
  }
}

// Handlers that own the timer destroy it on any thread.
TYPED_TEST(SteadyTimerThreads, AreDestroyedByTheirHandlersOnAnyThread) {
  using Timer = typename TypeParam::template Timer<>;
  std::atomic<int> called = 0;
  asio::thread_pool pool(kThreads);
  for (int i = 0; i < 2000; ++i) {
    const auto timer = std::make_shared<Timer>(pool, std::chrono::microseconds(i % 4 * 300));
    for (int waits = 0; waits < 2; ++waits) {
      timer->async_wait([timer, &called](error_code) { ++called; });
    }
  }
  pool.join();
  EXPECT_EQ(called, 4000);
}

// Asio's timers mix the order up when several threads run their context.
TEST(SteadyTimerOfAStrand, KeepsTheOrderOfWaitsOnAStrand) {
  asio::thread_pool pool(kThreads);
  const auto strand = asio::make_strand(pool);
  Log log;
  steady_timer timer(strand, 20ms);
  std::promise<void> started;
  asio::post(strand, [&] {
    for (int number = 0; number < 100; ++number) {
      timer.async_wait(log.handler(number));
    }
    started.set_value();
  });
  started.get_future().wait();
  pool.join();
  ASSERT_EQ(log.entries.size(), 100U);
  for (int number = 0; number < 100; ++number) {
    EXPECT_EQ(log.entries[static_cast<std::size_t>(number)], Log::Entry(number, kSuccess));
  }
}

TYPED_TEST(SteadyTimerThreads, MayStopTheirContextWithWaitsPending) {
  using Timer = typename TypeParam::template Timer<>;
  for (int repeat = 0; repeat < 20; ++repeat) {
    asio::thread_pool pool(kThreads);
    for (int i = 0; i < 100; ++i) {
      const auto timer = std::make_shared<Timer>(pool, std::chrono::milliseconds(i % 5));
      timer->async_wait([timer](error_code) {
        timer->expires_after(1ms);
        timer->async_wait([timer](error_code) {});
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(repeat % 4));
    pool.stop();
  }
}

// Timers that the same thread does not use: those of the system's executor live on threads that
// nobody joins.
TYPED_TEST(SteadyTimerThreads, RunOnTheSystemExecutor) {
  using Timer = typename TypeParam::template Timer<>;
  std::vector<std::future<void>> done;
  std::vector<std::unique_ptr<Timer>> timers;
  for (int i = 0; i < 100; ++i) {
    timers.push_back(
        std::make_unique<Timer>(asio::system_executor(), std::chrono::milliseconds(i % 20)));
    auto expired = std::make_shared<std::promise<void>>();
    done.push_back(expired->get_future());
    timers.back()->async_wait([expired](error_code) { expired->set_value(); });
  }
  for (auto& one : done) {
    EXPECT_EQ(one.wait_for(kPatience), std::future_status::ready);
  }
}

} // namespace
} // namespace timers::test
