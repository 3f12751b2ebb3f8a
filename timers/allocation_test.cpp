// Disarming, advancing, popping and re-arming with the same timeout allocate nothing (CONTRACT.md,
// line 18). operator new and posix_memalign() (which Boost.Align calls) are counted in this
// program.
#include "timers/testing/testing.hpp"

#include "timers/periodic_timer.hpp"
#include "timers/timer_pool.hpp"

#include <dlfcn.h>
#include <malloc.h>

#include <cstdlib>
#include <new>

namespace {
std::size_t allocations = 0;
std::size_t releases = 0;

void* counted(std::size_t bytes) {
  ++allocations;
  void* memory = std::malloc(bytes);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  return memory;
}
} // namespace

// Out of line, or GCC sees malloc's memory given to delete and warns of a mismatch.
#define COUNTED [[gnu::noinline]]
COUNTED void* operator new(std::size_t bytes) { return counted(bytes); }
COUNTED void* operator new[](std::size_t bytes) { return counted(bytes); }
COUNTED void operator delete(void* memory) noexcept {
  releases += memory != nullptr ? 1 : 0;
  std::free(memory);
}
COUNTED void operator delete[](void* memory) noexcept { operator delete(memory); }
COUNTED void operator delete(void* memory, std::size_t /*bytes*/) noexcept {
  operator delete(memory);
}
COUNTED void operator delete[](void* memory, std::size_t /*bytes*/) noexcept {
  operator delete(memory);
}

// The address sanitizer's own, under either name; clang links it into the program itself.
extern "C" [[gnu::weak]] int __interceptor_posix_memalign(void**, std::size_t, std::size_t);

extern "C" int posix_memalign(void** memory, std::size_t alignment, std::size_t bytes) noexcept {
  using Real = int (*)(void**, std::size_t, std::size_t);
  static const Real real = __interceptor_posix_memalign != nullptr
                               ? __interceptor_posix_memalign
                               : reinterpret_cast<Real>(dlsym(RTLD_NEXT, "posix_memalign"));
  ++allocations;
  return real(memory, alignment, bytes);
}

extern "C" [[gnu::weak]] std::size_t __sanitizer_get_current_allocated_bytes();

