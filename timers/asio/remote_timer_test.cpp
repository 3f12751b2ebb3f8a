// A timer that any thread arms, moves and disarms (CONTRACT.md, line 45).
#include "timers/asio/remote_timer.hpp"

#include "timers/testing/asio_testing.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <random>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace timers::test {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Strand = asio::strand<asio::io_context::executor_type>;

constexpr auto kPatience = 10s;

// Waits for what other threads do.
template <class Done> bool wait_for(Done done) {
  const auto end = Clock::now() + kPatience;
  while (!done()) {
    if (Clock::now() > end) {
      return false;
    }
    std::this_thread::yield();
  }
  return true;
}

// On one thread.
class RemoteTimer : public ::testing::Test {
protected:
  asio::io_context io;
  int runs = 0;
  remote_timer timer{io.get_executor(), [this] { ++runs; }};
};

TEST_F(RemoteTimer, RunsItsActionOnceAtTheDeadline) {
  EXPECT_FALSE(timer.armed());
  const auto begin = Clock::now();
  timer.rearm_after(20ms);
  EXPECT_TRUE(timer.armed());
  io.run(); // which an armed timer keeps from returning
  EXPECT_EQ(runs, 1);
  EXPECT_FALSE(timer.armed());
  EXPECT_GE(Clock::now() - begin, 20ms);
}

TEST_F(RemoteTimer, MovesLater) {
  timer.rearm_after(1ms);
  const auto begin = Clock::now();
  timer.rearm_after(40ms);
  io.run();
  EXPECT_EQ(runs, 1);
  EXPECT_GE(Clock::now() - begin, 40ms);
}

TEST_F(RemoteTimer, MovesEarlier) {
  timer.rearm_after(1h);
  timer.rearm_at(Clock::now() + 1ms);
  io.run();
  EXPECT_EQ(runs, 1);
}

TEST_F(RemoteTimer, ADeadlineThatHasPassedIsDueButNotInTheCall) {
  timer.rearm_at(Clock::time_point());
  EXPECT_EQ(runs, 0);
  io.run();
  EXPECT_EQ(runs, 1);
}

TEST_F(RemoteTimer, DoesNotRunOnceDisarmed) {
  EXPECT_FALSE(timer.disarm());
  timer.rearm_after(1ms);
  EXPECT_TRUE(timer.disarm());
  EXPECT_FALSE(timer.disarm());
  io.run_for(20ms);
  EXPECT_EQ(runs, 0);
}

TEST_F(RemoteTimer, ForeverIsNotArmed) {
  timer.rearm_after(1ms);
  timer.rearm_after(std::chrono::hours::max());
  EXPECT_FALSE(timer.armed());
  timer.rearm_at(Clock::time_point::max());
  EXPECT_FALSE(timer.armed());
  io.run_for(20ms);
  EXPECT_EQ(runs, 0);
}

TEST_F(RemoteTimer, LetsRunReturnWhenItIsDisarmed) {
  timer.rearm_after(1h);
  asio::post(io, [this] { timer.disarm(); });
  io.run(); // else the test's limit ends this
  EXPECT_TRUE(io.stopped());
}

TEST_F(RemoteTimer, ActionMayArmItAgain) {
  std::optional<remote_timer> periodic;
  periodic.emplace(io.get_executor(), [&] {
    EXPECT_FALSE(periodic->armed());
    if (++runs < 5) {
      periodic->rearm_after(1ms);
    }
  });
  periodic->rearm_after(1ms);
  io.run();
  EXPECT_EQ(runs, 5);
}

TEST_F(RemoteTimer, ActionMayDestroyIt) {
  std::optional<remote_timer> own;
  own.emplace(io.get_executor(), [this, &own, alive = std::make_shared<int>(1)] {
    own.reset();
    runs += *alive;
  });
  own->rearm_after(1ms);
  io.run();
  EXPECT_EQ(runs, 1);
}

TEST_F(RemoteTimer, ExceptionLeavesRunAndTheTimerGoesOn) {
  remote_timer throwing(io.get_executor(), [this] {
    if (++runs == 1) {
      throw std::runtime_error("first");
    }
  });
  throwing.rearm_after(1ms);
  EXPECT_THROW(io.run(), std::runtime_error);
  io.restart();
  throwing.rearm_after(1ms);
  io.run();
  EXPECT_EQ(runs, 2);
}

