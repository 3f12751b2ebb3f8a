// The timers of an execution context, of every kind and at its end (CONTRACT.md, lines 33, 34 and
// 36 to 38).
#include "timers/asio/wheel_service.hpp"

#include "timers/min_array.hpp"

#include <boost/asio.hpp>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <vector>

namespace timers::test {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// An object with a timer, as the streams and timers of this layer are. Holding the work of its
// executor is what a pending operation does.
template <class Service = wheel_service> class Waiter : public Service::Timer {
public:
  explicit Waiter(
      const asio::any_io_executor& executor, std::function<void()> on_expired = [] {})
      : Service::Timer(Service::of(executor), AsioOwner{executor}),
        on_expired_(std::move(on_expired)) {}

  void wait(std::chrono::nanoseconds time) {
    work_ = asio::prefer(this->owner().executor, asio::execution::outstanding_work.tracked);
    this->watch(this->service().now() + time);
  }
  void stop_waiting() {
    this->unwatch();
    work_ = {};
  }

private:
  void expired() override {
    const auto work = std::exchange(work_, {});
    on_expired_();
  }

  std::function<void()> on_expired_;
  asio::any_io_executor work_;
};

struct Release {
  template <class Timer> void operator()(Timer* timer) const noexcept { timer->release(); }
};
template <class Service = wheel_service> using Held = std::unique_ptr<Waiter<Service>, Release>;

template <class Service = wheel_service, class Executor>
Held<Service> make(
    const Executor& executor, std::function<void()> on_expired = [] {}) {
  return Held<Service>(new Waiter<Service>(executor, std::move(on_expired)));
}

TEST(WheelService, IsOneForEachContext) {
  asio::io_context io;
  asio::io_context other;
  EXPECT_EQ(wheel_service::of(io.get_executor()), wheel_service::of(asio::make_strand(io)));
  EXPECT_NE(wheel_service::of(io.get_executor()), wheel_service::of(other.get_executor()));
}

TEST(WheelService, ExpiresOnTheExecutorOfTheObject) {
  asio::io_context io;
  const auto strand = asio::make_strand(io);
  bool in_strand = false;
  const auto begin = Clock::now();
  const auto waiter = make(strand, [&] { in_strand = strand.running_in_this_thread(); });
  waiter->wait(20ms);
  io.run();
  EXPECT_TRUE(in_strand);
  EXPECT_GE(Clock::now() - begin, 20ms);
}

TEST(WheelService, RunReturnsSoonAfterNothingWaits) {
  asio::io_context io;
  const auto waiter = make(io.get_executor());
  waiter->wait(1h);
  asio::post(io, [&] { waiter->stop_waiting(); });
  io.run(); // else the test's limit ends this
  EXPECT_TRUE(io.stopped());
}

TEST(WheelService, RunReturnsSoonAfterTheObjectIsGone) {
  asio::io_context io;
  auto waiter = make(io.get_executor());
  waiter->wait(1h);
  asio::post(io, [&] { waiter.reset(); });
  io.run();
  EXPECT_TRUE(io.stopped());
}

TEST(WheelService, WaitsAgainAfterARestart) {
  asio::io_context io;
  int expired = 0;
  const auto waiter = make(io.get_executor(), [&] { ++expired; });
  for (int i = 1; i <= 3; ++i) {
    waiter->wait(1ms);
    io.run();
    io.restart();
    EXPECT_EQ(expired, i);
  }
}

TEST(WheelService, WorksInALoopOfPolls) {
  asio::io_context io;
  int expired = 0;
  const auto waiter = make(io.get_executor(), [&] { ++expired; });
  waiter->wait(5ms);
  while (!io.stopped()) {
    io.poll();
  }
  EXPECT_EQ(expired, 1);
}

TEST(WheelService, WorksOnAThreadPoolAndItsStrands) {
  asio::thread_pool pool(2);
  std::atomic<int> expired = 0;
  const auto plain = make(pool.get_executor(), [&] { ++expired; });
  const auto strand = asio::make_strand(pool);
  const auto stranded = make(strand, [&] { expired += strand.running_in_this_thread() ? 1 : 100; });
  asio::post(pool, [&] { plain->wait(1ms); });
  asio::post(strand, [&] { stranded->wait(1ms); });
  pool.join();
  EXPECT_EQ(expired, 2);
}

TEST(WheelService, WorksOnTheSystemExecutor) {
  std::promise<void> expired;
  const auto waiter = make(asio::system_executor(), [&] { expired.set_value(); });
  waiter->wait(1ms);
  expired.get_future().wait();
}

// A strand that is busy for long holds up its own timers, and no other's.
TEST(WheelService, ABusyStrandHoldsUpNoOther) {
  asio::thread_pool pool(3);
  const auto busy = asio::make_strand(pool);
  std::promise<void> expired;
  const auto of_busy = make(busy); // through this strand the service was found
  const auto other = make(asio::make_strand(pool), [&] { expired.set_value(); });
  asio::post(busy, [&] {
    of_busy->wait(1h);
    asio::post(other->owner().executor, [&] { other->wait(1ms); });
    expired.get_future().wait();
    of_busy->stop_waiting();
  });
  pool.join();
}

TEST(WheelService, TheContextMayEndBeforeItsTimers) {
  Held<> waiter;
  {
    asio::io_context io;
    waiter = make(io.get_executor());
    waiter->watch(waiter->service().now() + 1h);
    io.poll();
  }
  waiter->watch(waiter->service().now());
  waiter->unwatch();
}

TEST(WheelService, AContextMayEndWithChecksOnTheirWay) {
  asio::io_context io;
  std::vector<Held<>> waiters;
  for (int i = 0; i < 1000; ++i) {
    waiters.push_back(make(io.get_executor(), [] { FAIL() << "after the context's end"; }));
    waiters.back()->watch(waiters.back()->service().now());
  }
  asio::post(io, [&] { io.stop(); });
  io.run_one(); // a pass at most
  waiters.erase(waiters.begin(), waiters.begin() + 500);
}

TEST(WheelService, IsInstalledWithAConfiguration) {
  asio::io_context io;
  wheel_service::install(io, {.tick = 1s});
  EXPECT_THROW(wheel_service::install(io, {}), asio::service_already_exists);
  asio::io_context bad;
  EXPECT_THROW(wheel_service::install(bad, {.tick = 0ms}), std::invalid_argument);
}

TEST(WheelService, OfAnotherBackendOrForOneThreadHasItsOwnTimers) {
  using ForOneThread = basic_wheel_service<MinArray, NullMutex>;
  asio::io_context io;
  int expired = 0;
  const auto waiter = make<ForOneThread>(io.get_executor(), [&] { ++expired; });
  const auto ordinary = make(io.get_executor(), [&] { ++expired; });
  waiter->wait(1ms);
  ordinary->wait(1ms);
  io.run();
  EXPECT_EQ(expired, 2);
}

// More are due at once than a pass handles. Other handlers run in between.
TEST(WheelService, AStormIsHandledInPasses) {
  asio::io_context io;
  int expired = 0;
  std::vector<Held<>> waiters;
  for (int i = 0; i < 1000; ++i) {
    waiters.push_back(make(io.get_executor(), [&] { ++expired; }));
    waiters.back()->wait(1ms);
  }
  std::vector<int> seen;
  std::function<void()> look = [&] {
    if (seen.empty() || seen.back() != expired) {
      seen.push_back(expired);
    }
    if (expired < 1000) {
      asio::post(io, look);
    }
  };
  asio::post(io, look);
  io.run();
  EXPECT_EQ(expired, 1000);
  EXPECT_GE(seen.size(), 1000U / SharedConfig().budget / 2);
}

// Threads, strands and short timeouts, for the thread sanitizer: no owner is touched by two at
// once.
TEST(WheelService, KeepsStrandsApart) {
  asio::thread_pool pool(3);
  std::atomic<int> expired = 0;
  struct Object {
    asio::strand<asio::thread_pool::executor_type> strand;
    Held<> waiter;
    int steps = 0; // touched in the strand only
  };
  constexpr int kObjects = 30;
  constexpr int kSteps = 200;
  std::vector<std::unique_ptr<Object>> objects;
  std::function<void(Object&)> step = [&](Object& object) {
    if (++object.steps == kSteps) {
      object.waiter.reset();
      return;
    }
    object.waiter->wait(object.steps % 3 == 0 ? 1ms : 2ms);
    if (object.steps % 2 == 0) { // moved, before it expires or after
      asio::post(object.strand, [&] {
        if (object.waiter != nullptr && object.waiter->watched()) {
          object.waiter->wait(1ms);
        }
      });
    }
  };
  for (int i = 0; i < kObjects; ++i) {
    objects.push_back(std::make_unique<Object>(Object{asio::make_strand(pool), {}}));
    Object& object = *objects.back();
    object.waiter = make(object.strand, [&] {
      ++expired;
      step(object);
    });
    asio::post(object.strand, [&] { step(object); });
  }
  pool.join();
  EXPECT_EQ(expired, kObjects * (kSteps - 1));
}

} // namespace
} // namespace timers::test
