// The waits of timers::steady_timer: their memory, and the ends of timers and contexts in every
// order. What Asio promises too is tested on its timers as well (CONTRACT.md, lines 38 and 43).
#include "timers/asio/wait_queue.hpp"

#include "timers/asio/steady_timer.hpp"
#include "timers/testing/steady_timers.hpp"

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>

#include <gmock/gmock.h>

#include <map>
#include <memory>
#include <new>
#include <optional>
#include <vector>

namespace timers::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using time_point = Clock::time_point;

// The memory that an allocator gave.
struct Arena {
  std::map<void*, std::size_t> blocks;
  std::size_t given = 0;
  std::size_t fail_after = 1000; // so many blocks can still be had

  void* allocate(std::size_t bytes) {
    if (fail_after == 0) {
      throw std::bad_alloc();
    }
    --fail_after;
    ++given;
    void* const block = ::operator new(bytes);
    blocks[block] = bytes;
    return block;
  }
  void deallocate(void* block, std::size_t bytes) {
    const auto at = blocks.find(block);
    ASSERT_NE(at, blocks.end()) << "a block of another allocator";
    EXPECT_EQ(at->second, bytes);
    blocks.erase(at);
    ::operator delete(block);
  }
};

template <class T> struct ArenaAllocator {
  using value_type = T;
  explicit ArenaAllocator(std::shared_ptr<Arena> of) : arena(std::move(of)) {}
  template <class U> ArenaAllocator(const ArenaAllocator<U>& other) : arena(other.arena) {}
  T* allocate(std::size_t count) { return static_cast<T*>(arena->allocate(count * sizeof(T))); }
  void deallocate(T* block, std::size_t count) { arena->deallocate(block, count * sizeof(T)); }
  template <class U> bool operator==(const ArenaAllocator<U>& other) const {
    return arena == other.arena;
  }
  std::shared_ptr<Arena> arena;
};

// A handler with an arena, of which nothing may be left when it is called.
struct ArenaHandler {
  using allocator_type = ArenaAllocator<void>;
  allocator_type get_allocator() const noexcept { return allocator_type(arena); }
  void operator()(error_code error) {
    EXPECT_THAT(arena->blocks, IsEmpty());
    log->handler(number)(error);
  }
  std::shared_ptr<Arena> arena;
  Log* log;
  int number;
};

template <class Kind> class Waits : public testing::Test {
protected:
  std::optional<asio::io_context> context_{std::in_place};
  Log log_;
  std::shared_ptr<Arena> arena_ = std::make_shared<Arena>();
};
TYPED_TEST_SUITE(Waits, BothKinds, KindName);
template <class Kind> class WheelWaits : public Waits<Kind> {};
TYPED_TEST_SUITE(WheelWaits, WheelKinds, KindName);

#define WAIT_NAMES                                                                                 \
  using Timer [[maybe_unused]] = typename TypeParam::template Timer<>;                             \
  [[maybe_unused]] auto& context = this->context_;                                                 \
  [[maybe_unused]] auto& io = *this->context_;                                                     \
  [[maybe_unused]] auto& log = this->log_;                                                         \
  [[maybe_unused]] auto& arena = this->arena_;                                                     \
  [[maybe_unused]] const auto handler = [&](int number) {                                          \
    return ArenaHandler{arena, &log, number};                                                      \
  }

TYPED_TEST(Waits, TakeTheirMemoryFromTheHandlersAllocatorAndGiveItBackBeforeTheCall) {
  WAIT_NAMES;
  Timer timer(io, 20ms);
  timer.async_wait(handler(1));
  EXPECT_EQ(arena->given, 1U);
  EXPECT_EQ(arena->blocks.size(), 1U);
  run_out(io);
  timer.async_wait(handler(2));
  timer.cancel();
  run_out(io);
  timer.async_wait(handler(3)); // its time is over
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess), Pair(2, kAborted), Pair(3, kSuccess)));
  EXPECT_EQ(arena->given, 3U);
  EXPECT_EQ(arena.use_count(), 1);
}