namespace timers::test {
namespace {

std::size_t heap_bytes() {
  if (__sanitizer_get_current_allocated_bytes != nullptr) {
    return __sanitizer_get_current_allocated_bytes();
  }
  const auto info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

constexpr std::size_t kTimers = 500;

class BackendAllocation : public ::testing::TestWithParam<BackendKind> {
protected:
  const BackendKind& kind = GetParam();
};
INSTANTIATE_TEST_SUITE_P(, BackendAllocation, ::testing::ValuesIn(backend_kinds()), backend_id);

class ServiceAllocation : public ::testing::TestWithParam<ServiceKind> {
protected:
  const ServiceKind& kind = GetParam();
};
INSTANTIATE_TEST_SUITE_P(, ServiceAllocation, ::testing::ValuesIn(service_kinds()), service_id);

// Counts what `work` allocates.
std::size_t allocated_by(const std::function<void()>& work) {
  const std::size_t before = allocations;
  work();
  return allocations - before;
}

TEST(AllocationCount, SeesAnAllocation) {
  // Called as functions: the compiler may leave out a new-expression.
  EXPECT_EQ(allocated_by([] { ::operator delete(::operator new(8)); }), 1U);
}

// The nodes are counted too: a backend that was made for no timers has none.
TEST_P(BackendAllocation, BytesPerTimerStayWithinTheClaim) {
  constexpr std::size_t kMany = 1500; // not the capacity that a doubled array has
  const std::size_t before = heap_bytes();
  const auto without = kind.make(0);
  const std::size_t fixed = heap_bytes() - before;
  const auto backend = kind.make(kMany);
  for (std::size_t timer = 0; timer < kMany; ++timer) {
    backend->arm(timer, 100);
  }
  const std::size_t bytes = heap_bytes() - before - 2 * fixed;
  const std::size_t claim = kind.info.bytes_per_timer;
#if defined(__SANITIZE_THREAD__)
  constexpr std::size_t kRounding = 4; // its allocator rounds up to sizes of its own
#else
  constexpr std::size_t kRounding = 0;
#endif
  EXPECT_LE(bytes / kMany, claim + kRounding);
  EXPECT_GE(bytes / kMany, claim / 2) << "claims more than it needs";
}

TEST_P(BackendAllocation, NoneInDisarmAdvancePopOrRearm) {
  const auto backend = kind.make(kTimers);
  const auto deadline = [&](std::size_t timer) {
    return std::min<Tick>(100 + timer * 17, kind.furthest(0));
  };
  for (std::size_t timer = 0; timer < kTimers; ++timer) {
    backend->arm(timer, deadline(timer));
  }
  EXPECT_EQ(allocated_by([&] {
              for (std::size_t timer = 0; timer < kTimers; ++timer) {
                backend->rearm(timer, deadline(timer)); // the same timeout
              }
              for (std::size_t timer = 0; timer < kTimers; timer += 2) {
                backend->disarm(timer);
              }
              for (Tick now = 0; now < 20'000; now += 50) {
                backend->advance(now);
                while (backend->pop_expired().has_value()) {
                }
              }
            }),
            0U);
}

// When as many timers were armed at a time before, whatever arming them again allocates is freed.
TEST_P(BackendAllocation, MemoryIsWhereItWasAfterManyLives) {
  const auto backend = kind.make(kTimers);
  const auto cycle = [&] {
    for (std::size_t timer = 0; timer < kTimers; ++timer) {
      backend->arm(timer, std::min<Tick>(100 + timer * 17, kind.furthest(0)));
    }
    for (std::size_t timer = 0; timer < kTimers; ++timer) {
      backend->disarm(timer);
    }
  };
  cycle();
  const std::size_t held = allocations - releases;
  for (int i = 0; i < 20; ++i) {
    cycle();
  }
  EXPECT_EQ(allocations - releases, held);
}

// Each run arms the timer with the same timeout, although the distance to the next tick varies
// (CONTRACT.md, lines 18 and 46).
TEST_P(ServiceAllocation, NoneWhenPeriodicTimersRun) {
  using namespace std::chrono_literals;
  Rig rig(kind);
  AnyFacility facility(rig.service());
  PeriodicTimer first(facility, [] {});
  PeriodicTimer second(facility, [] {}); // so that a list for the timeout stays
  const auto cycle = [&] {
    for (int round = 0; round < 1000; ++round) {
      rig.move_by(1ms);
      rig.service().run_due(kNoBudget);
    }
  };
  first.start(16'667us, facility.now());
  second.start(16'667us, facility.now());
  rig.move_by(8ms);
  second.start(16'667us, facility.now());
  cycle();
  EXPECT_EQ(allocated_by(cycle), 0U);
}

// (CONTRACT.md, line 50)
TEST_P(ServiceAllocation, NoneWhenAPoolThatHasGrownArms) {
  using namespace std::chrono_literals;
  Rig rig(kind);
  AnyFacility facility(rig.service());
  TimerPool<AnyFacility> pool(facility);
  std::array<TimerId, 100> ids{};
  const auto cycle = [&] {
    for (TimerId& id : ids) {
      id = pool.arm(10, facility.now(), [] {});
    }
    for (std::size_t i = 0; i < ids.size(); i += 2) {
      pool.disarm(ids[i]);
    }
    rig.move_by(10ms);
    rig.service().run_due(kNoBudget);
  };
  cycle();
  cycle();
  const std::size_t held = allocations - releases;
  const std::size_t in_pool = allocated_by(cycle);
  EXPECT_EQ(allocations - releases, held);
  if (kind.info.name != "duration-lists") { // makes the list for the timeout again
    EXPECT_EQ(in_pool, 0U);
  }
  const std::size_t reserving = allocated_by([&] { pool.reserve(1000); });
  EXPECT_GT(reserving, 0U);
  EXPECT_EQ(allocated_by([&] { pool.reserve(1000); }), 0U);
}

TEST_P(ServiceAllocation, NoneWhenALoneTimerIsFiledAgain) {
  using namespace std::chrono_literals;
  Rig rig(kind);
  const auto timer = rig.timer([] {});
  const auto cycle = [&] {
    for (int round = 0; round < 100; ++round) {
      rig.rearm(timer, 30ms);
      rig.move_by(10ms);
      rig.service().run_due(kNoBudget);
    }
  };
  cycle();
  EXPECT_EQ(allocated_by(cycle), 0U);
}

TEST_P(ServiceAllocation, NoneInALifeOfIdleTimeouts) {
  using namespace std::chrono_literals;
  Rig rig(kind);
  std::vector<TimerPtr> timers;
  std::size_t ran = 0;
  for (std::size_t i = 0; i < kTimers; ++i) {
    timers.push_back(rig.timer([&ran] { ++ran; })); // small enough for std::function to hold
    rig.arm(timers.back(), 30ms);
  }
  AnyService& service = rig.service();
  EXPECT_EQ(allocated_by([&] {
              for (int round = 0; round < 100; ++round) {
                rig.move_by(1ms);
                for (std::size_t i = 0; i < kTimers; i += 1 + i % 3) {
                  rig.rearm(timers[i], 30ms);
                }
                timers[static_cast<std::size_t>(round)]->disarm();
                service.run_due(kNoBudget);
              }
            }),
            0U);
  EXPECT_GT(ran, 0U);
}

} // namespace
} // namespace timers::test
