// What the timeouts of a keep-alive request cost, counted: allocations, readings of the clock,
// settings of the OS timer, and locks (CONTRACT.md, line 35).
#include "timers/asio/basic_stream.hpp"

#include "timers/testing/streams.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/strand.hpp>

#include <gtest/gtest.h>

#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

namespace {
std::size_t allocations = 0;
std::size_t clock_readings = 0;
std::size_t timer_settings = 0;
} // namespace

void* operator new(std::size_t size) {
  ++allocations;
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

// These stand before libc's in this program, count, and do the same.
extern "C" int timerfd_settime(int fd, int flags, const itimerspec* value,
                               itimerspec* old) noexcept {
  ++timer_settings;
  return static_cast<int>(syscall(SYS_timerfd_settime, fd, flags, value, old));
}
extern "C" int clock_gettime(clockid_t id, timespec* time) noexcept {
  clock_readings += id == CLOCK_MONOTONIC ? 1 : 0;
  return static_cast<int>(syscall(SYS_clock_gettime, id, time));
}

namespace timers::test {
namespace {

using namespace std::chrono_literals;
namespace asio = boost::asio;
namespace beast = boost::beast;

std::size_t locks = 0;

class CountingMutex {
public:
  void lock() {
    ++locks;
    mutex_.lock();
  }
  bool try_lock() { return mutex_.try_lock(); }
  void unlock() { mutex_.unlock(); }

private:
  std::mutex mutex_;
};

using CountingService = basic_wheel_service<HierarchicalWheel, CountingMutex>;
template <class Executor>
using CountedStream = basic_stream<Unix, Executor, beast::unlimited_rate_policy, CountingService>;

struct Counts {
  std::size_t allocations;
  std::size_t clock_readings;
  std::size_t timer_settings;
  std::size_t locks;

  static Counts now() { return {::allocations, ::clock_readings, ::timer_settings, test::locks}; }
  Counts operator-(const Counts& before) const {
    return {allocations - before.allocations, clock_readings - before.clock_readings,
            timer_settings - before.timer_settings, locks - before.locks};
  }
};

constexpr int kRequests = 100;

// A server's connection: it waits for a request, and answers it.
template <class Stream> class KeepAlive {
public:
  template <class Executor> explicit KeepAlive(const Executor& executor) : pair_(executor) {}

  // `timeout` is called before each operation.
  template <class Timeout> void requests(asio::io_context& io, int count, Timeout timeout) {
    for (int i = 0; i < count; ++i) {
      bool answered = false;
      char answer[8];
      pair_.send("request");
      timeout(pair_.stream);
      pair_.read([&](beast::error_code error, std::size_t) {
        ASSERT_FALSE(error);
        timeout(pair_.stream);
        pair_.stream.async_write_some(asio::buffer("answer", 6),
                                      [&](beast::error_code failed, std::size_t) {
                                        ASSERT_FALSE(failed);
                                        answered = true;
                                      });
      });
      while (!answered) {
        io.restart();
        io.poll_one();
      }
      pair_.peer.read_some(asio::buffer(answer));
    }
  }

private:
  Connected<Stream> pair_;
};

template <class Stream, class Executor, class Timeout>
Counts counts_of(asio::io_context& io, const Executor& executor, Timeout timeout) {
  KeepAlive<Stream> connection(executor);
  connection.requests(io, kRequests, timeout); // memory is recycled from now on
  const Counts before = Counts::now();
  connection.requests(io, kRequests, timeout);
  return Counts::now() - before;
}

// As long as another connection waits, the service has work.
template <class Stream> class Waiting {
public:
  template <class Executor> explicit Waiting(const Executor& executor) : pair_(executor) {
    pair_.stream.expires_after(1h);
    pair_.read([](beast::error_code, std::size_t) {});
  }

private:
  Connected<Stream> pair_;
};

template <class Executor> void expect_promised_costs(asio::io_context& io, Executor executor) {
  using Stream = CountedStream<Executor>;
  const Waiting<Stream> other(executor);
  const Counts without = counts_of<Stream>(io, executor, [](Stream&) {});
  const Counts with =
      counts_of<Stream>(io, executor, [](Stream& stream) { stream.expires_after(30s); });
  const Counts idle = counts_of<Stream>(io, executor, [first = true](Stream& stream) mutable {
    if (std::exchange(first, false)) {
      stream.idle_after(30s);
    }
  });
  EXPECT_EQ(with.allocations, without.allocations);
  EXPECT_EQ(with.clock_readings, without.clock_readings + 2 * kRequests)
      << "one by each expires_after()";
  EXPECT_EQ(with.timer_settings, 0U);
  EXPECT_EQ(with.locks, 0U);

  EXPECT_EQ(idle.allocations, without.allocations);
  EXPECT_EQ(idle.clock_readings, without.clock_readings + 2 * kRequests) << "by each operation";
  EXPECT_EQ(idle.timer_settings, 0U);
  EXPECT_EQ(idle.locks, 0U);

  EXPECT_EQ(without.clock_readings, 0U);
  EXPECT_EQ(without.locks, 0U);
}

TEST(StreamCost, OfAConcreteExecutor) {
  asio::io_context io{1};
  expect_promised_costs(io, io.get_executor());
}

TEST(StreamCost, OfAnyIoExecutor) {
  asio::io_context io{1};
  expect_promised_costs(io, asio::any_io_executor(io.get_executor()));
}

TEST(StreamCost, OfAStrand) {
  asio::io_context io{1};
  expect_promised_costs(io, asio::make_strand(io));
}

TEST(StreamCost, OfAStrandInAnyIoExecutor) {
  asio::io_context io{1};
  expect_promised_costs(io, asio::any_io_executor(asio::make_strand(io)));
}

// A handler that is bound to an executor, as those of Beast's operations are to one that counts as
// work.
TEST(StreamCost, OfABoundHandler) {
  asio::io_context io{1};
  const asio::any_io_executor executor = asio::make_strand(io);
  using Stream = CountedStream<asio::any_io_executor>;
  const Waiting<Stream> other(executor);
  Connected<Stream> pair(executor);
  const auto request = [&](auto timeout) {
    bool read = false;
    pair.send("request");
    timeout();
    pair.read(asio::bind_executor(asio::prefer(executor, asio::execution::outstanding_work.tracked),
                                  [&](beast::error_code, std::size_t) { read = true; }));
    while (!read) {
      io.restart();
      io.poll_one();
    }
  };
  const auto requests = [&](auto timeout) {
    request(timeout);
    const Counts before = Counts::now();
    for (int i = 0; i < kRequests; ++i) {
      request(timeout);
    }
    return Counts::now() - before;
  };
  const Counts without = requests([] {});
  const Counts with = requests([&] { pair.stream.expires_after(30s); });
  EXPECT_EQ(with.allocations, without.allocations);
  EXPECT_EQ(with.timer_settings, 0U);
  EXPECT_EQ(with.locks, 0U);
}

// A client with one connection: the service finds nothing to do after each operation, and may look
// once in a while whether that stays so.
TEST(StreamCost, OfALoneConnection) {
  asio::io_context io{1};
  using Stream = CountedStream<asio::any_io_executor>;
  const Counts without = counts_of<Stream>(io, io.get_executor(), [](Stream&) {});
  const auto start = std::chrono::steady_clock::now();
  const Counts with =
      counts_of<Stream>(io, io.get_executor(), [](Stream& stream) { stream.expires_after(30s); });
  const auto looks =
      static_cast<std::size_t>((std::chrono::steady_clock::now() - start) / 20ms) + 2;
  EXPECT_LE(with.allocations, without.allocations + looks);
  EXPECT_LE(with.timer_settings, 2 * looks);
  EXPECT_LE(with.locks, 4 * looks);
}

// --- The counters count.

TEST(StreamCost, AnEarlierDeadlineTakesTheLockAndSetsTheTimer) {
  asio::io_context io{1};
  using Stream = CountedStream<asio::any_io_executor>;
  Connected<Stream> pair(io.get_executor());
  pair.stream.expires_after(1h);
  pair.read([](beast::error_code, std::size_t) {});
  const Counts before = Counts::now();
  pair.stream.rearm_after(1min);
  const Counts cost = Counts::now() - before;
  EXPECT_EQ(cost.locks, 1U);
  EXPECT_GE(cost.timer_settings, 1U);
  EXPECT_GE(cost.clock_readings, 1U);
}

TEST(StreamCost, OfAnUnlimitedStreamIsNoRateTimer) {
  using State =
      detail::StreamState<Unix, asio::any_io_executor, beast::unlimited_rate_policy, wheel_service>;
  using Limited =
      detail::StreamState<Unix, asio::any_io_executor, beast::simple_rate_policy, wheel_service>;
  EXPECT_LT(sizeof(State), sizeof(Limited) - sizeof(asio::any_io_executor));
}

} // namespace
} // namespace timers::test
