// What the tokens of cancel_after.hpp allocate, free and lock. operator new is counted in this
// program (CONTRACT.md, line 44).
#include "timers/asio/cancel_after.hpp"

#include "timers/testing/asio_testing.hpp"

#include <boost/asio.hpp>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <new>

namespace {
std::size_t allocations = 0;
std::size_t locks = 0;
} // namespace

// Out of line, or GCC sees malloc's memory given to delete and warns of a mismatch.
#define COUNTED [[gnu::noinline]]
COUNTED void* operator new(std::size_t bytes) {
  ++allocations;
  void* memory = std::malloc(bytes);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  return memory;
}
COUNTED void* operator new(std::size_t bytes, std::align_val_t alignment) {
  ++allocations;
  const auto align = static_cast<std::size_t>(alignment);
  void* memory = std::aligned_alloc(align, (bytes + align - 1) / align * align);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  return memory;
}
COUNTED void operator delete(void* memory) noexcept { std::free(memory); }
COUNTED void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
COUNTED void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
COUNTED void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace timers::test {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

struct CountingMutex {
  void lock() {
    ++locks;
    mutex.lock();
  }
  bool try_lock() { return mutex.try_lock(); }
  void unlock() { mutex.unlock(); }
  std::mutex mutex;
};
using CountingService = basic_wheel_service<HierarchicalWheel, CountingMutex>;

// How many blocks of an allocator are in use, and how many were made.
struct Account {
  std::size_t blocks = 0;
  std::size_t made = 0;
  bool refuses = false;
};

template <class Value> struct AccountedAllocator {
  using value_type = Value;

  explicit AccountedAllocator(Account& to) : account(&to) {}
  template <class Other>
  AccountedAllocator(const AccountedAllocator<Other>& other) : account(other.account) {}

  Value* allocate(std::size_t count) {
    if (account->refuses) {
      throw std::bad_alloc();
    }
    ++account->blocks;
    ++account->made;
    return std::allocator<Value>().allocate(count);
  }
  void deallocate(Value* memory, std::size_t count) {
    --account->blocks;
    std::allocator<Value>().deallocate(memory, count);
  }
  bool operator==(const AccountedAllocator& other) const { return account == other.account; }
  bool operator!=(const AccountedAllocator& other) const { return account != other.account; }

  Account* account;
};

class CancelAfterMemory : public ::testing::Test {
protected:
  template <class Handler> auto accounted(Handler handler) {
    return asio::bind_allocator(AccountedAllocator<void>(account), std::move(handler));
  }

  Account account;
  asio::io_context io;
  SocketPair<> sockets{io};
  std::array<char, 16> bytes{};
  asio::mutable_buffer buffer = asio::buffer(bytes);
  Outcome outcome;
  ManualOperation operation{io.get_executor()};
};

using DeadlineMemory = CancelAfterMemory;

// Reads a byte, and writes the next one, until `rounds` are done. It counts from the 100th round
// on.
template <class Service> class PingPong {
public:
  PingPong(SocketPair<>& sockets, basic_deadline<Service>* deadline, int rounds)
      : sockets_(sockets), deadline_(deadline), left_(rounds) {
    next();
  }
  bool done() const { return left_ == 0; }
  std::size_t allocated() const { return allocated_; }
  std::size_t locked() const { return locked_; }

private:
  void next() {
    asio::write(sockets_.far, asio::buffer("x", 1));
    const auto handler = [this](ErrorCode error, std::size_t) { go_on(error); };
    if (deadline_ != nullptr) {
      // Each is a little later than the one before.
      sockets_.near.async_read_some(asio::buffer(byte_), with_timeout(*deadline_, 1min, handler));
    } else {
      sockets_.near.async_read_some(asio::buffer(byte_), handler);
    }
  }

  void go_on(ErrorCode error) {
    ASSERT_EQ(error, ErrorCode());
    if (++rounds_ == 100) {
      allocated_ = allocations;
      locked_ = locks;
    }
    if (--left_ > 0) {
      next();
    } else {
      allocated_ = allocations - allocated_;
      locked_ = locks - locked_;
    }
  }

  SocketPair<>& sockets_;
  basic_deadline<Service>* deadline_;
  int left_;
  int rounds_ = 0;
  std::size_t allocated_ = 0;
  std::size_t locked_ = 0;
  std::array<char, 1> byte_{};
};

TEST_F(DeadlineMemory, OperationsAllocateNothingAndTakeNoLock) {
  basic_deadline<CountingService> mine{io};
  basic_deadline<CountingService> others{io}; // which a server has
  operation.async_run(timers::cancel_after(others, 1h, outcome.handler()));
  PingPong<CountingService> ping_pong(sockets, &mine, 1000);
  EXPECT_TRUE(run_until(io, [&] { return ping_pong.done(); }));
  EXPECT_EQ(ping_pong.allocated(), 0u);
  EXPECT_EQ(ping_pong.locked(), 0u);
}

TEST_F(DeadlineMemory, NoneEitherOnAStrandOrOnAnyExecutor) {
  const asio::any_io_executor strand = asio::make_strand(asio::any_io_executor(io.get_executor()));
  basic_deadline<CountingService> mine{strand};
  basic_deadline<CountingService> others{io};
  operation.async_run(timers::cancel_after(others, 1h, outcome.handler()));
  SocketPair<> stranded(strand);
  PingPong<CountingService> ping_pong(stranded, &mine, 1000);
  EXPECT_TRUE(run_until(io, [&] { return ping_pong.done(); }));
  // Asio allocates for the strand.
  const std::size_t with_deadline = ping_pong.allocated();
  EXPECT_EQ(ping_pong.locked(), 0u);
  SocketPair<> plain(strand);
  PingPong<CountingService> without(plain, nullptr, 1000);
  EXPECT_TRUE(run_until(io, [&] { return without.done(); }));
  EXPECT_EQ(with_deadline, without.allocated());
}

// Asio caches memory only for threads that run a context. This one does not.
TEST_F(DeadlineMemory, KeepsTheMemoryOfItsSlotForTheNextOperation) {
  deadline mine{io};
  const auto run = [&] {
    auto token = timers::cancel_after(mine, 1h, outcome.handler());
    asio::async_initiate<decltype(token), void(ErrorCode)>(
        [](auto handler) {
          asio::get_associated_cancellation_slot(handler).assign([](asio::cancellation_type_t) {});
          std::move(handler)(ErrorCode());
        },
        token);
  };
  run();
  const std::size_t before = allocations;
  for (int i = 0; i < 10; ++i) {
    run();
  }
  EXPECT_EQ(allocations, before);
  EXPECT_EQ(outcome.calls, 11);
}

TEST_F(DeadlineMemory, UsesNoMemoryOfTheHandlersAllocator) {
  deadline mine{io};
  operation.async_run(timers::cancel_after(mine, 1h, accounted(outcome.handler())));
  EXPECT_EQ(account.made, 0u);
  operation.complete();
}

TEST_F(DeadlineMemory, IsFreedWhenTheContextDestroysTheHandler) {
  const auto alive = std::make_shared<int>();
  {
    asio::io_context own;
    SocketPair<> pair(own);
    deadline mine{own};
    pair.near.async_read_some(buffer,
                              timers::cancel_after(mine, 1h, [alive](ErrorCode, std::size_t) {}));
    own.poll();
    EXPECT_EQ(alive.use_count(), 2);
  }
  EXPECT_EQ(alive.use_count(), 1);
}

TEST_F(DeadlineMemory, IsFreedWithASessionThatItsHandlerKeeps) {
  struct Session {
    explicit Session(asio::io_context& io) : sockets(io), mine(io) {}
    SocketPair<> sockets;
    deadline mine;
    std::array<char, 1> byte{};
  };
  std::weak_ptr<Session> alive;
  {
    asio::io_context own;
    auto session = std::make_shared<Session>(own);
    alive = session;
    session->sockets.near.async_read_some(
        asio::buffer(session->byte),
        timers::cancel_after(session->mine, 1h, [session](ErrorCode, std::size_t) {}));
    session.reset();
    own.poll();
    EXPECT_FALSE(alive.expired());
  }
  EXPECT_TRUE(alive.expired());
}

TEST_F(DeadlineMemory, HoldsNothingOfAnOperationThatHasCompleted) {
  const auto alive = std::make_shared<int>();
  deadline mine{io};
  auto token = timers::cancel_after(mine, 1h, [](ErrorCode) {});
  asio::async_initiate<decltype(token), void(ErrorCode)>(
      [&](auto handler) {
        asio::get_associated_cancellation_slot(handler).assign(
            [alive](asio::cancellation_type_t) {});
        std::move(handler)(ErrorCode());
      },
      token);
  EXPECT_EQ(alive.use_count(), 1);
}

TEST_F(CancelAfterMemory, ComesFromTheHandlersAllocatorAndIsBackBeforeTheHandlerIsCalled) {
  for (const auto timeout : {std::chrono::milliseconds(1h), 1ms}) {
    io.restart();
    account = {};
    std::size_t blocks_in_handler = 99;
    sockets.near.async_read_some(
        buffer, timers::cancel_after(timeout, accounted([&](ErrorCode, std::size_t) {
                                       blocks_in_handler = account.blocks;
                                     })));
    EXPECT_EQ(account.blocks, 2u); // the operation's and the timer's
    if (timeout == 1h) {
      asio::write(sockets.far, asio::buffer("x", 1));
    }
    io.run();
    EXPECT_EQ(blocks_in_handler, 0u);
    EXPECT_EQ(account.made, 2u);
  }
}

TEST_F(CancelAfterMemory, ReusesMemoryWithoutAnAllocator) {
  std::size_t before = 0;
  int rounds = 0;
  std::function<void(ErrorCode)> next = [&](ErrorCode) {
    before = ++rounds == 10 ? allocations : before;
    if (rounds < 100) {
      operation.async_run(timers::cancel_after(1h, std::ref(next)));
      operation.complete();
    }
  };
  asio::post(io, [&] { next({}); });
  io.run();
  const std::size_t made = allocations - before;
  EXPECT_EQ(rounds, 100);
  EXPECT_LE(made, 2u * 90u); // those of the test's own operation
}

TEST_F(CancelAfterMemory, AllocatorThatThrowsLeavesNothingBehind) {
  account.refuses = true;
  EXPECT_THROW(operation.async_run(timers::cancel_after(1h, accounted(outcome.handler()))),
               std::bad_alloc);
  EXPECT_EQ(account.blocks, 0u);
  EXPECT_FALSE(operation.pending());
}

TEST_F(CancelAfterMemory, IsFreedWhenTheHandlerIsDestroyedWithoutACall) {
  const auto alive = std::make_shared<int>();
  operation.async_run(timers::cancel_after(20ms, accounted([alive](ErrorCode) {})));
  EXPECT_EQ(account.blocks, 1u);
  operation.drop();
  EXPECT_EQ(account.blocks, 0u);
  EXPECT_EQ(alive.use_count(), 1);
  io.run_for(40ms);
  EXPECT_EQ(operation.cancels, 0);
}

TEST_F(CancelAfterMemory, IsFreedWhenTheContextDestroysTheHandler) {
  const auto alive = std::make_shared<int>();
  {
    asio::io_context own;
    SocketPair<> pair(own);
    pair.near.async_read_some(
        buffer, timers::cancel_after(1h, accounted([alive](ErrorCode, std::size_t) {})));
    pair.far.async_read_some(
        asio::buffer(bytes),
        with_timeout(1h, timers::cancel_after(1h, accounted([alive](ErrorCode, std::size_t) {}))));
    own.poll();
    EXPECT_EQ(account.blocks, 5u);
    EXPECT_EQ(alive.use_count(), 3);
  }
  EXPECT_EQ(alive.use_count(), 1);
  EXPECT_EQ(account.blocks, 0u);
}

// A check that is on its way when the operation completes.
class CheckOnItsWay : public CancelAfterMemory {
protected:
  template <class Handler> auto bound(Handler handler) {
    return asio::bind_executor(executor, accounted(std::move(handler)));
  }
  // Runs the context until a pass has posted a check to the queue.
  void wait_for_check() {
    ASSERT_TRUE(run_until(io, [this] { return !queue.functions.empty(); }));
    ASSERT_EQ(queue.functions.size(), 1u);
  }

  ManualExecutor::Queue queue;
  ManualExecutor executor{io, queue};
};

TEST_F(CheckOnItsWay, DelaysTheHandlerUntilItsMemoryIsBack) {
  std::size_t blocks_in_handler = 99;
  operation.async_run(with_timeout(1ms, bound([&](ErrorCode error) {
                                     blocks_in_handler = account.blocks;
                                     outcome.handler()(error);
                                   })));
  wait_for_check();
  operation.complete();
  EXPECT_EQ(outcome.calls, 0);
  EXPECT_EQ(account.blocks, 1u);
  queue.run();
  EXPECT_EQ(outcome.calls, 1);
  EXPECT_EQ(outcome.error, ErrorCode());
  EXPECT_EQ(operation.cancels, 0);
  EXPECT_EQ(blocks_in_handler, 0u);
}

TEST_F(CheckOnItsWay, DelaysTheHandlerForAsLongAsItTakes) {
  operation.async_run(timers::cancel_after(1ms, bound(outcome.handler())));
  wait_for_check();
  const auto check = std::move(queue.functions.front());
  queue.functions.pop_front();
  operation.complete(kAborted);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(queue.run_one());
    EXPECT_EQ(outcome.calls, 0);
  }
  check();
  queue.run();
  EXPECT_EQ(outcome.calls, 1);
  EXPECT_EQ(outcome.error, kAborted);
}

