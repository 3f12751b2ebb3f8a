// What is associated with a handler holds for the operation, and for its timeout: the executor, the
// allocator, the cancellation slot (CONTRACT.md, lines 34 and 42).
#include "timers/asio/basic_stream.hpp"

#include "timers/testing/streams.hpp"

#include <boost/asio/any_completion_executor.hpp>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/io_context_strand.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/require.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/asio/thread_pool.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <new>
#include <thread>
#include <utility>
#include <vector>

namespace timers::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
namespace asio = boost::asio;
namespace beast = boost::beast;

// Runs what it is given on an io_context, and counts.
class CountingExecutor {
public:
  CountingExecutor(asio::io_context& io, int& count) : io_(&io), count_(&count) {}

  asio::execution_context& query(asio::execution::context_t) const noexcept { return *io_; }
  static constexpr asio::execution::blocking_t query(asio::execution::blocking_t) noexcept {
    return asio::execution::blocking.never;
  }
  CountingExecutor require(asio::execution::blocking_t::never_t) const noexcept { return *this; }
  template <class Function> void execute(Function function) const {
    ++*count_;
    asio::require(io_->get_executor(), asio::execution::blocking.never)
        .execute(std::move(function));
  }
  friend bool operator==(const CountingExecutor&, const CountingExecutor&) noexcept = default;

private:
  asio::io_context* io_;
  int* count_;
};

class Handlers : public StreamTest {};

TEST_F(Handlers, TheTimeoutRunsWhereTheHandlerRuns) {
  int here = 0;
  Operation read;
  stream.expires_after(kSoon);
  pair.read(asio::bind_executor(CountingExecutor(io, here), read.note()));
  run();
  EXPECT_EQ(read.result(), kTimedOut);
  EXPECT_EQ(here, 2) << "the check and the handler";
}

TEST_F(Handlers, TheTimeoutGoesWhereverTheLatestHandlerRuns) {
  int first = 0;
  int second = 0;
  Operation read;
  Operation again;
  pair.send("four");
  stream.expires_after(kSoon);
  pair.read(asio::bind_executor(CountingExecutor(io, first), read.note()));
  run_until(read);
  pair.read(asio::bind_executor(CountingExecutor(io, second), again.note()));
  run();
  EXPECT_EQ(read.result(), success(4));
  EXPECT_EQ(again.result(), kTimedOut);
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 2);
}

TEST_F(Handlers, WithoutAnExecutorOfItsOwnTheTimeoutRunsOnTheStreams) {
  int here = 0;
  int elsewhere = 0;
  Connected<unix_stream> other(asio::any_io_executor(CountingExecutor(io, here)));
  Operation read;
  Operation again;
  other.send("four");
  other.stream.expires_after(kSoon);
  other.read(asio::bind_executor(CountingExecutor(io, elsewhere), read.note()));
  run_until(read);
  here = elsewhere = 0;
  other.read(again.note());
  run();
  EXPECT_EQ(again.result(), kTimedOut);
  EXPECT_EQ(here, 2) << "the check and the handler";
  EXPECT_EQ(elsewhere, 0);
}

TEST_F(Handlers, AComposedOperationPassesTheExecutorOn) {
  int here = 0;
  Operation read;
  stream.expires_after(kSoon);
  asio::async_read(stream, asio::buffer(pair.input),
                   asio::bind_executor(CountingExecutor(io, here), read.note()));
  run();
  EXPECT_EQ(read.result(), kTimedOut);
  EXPECT_EQ(here, 2);
}

// Beast's operations hand on their stream's executor in such a form. Kept as the owner, it would
// keep run() from returning.
TEST_F(Handlers, AnExecutorThatCountsAsWorkDoesNotKeepTheContextBusy) {
  Operation read;
  pair.send("four");
  stream.expires_after(kNever);
  pair.read(asio::bind_executor(
      asio::prefer(stream.get_executor(), asio::execution::outstanding_work.tracked), read.note()));
  run();
  EXPECT_EQ(read.result(), success(4));
  Operation again;
  pair.send("four");
  pair.read(asio::bind_executor(
      asio::prefer(io.get_executor(), asio::execution::outstanding_work.tracked), again.note()));
  run();
  EXPECT_EQ(again.result(), success(4));
}

// Of each executor a handler may have: the timeout runs there, and the handler, and nothing hangs.
TEST_F(Handlers, AnyKindOfExecutorMayBeAssociated) {
  const auto times_out = [&](const auto& executor) {
    Connected<unix_stream> other(io.get_executor());
    Operation read;
    other.stream.expires_after(kSoon);
    other.read(asio::bind_executor(executor, read.note()));
    run();
    EXPECT_EQ(read.result(), kTimedOut);
  };
  times_out(io.get_executor());
  times_out(stream.get_executor());
  times_out(asio::make_strand(io));
  times_out(asio::make_strand(stream.get_executor()));
  times_out(asio::any_io_executor(asio::make_strand(stream.get_executor())));
  times_out(asio::any_completion_executor(asio::make_strand(io)));
  times_out(asio::any_completion_executor(io.get_executor()));
#if !defined(BOOST_ASIO_NO_TS_EXECUTORS)
  times_out(asio::io_context::strand(io));
#endif
}