TEST_F(RemoteTimer, DestroysItsActionWithoutRunningIt) {
  const auto alive = std::make_shared<int>();
  {
    remote_timer armed(io.get_executor(), [this, alive] { ++runs; });
    armed.rearm_after(1ms);
    EXPECT_EQ(alive.use_count(), 2);
  }
  EXPECT_EQ(alive.use_count(), 1);
  io.run_for(20ms);
  EXPECT_EQ(runs, 0);
}

TEST_F(RemoteTimer, MayOutliveItsContext) {
  auto own = std::make_unique<asio::io_context>();
  remote_timer last(own->get_executor(), [this] { ++runs; });
  last.rearm_after(1h);
  own.reset();
  EXPECT_TRUE(last.disarm());
}

// A mutex that first lets another thread do something, which the test plays.
struct HookedMutex {
  static inline std::function<void()> before_lock;

  void lock() {
    if (const auto hook = std::exchange(before_lock, nullptr)) {
      hook();
    }
    mutex.lock();
  }
  bool try_lock() { return mutex.try_lock(); }
  void unlock() { mutex.unlock(); }
  std::mutex mutex;
};

class RemoteTimerSteps : public ::testing::Test {
protected:
  using Service = basic_wheel_service<HierarchicalWheel, HookedMutex>;

  ~RemoteTimerSteps() override { HookedMutex::before_lock = nullptr; }

  asio::io_context io;
  int runs = 0;
  basic_remote_timer<Service> timer{io.get_executor(), [this] { ++runs; }};
};

TEST_F(RemoteTimerSteps, AnEarlierDeadlineIsKeptThatComesBeforeTheFilingOfALaterOne) {
  basic_remote_timer<Service> other{io.get_executor(), [] {}};
  other.rearm_after(1h); // so that the next lock is for filing
  HookedMutex::before_lock = [this] { timer.rearm_after(1ms); };
  timer.rearm_after(1h);
  EXPECT_FALSE(HookedMutex::before_lock);
  EXPECT_TRUE(run_until(io, [this] { return runs == 1; }));
}

TEST_F(RemoteTimerSteps, CountsATimerOnceThatTwoThreadsArm) {
  HookedMutex::before_lock = [this] { timer.rearm_after(1h); }; // when it has been counted
  timer.rearm_after(2h);
  EXPECT_FALSE(HookedMutex::before_lock);
  EXPECT_TRUE(timer.disarm());
  io.run_for(kPatience);
  EXPECT_TRUE(io.stopped());
}

TEST_F(RemoteTimerSteps, IsDisarmedWhenItCannotBeFiled) {
  basic_remote_timer<Service> other{io.get_executor(), [] {}};
  other.rearm_after(1ms);
  HookedMutex::before_lock = [] { throw std::bad_alloc(); };
  EXPECT_THROW(timer.rearm_after(1h), std::bad_alloc);
  EXPECT_FALSE(timer.armed());
  io.run_for(kPatience);
  EXPECT_TRUE(io.stopped());
  timer.rearm_after(1ms);
  io.restart();
  io.run();
  EXPECT_EQ(runs, 1);
}

// A context that two threads run, a timer on a strand, and what its action does, without a lock.
class RemoteTimerThreads : public ::testing::Test {
protected:
  RemoteTimerThreads() {
    for (int i = 0; i < 2; ++i) {
      runners.emplace_back([this] { io.run(); });
    }
  }
  ~RemoteTimerThreads() override { EXPECT_TRUE(finish()); }

  // Whether run() returns. It does not if the count of watched timers is wrong.
  bool finish() {
    work.reset();
    const bool stopped = wait_for([this] { return io.stopped(); });
    io.stop();
    for (std::thread& runner : runners) {
      runner.join();
    }
    runners.clear();
    return stopped;
  }

  void run() {
    EXPECT_TRUE(strand.running_in_this_thread());
    ++runs_on_strand;
    runs.fetch_add(1);
  }

  asio::io_context io;
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  Strand strand = asio::make_strand(io);
  int runs_on_strand = 0;
  std::atomic<int> runs{0};
  remote_timer timer{strand, [this] { run(); }};
  std::vector<std::thread> runners;
};

// Each time it is armed, either disarm() takes that back or the action runs, once.
TEST_F(RemoteTimerThreads, EachArmingIsDisarmedOrRuns) {
  std::minstd_rand random(1);
  int disarmed = 0;
  for (int armed = 1; armed <= 400; ++armed) {
    timer.rearm_after(std::chrono::microseconds(random() % 2000));
    const auto until = Clock::now() + std::chrono::microseconds(random() % 3000);
    while (Clock::now() < until) {
    }
    if (timer.disarm()) {
      ++disarmed;
      EXPECT_EQ(runs.load() + disarmed, armed);
    } else {
      ASSERT_TRUE(wait_for([&] { return runs.load() + disarmed == armed; }));
    }
  }
  EXPECT_GT(disarmed, 0);
  EXPECT_GT(runs.load(), 0);
}