TEST_F(CheckOnItsWay, DoesNotDelayTheHandlerOfADeadline) {
  deadline mine{io};
  operation.async_run(with_timeout(mine, 1ms, bound(outcome.handler())));
  wait_for_check();
  operation.complete();
  EXPECT_EQ(outcome.calls, 1);
  queue.run();
  EXPECT_EQ(operation.cancels, 0);
}

TEST_F(CheckOnItsWay, DoesNotEndTheNextOperationOfADeadline) {
  deadline mine{io};
  operation.async_run(with_timeout(mine, 1ms, bound(outcome.handler())));
  wait_for_check();
  operation.complete();
  operation.async_run(with_timeout(mine, 1h, bound(outcome.handler())));
  queue.run();
  EXPECT_EQ(operation.cancels, 0);
  operation.complete();
  EXPECT_FALSE(mine.expired());
}

TEST_F(CheckOnItsWay, OutlivesTheDeadline) {
  auto mine = std::make_unique<deadline>(io);
  operation.async_run(with_timeout(*mine, 1ms, bound(outcome.handler())));
  wait_for_check();
  operation.complete();
  mine.reset();
  queue.run();
  EXPECT_EQ(outcome.calls, 1);
}

TEST_F(CheckOnItsWay, DoesNothingToAnOperationWhoseHandlerWasDestroyed) {
  operation.async_run(with_timeout(1ms, bound(outcome.handler())));
  wait_for_check();
  operation.drop();
  queue.run();
  EXPECT_EQ(operation.cancels, 0);
  EXPECT_EQ(account.blocks, 0u);
}

TEST_F(CheckOnItsWay, MayBeDestroyedWithTheHandler) {
  operation.async_run(with_timeout(1ms, bound(outcome.handler())));
  wait_for_check();
  operation.drop();
  EXPECT_EQ(account.blocks, 1u);
  queue.functions.clear();
  EXPECT_EQ(account.blocks, 0u);
}

TEST_F(CheckOnItsWay, ComesAgainIfItCouldNotBePosted) {
  queue.refuses = true;
  operation.async_run(with_timeout(1ms, bound(outcome.handler())));
  io.run_for(30ms);
  queue.refuses = false;
  wait_for_check();
  queue.run();
  EXPECT_EQ(operation.cancels, 1);
  operation.complete(kAborted);
  EXPECT_EQ(outcome.error, kTimedOut);
  EXPECT_EQ(account.blocks, 0u);
}

} // namespace
} // namespace timers::test