TEST_F(Handlers, TheTimeoutOfATypeErasedStrandRunsInThatStrand) {
  asio::thread_pool pool(2);
  Connected<unix_stream> other(pool.get_executor());
  const auto strand = asio::make_strand(pool.get_executor());
  const asio::any_completion_executor erased(strand);
  Operation read;
  bool after_check = false;
  asio::post(strand, [&] {
    other.stream.expires_after(1ms);
    other.read(asio::bind_executor(erased, read.note()));
    std::this_thread::sleep_for(kSoon);
    after_check = other.stream.socket().is_open(); // the check waits for the strand
  });
  pool.join();
  EXPECT_TRUE(after_check) << "the socket was closed while the strand was occupied";
  EXPECT_EQ(read.result(), kTimedOut);
}

// Counts what its copies have in use.
template <class Value> struct CountingAllocator {
  using value_type = Value;
  explicit CountingAllocator(int& in_use) : used(&in_use) {}
  template <class Other>
  CountingAllocator(const CountingAllocator<Other>& other) : used(other.used) {}
  Value* allocate(std::size_t count) {
    ++*used;
    return std::allocator<Value>().allocate(count);
  }
  void deallocate(Value* memory, std::size_t count) {
    --*used;
    std::allocator<Value>().deallocate(memory, count);
  }
  friend bool operator==(const CountingAllocator&, const CountingAllocator&) = default;
  int* used;
};

TEST_F(Handlers, TheAssociatedAllocatorProvidesTheMemoryOfOperations) {
  int used = 0;
  const CountingAllocator<char> allocator(used);
  Operation read;
  Operation write;
  stream.expires_after(kSoon);
  pair.read(asio::bind_allocator(allocator, read.note()));
  EXPECT_GT(used, 0);
  stream.async_write_some(asio::buffer("abc", 3), asio::bind_allocator(allocator, write.note()));
  run();
  EXPECT_EQ(read.result(), kTimedOut);
  EXPECT_EQ(write.result(), success(3));
  EXPECT_EQ(used, 0);
}

template <class Value> struct NoMemory {
  using value_type = Value;
  NoMemory() = default;
  template <class Other> NoMemory(const NoMemory<Other>&) {}
  Value* allocate(std::size_t) { throw std::bad_alloc(); }
  void deallocate(Value*, std::size_t) {}
  friend bool operator==(const NoMemory&, const NoMemory&) = default;
};

TEST_F(Handlers, AnOperationThatCannotBeginLeavesTheStreamToTheNext) {
  Operation none;
  Operation read;
  stream.expires_after(kNever);
  EXPECT_THROW(pair.read(asio::bind_allocator(NoMemory<char>(), none.note())), std::bad_alloc);
  pair.send("four");
  pair.read(read.note());
  run();
  EXPECT_EQ(read.result(), success(4));
  EXPECT_FALSE(none.ended());
}

class Cancellation : public Handlers,
                     public testing::WithParamInterface<asio::cancellation_type> {};

TEST_P(Cancellation, OfOneOperationReachesTheSocket) {
  asio::cancellation_signal signal;
  Operation read;
  Operation write;
  stream.expires_after(kNever);
  pair.read(asio::bind_cancellation_slot(signal.slot(), read.note()));
  pair.write_much(write.note());
  signal.emit(GetParam());
  run_until(read);
  EXPECT_EQ(read.result(), kAborted);
  EXPECT_FALSE(write.ended()) << "the other direction goes on";
  EXPECT_TRUE(stream.socket().is_open());

  asio::cancellation_signal other;
  Connected<unix_stream> another(io.get_executor());
  Operation blocked;
  another.write_much(asio::bind_cancellation_slot(other.slot(), blocked.note()));
  other.emit(GetParam());
  run_until(blocked);
  EXPECT_EQ(blocked.result(), kAborted);
}

INSTANTIATE_TEST_SUITE_P(Types, Cancellation,
                         testing::Values(asio::cancellation_type::terminal,
                                         asio::cancellation_type::partial,
                                         asio::cancellation_type::total));

TEST_F(Handlers, AnOperationThatWasCancelledInTimeIsNotATimeout) {
  asio::cancellation_signal signal;
  Operation read;
  stream.expires_after(kSoon);
  pair.read(asio::bind_cancellation_slot(signal.slot(), read.note()));
  signal.emit(asio::cancellation_type::terminal);
  run();
  EXPECT_EQ(read.result(), kAborted);
  EXPECT_TRUE(stream.socket().is_open());
}

TEST_F(Handlers, AHandlerThatCanOnlyBeMovedIsTaken) {
  bool called = false;
  stream.expires_after(kNever);
  pair.send("four");
  pair.read([&called, only_moved = std::make_unique<int>(4)](beast::error_code, std::size_t bytes) {
    called = static_cast<int>(bytes) == *only_moved;
  });
  run();
  EXPECT_TRUE(called);
}

TEST_F(Handlers, AnExceptionOfAHandlerLeavesRunAndTheStreamWorksOn) {
  stream.expires_after(kNever);
  pair.send("four");
  pair.read([](beast::error_code, std::size_t) { throw 4; });
  EXPECT_THROW(io.run(), int);
  Operation read;
  stream.expires_after(kSoon);
  pair.read(read.note());
  run();
  EXPECT_EQ(read.result(), kTimedOut);
}

} // namespace
} // namespace timers::test