TYPED_TEST(Waits, TakeTheirMemoryFromThereOnAnotherExecutorToo) {
  WAIT_NAMES;
  asio::io_context other;
  const auto strand = asio::make_strand(other);
  Timer timer(io, 20ms);
  timer.async_wait(asio::bind_executor(strand, handler(1)));
  run_out(io);
  EXPECT_GT(arena->given, 1U) << "on its way to the strand it needs memory again";
  EXPECT_THAT(log.entries, IsEmpty());
  run_out(other);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kSuccess)));
  EXPECT_THAT(arena->blocks, IsEmpty());
  EXPECT_EQ(arena.use_count(), 1);
}

TYPED_TEST(Waits, AreDestroyedUncalledWithTheirContext) {
  WAIT_NAMES;
  std::vector<std::unique_ptr<Timer>> timers;
  for (int i = 0; i < 1000; ++i) {
    // One in three is pending, one never expires, and one is cancelled but was not called yet.
    auto& timer = timers.emplace_back(std::make_unique<Timer>(io, kLong));
    if (i % 3 == 1) {
      timer->expires_at(time_point::max());
    }
    timer->async_wait(handler(i));
    if (i % 3 == 2) {
      timer->cancel();
    }
  }
  EXPECT_EQ(arena->blocks.size(), 1000U);
  timers.resize(500); // these are destroyed before the context, whose end still has their waits
  if constexpr (std::is_same_v<TypeParam, AsioKind>) {
    timers.clear(); // Asio's own may not outlive their context
  }
  context.reset();
  EXPECT_THAT(log.entries, IsEmpty());
  EXPECT_THAT(arena->blocks, IsEmpty());
  EXPECT_EQ(arena.use_count(), 1);
}

TYPED_TEST(Waits, OwnTheirTimersAndAreDestroyedWithTheContext) {
  WAIT_NAMES;
  std::weak_ptr<Timer> last;
  for (int i = 0; i < 1000; ++i) {
    const auto timer = std::make_shared<Timer>(io, kLong);
    last = timer;
    timer->async_wait([timer, handler = handler(i)](error_code) mutable { FAIL(); });
    if (i % 2 == 1) { // each owns two timers, both of which have waits
      const auto other = std::make_shared<Timer>(io, kLong);
      other->async_wait([timer, other](error_code) { FAIL(); });
    }
  }
  EXPECT_FALSE(last.expired());
  context.reset();
  EXPECT_TRUE(last.expired());
  EXPECT_EQ(arena.use_count(), 1);
}

TYPED_TEST(Waits, AreDestroyedOnTheirWayToAnotherContext) {
  WAIT_NAMES;
  {
    asio::io_context other;
    Timer timer(io, kLong);
    timer.async_wait(asio::bind_executor(other, handler(1)));
    timer.cancel();
    run_out(io);
    EXPECT_FALSE(arena->blocks.empty());
    if constexpr (!std::is_same_v<TypeParam, AsioKind>) {
      context.reset(); // the handler's context must not need the timer's any more
    }
  }
  EXPECT_THAT(log.entries, IsEmpty());
  EXPECT_THAT(arena->blocks, IsEmpty());
}

TYPED_TEST(Waits, AreNotStartedWhenThereIsNoMemory) {
  WAIT_NAMES;
  Timer timer(io, kLong);
  timer.async_wait(handler(1));
  arena->fail_after = 0;
  EXPECT_THROW(timer.async_wait(handler(2)), std::bad_alloc);
  EXPECT_EQ(timer.cancel(), 1U);
  run_out(io);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted)));
  EXPECT_EQ(arena.use_count(), 1);
}