TEST_F(RemoteTimerThreads, IsNotEarlyWhenItIsMovedLater) {
  for (int round = 0; round < 20; ++round) {
    timer.rearm_after(2ms);
    auto deadline = Clock::time_point();
    for (int i = 0; i < 20 && timer.armed(); ++i) {
      deadline = Clock::now() + 2ms;
      timer.rearm_at(deadline);
      std::this_thread::sleep_for(100us);
    }
    ASSERT_TRUE(wait_for([&] { return !timer.armed(); }));
    EXPECT_GE(Clock::now(), deadline);
  }
}

// No rearm_after() may be lost, whatever others do at the same time.
TEST_F(RemoteTimerThreads, TheLastDeadlineOfSeveralThreadsIsKept) {
  for (unsigned round = 0; round < 60; ++round) {
    std::vector<std::thread> setters;
    for (unsigned i = 0; i < 3; ++i) {
      setters.emplace_back([this, seed = round * 3 + i] {
        std::minstd_rand random(seed + 1);
        for (int step = 0; step < 200; ++step) {
          if (random() % 4 == 0) {
            timer.disarm();
          } else {
            timer.rearm_after(std::chrono::microseconds(random() % 1500));
          }
        }
        timer.rearm_after(std::chrono::microseconds(random() % 1500));
      });
    }
    for (std::thread& setter : setters) {
      setter.join();
    }
    ASSERT_TRUE(wait_for([this] { return !timer.armed(); })) << "lost in round " << round;
  }
  EXPECT_TRUE(finish());
  EXPECT_EQ(runs_on_strand, runs.load());
}

TEST_F(RemoteTimerThreads, AnEarlierDeadlineWinsOverOneFarAway) {
  for (int round = 0; round < 100; ++round) {
    std::thread far([this] { timer.rearm_after(1h); });
    std::thread near([this] { timer.rearm_after(1ms); });
    far.join();
    near.join();
    if (timer.armed()) {
      timer.rearm_after(1ms); // the far one may have been the last
    }
    ASSERT_TRUE(wait_for([this] { return !timer.armed(); }));
  }
}

TEST_F(RemoteTimerThreads, ActionSeesWhatWasDoneBeforeItWasArmed) {
  int written = 0;
  std::atomic<int> seen{0};
  remote_timer reads(strand, [&] { seen.store(written); });
  for (int i = 1; i <= 50; ++i) {
    written = i;
    reads.rearm_after(0ms);
    ASSERT_TRUE(wait_for([&] { return seen.load() == i; }));
  }
}

TEST_F(RemoteTimerThreads, DisarmOnItsExecutorIsFinal) {
  std::atomic<int> rounds{0};
  for (int i = 0; i < 100; ++i) {
    timer.rearm_after(std::chrono::microseconds(500 + i * 10));
    std::this_thread::sleep_for(1ms);
    asio::post(strand, [&] {
      timer.disarm();
      const int before = runs_on_strand;
      asio::post(strand, [&, before] {
        EXPECT_EQ(runs_on_strand, before);
        rounds.fetch_add(1);
      });
    });
    ASSERT_TRUE(wait_for([&] { return rounds.load() == i + 1; }));
  }
}

TEST_F(RemoteTimerThreads, LetsRunReturnWhenAnotherThreadDisarmsIt) {
  timer.rearm_after(1h);
  std::this_thread::sleep_for(1ms);
  timer.disarm();
  EXPECT_TRUE(finish());
}

TEST_F(RemoteTimerThreads, AreMadeAndDestroyedByThreads) {
  std::vector<std::thread> makers;
  for (unsigned i = 1; i <= 3; ++i) {
    makers.emplace_back([this, i] {
      std::minstd_rand random(i);
      for (int round = 0; round < 300; ++round) {
        auto own = std::make_unique<remote_timer>(strand, [this] { run(); });
        own->rearm_after(std::chrono::microseconds(random() % 300));
        const auto until = Clock::now() + std::chrono::microseconds(random() % 600);
        while (Clock::now() < until) {
        }
      }
    });
  }
  for (std::thread& maker : makers) {
    maker.join();
  }
  EXPECT_TRUE(finish());
  EXPECT_GT(runs_on_strand, 0);
}

} // namespace
} // namespace timers::test