TYPED_TEST(WheelWaits, MayBeLeftBehindByTheContextOfTheirTimer) {
  WAIT_NAMES;
  Timer timer(io, kLong);
  Timer moved(io, kLong);
  timer.async_wait(handler(1));
  moved.async_wait(handler(2));
  context.reset();
  EXPECT_THAT(arena->blocks, IsEmpty());
  Timer other(std::move(moved));
  EXPECT_EQ(timer.cancel(), 0U);
  EXPECT_EQ(other.expires_after(1s), 0U);
  other.rearm_after(0s);
}

// What a handler's destructor starts at the end of its context has no future.
TYPED_TEST(WheelWaits, AreDestroyedWhenTheyAreStartedAtTheEndOfTheContext) {
  WAIT_NAMES;
  auto old = std::make_shared<Timer>(io, kLong);
  auto unused = std::make_shared<Timer>(io, kLong);
  struct StartsMore {
    std::shared_ptr<Timer> old, unused;
    ArenaHandler handler;
    ~StartsMore() {
      old->expires_after(0s);
      old->async_wait(handler);
      unused->async_wait(handler);
    }
  };
  auto starts = std::make_shared<StartsMore>(StartsMore{old, unused, handler(1)});
  old->async_wait([starts](error_code) {});
  starts.reset();
  context.reset();
  EXPECT_THAT(arena->blocks, IsEmpty());
  EXPECT_THAT(log.entries, IsEmpty());
  EXPECT_EQ(arena.use_count(), 1);
}

// An executor that refuses some of what it is given, as one that has no memory.
struct Refusing {
  static inline int refuse = 0;

  asio::io_context::executor_type inner;

  asio::execution_context& query(asio::execution::context_t) const { return inner.context(); }
  asio::execution::blocking_t query(asio::execution::blocking_t) const {
    return asio::execution::blocking.never;
  }
  Refusing require(asio::execution::blocking_t::never_t) const { return *this; }
  template <class Function> void execute(Function function) const {
    if (refuse > 0) {
      --refuse;
      throw std::bad_alloc();
    }
    asio::post(inner, std::move(function));
  }
  friend bool operator==(const Refusing& a, const Refusing& b) noexcept {
    return a.inner == b.inner;
  }
  friend bool operator!=(const Refusing& a, const Refusing& b) noexcept { return !(a == b); }
};

TYPED_TEST(WheelWaits, AreCompletedLaterWhenTheExecutorRefusesTheirTurn) {
  WAIT_NAMES;
  Timer(io, 1ms).async_wait([](error_code) {}); // so that the service's wake-ups are not refused
  auto work = asio::make_work_guard(io);        // because this executor counts no work
  const auto run_until = [&](std::size_t completed) {
    const auto start = Clock::now();
    while (log.entries.size() < completed && Clock::now() - start < kPatience) {
      io.run_for(10ms);
    }
    EXPECT_EQ(log.entries.size(), completed);
  };
  std::optional<Timer> timer(std::in_place, Refusing{io.get_executor()}, kLong);
  timer->async_wait(log.handler(1));
  timer->async_wait(log.handler(2));
  Refusing::refuse = 2; // the turn, and the check that takes its place
  EXPECT_EQ(timer->cancel(), 2U);
  run_until(2);
  EXPECT_EQ(Refusing::refuse, 0);
  timer->async_wait(log.handler(3));
  Refusing::refuse = 1;
  timer.reset();
  run_until(3);
  timer.emplace(Refusing{io.get_executor()}, 20ms);
  timer->async_wait(log.handler(4));
  timer->async_wait(log.handler(5));
  Refusing::refuse = 1;
  run_until(5);
  EXPECT_THAT(log.entries, ElementsAre(Pair(1, kAborted), Pair(2, kAborted), Pair(3, kAborted),
                                       Pair(4, kSuccess), Pair(5, kSuccess)));
  timer->async_wait(handler(6));
  Refusing::refuse = 1;
  timer->cancel();
  timer.reset();
  Refusing::refuse = 0;
  work.reset();
  context.reset(); // before a check came for it
  EXPECT_THAT(arena->blocks, IsEmpty());
  EXPECT_EQ(arena->given, 1U);
}

} // namespace
} // namespace timers::test
