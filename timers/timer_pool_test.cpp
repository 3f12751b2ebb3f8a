// Pools of timers with ids, for every backend of the list in both ways to re-arm, with a clock
// moved by hand (CONTRACT.md, lines 49 and 50), and once with the driver. In one test random
// operations, some inside actions, are compared with a plain model.
#include "timers/timer_pool.hpp"

#include "timers/asio/driver.hpp"
#include "timers/hierarchical_wheel.hpp"
#include "timers/testing/testing.hpp"

#include <boost/asio/io_context.hpp>

#include <map>
#include <new>
#include <random>
#include <set>
#include <stdexcept>

namespace timers::test {
namespace {

using namespace std::chrono_literals;

using Callback = std::function<void()>;

class TimerPools : public ::testing::TestWithParam<ServiceKind> {
protected:
  using Pool = TimerPool<AnyFacility, Callback>;
  using Id = TimerId;

  Id arm(Ticks timeout, Callback action) {
    return pool->arm(timeout, facility.now(), std::move(action));
  }
  bool rearm(Id id, Ticks timeout) { return pool->rearm(id, timeout, facility.now()); }
  // An action that notes the number.
  Callback note(int number) {
    return [this, number] { ran.push_back(number); };
  }
  void pass_at(Tick tick) {
    rig.move_to_tick(tick);
    EXPECT_EQ(rig.pass(), Pass::done);
  }
  void expect_stale(Id id) {
    EXPECT_FALSE(pool->armed(id));
    EXPECT_FALSE(rearm(id, 5));
    EXPECT_FALSE(pool->disarm(id));
  }

  const ServiceKind& kind = GetParam();
  Rig rig{kind};
  AnyFacility facility{rig.service()};
  std::vector<int> ran;
  std::unique_ptr<Pool> pool = std::make_unique<Pool>(facility);
};
INSTANTIATE_TEST_SUITE_P(, TimerPools, ::testing::ValuesIn(service_kinds()), service_id);

// (CONTRACT.md, line 49)
TEST_P(TimerPools, AnIdIsLiveUntilItsTimerHasRunOrWasDisarmed) {
  const Id runs = arm(10, note(1));
  const Id disarmed = arm(10, note(2));
  const Id moved = arm(10, note(3));
  EXPECT_EQ(pool->size(), 3U);
  EXPECT_TRUE(pool->armed(runs));
  EXPECT_TRUE(pool->disarm(disarmed));
  expect_stale(disarmed);
  EXPECT_TRUE(rearm(moved, 20));
  pass_at(9);
  EXPECT_TRUE(ran.empty());
  pass_at(10);
  expect_stale(runs);
  EXPECT_TRUE(pool->armed(moved));
  pass_at(20);
  EXPECT_EQ(ran, (std::vector{1, 3}));
  expect_stale(moved);
  EXPECT_EQ(pool->size(), 0U);
}

// The next timer has the same slot, and the old id does not touch it (CONTRACT.md, line 49).
TEST_P(TimerPools, AStaleIdDoesNotTouchWhoHasTheSlotNow) {
  const Id old = arm(10, note(1));
  pool->disarm(old);
  const Id next = arm(10, note(2));
  EXPECT_EQ(static_cast<std::uint32_t>(static_cast<std::uint64_t>(old)),
            static_cast<std::uint32_t>(static_cast<std::uint64_t>(next)))
      << "this test wants the same slot";
  EXPECT_NE(old, next);
  expect_stale(old);
  pass_at(10);
  EXPECT_EQ(ran, std::vector{2});
  expect_stale(old);
}

// (CONTRACT.md, line 49)
TEST_P(TimerPools, AnIdThatWasNeverGivenOutIsStale) {
  expect_stale(Id::none);
  const Id id = arm(10, note(1));
  expect_stale(Id::none);
  const auto number = static_cast<std::uint64_t>(id);
  expect_stale(Id(number + 1));
  expect_stale(Id(number + (std::uint64_t{1} << 32)));
  expect_stale(Id(number | 0xffff'ffff));
  pool->disarm(id);
  expect_stale(Id(number + (std::uint64_t{1} << 32))); // what its slot would give out next
  expect_stale(Id::none);
}

// A slot whose generations are used up is not used again, so that no id comes twice (CONTRACT.md,
// line 49).
TEST_P(TimerPools, NoIdIsGivenOutTwiceWhenGenerationsAreUsedUp) {
  TimerPool<AnyFacility, Callback, 2> small(facility);
  std::set<TimerId> given;
  for (Tick tick = 0; tick < 100; ++tick) {
    rig.move_to_tick(tick);
    const auto id = small.arm(1, facility.now(), [] {});
    EXPECT_TRUE(given.insert(id).second) << "given out twice";
    EXPECT_NE(id, TimerId::none);
    if (tick % 2 == 0) {
      EXPECT_TRUE(small.disarm(id));
    }
    rig.move_to_tick(tick + 1);
    rig.pass();
    for (const auto& each : given) {
      ASSERT_FALSE(small.armed(each));
      ASSERT_FALSE(small.disarm(each));
    }
  }
  ASSERT_FALSE(small.disarm(TimerId::none));
  EXPECT_EQ(small.size(), 0U);
}

// (CONTRACT.md, line 50)
TEST_P(TimerPools, AnActionMayArmItsOwnIdAgain) {
  Id self{};
  self = arm(10, [&] {
    ran.push_back(1);
    EXPECT_FALSE(pool->armed(self));
    if (ran.size() < 3) {
      EXPECT_TRUE(rearm(self, 10));
      EXPECT_TRUE(pool->armed(self));
    }
  });
  for (Tick tick = 1; tick <= 50; ++tick) {
    pass_at(tick);
  }
  EXPECT_EQ(ran.size(), 3U);
  expect_stale(self);
}

// What the action holds lives until the action returns, and the slot may have another timer by
// then (CONTRACT.md, line 50).
TEST_P(TimerPools, AnActionMayDisarmItsOwnIdAndArmAnother) {
  Id self{};
  Id next{};
  const auto held = std::make_shared<int>(7);
  self = arm(10, [&, held] {
    EXPECT_TRUE(pool->disarm(self));
    expect_stale(self);
    next = arm(10, note(2));
    EXPECT_EQ(held.use_count(), 2);
    ran.push_back(*held);
  });
  pass_at(10);
  EXPECT_EQ(held.use_count(), 1);
  expect_stale(self);
  EXPECT_TRUE(pool->armed(next));
  pass_at(20);
  EXPECT_EQ(ran, (std::vector{7, 2}));
}

// (CONTRACT.md, line 50)
TEST_P(TimerPools, AnActionMayUseOtherIdsOfItsPass) {
  std::vector<Id> ids;
  for (int i = 0; i < 5; ++i) {
    ids.push_back(arm(10, [&, i] {
      ran.push_back(i);
      for (int other = 0; other < 5; ++other) {
        EXPECT_EQ(pool->disarm(ids[static_cast<std::size_t>(other)]), true) << other;
      }
      for (int more = 0; more < 100; ++more) {
        arm(10, note(100)); // the pool grows meanwhile
      }
    }));
  }
  pass_at(10);
  EXPECT_EQ(ran.size(), 1U);
  pass_at(20);
  EXPECT_EQ(ran.size(), 101U);
  EXPECT_EQ(pool->size(), 0U);
}

// (CONTRACT.md, line 50)
TEST_P(TimerPools, AnActionMayDestroyThePool) {
  const auto held = std::make_shared<int>(0);
  for (int i = 0; i < 3; ++i) {
    arm(10, [&, held] {
      pool.reset();
      ran.push_back(static_cast<int>(held.use_count()));
    });
  }
  pass_at(10);
  EXPECT_EQ(ran, std::vector{2}) << "the other actions are gone, the running one is not";
  EXPECT_EQ(held.use_count(), 1);
}

TEST_P(TimerPools, AnActionMayDestroyTheService) {
  const Id self = arm(10, [&] { rig.destroy_service(); });
  const Id other = arm(20, note(1));
  rig.move_to_tick(10);
  EXPECT_EQ(rig.pass(), Pass::destroyed);
  EXPECT_FALSE(pool->disarm(self));
  EXPECT_FALSE(pool->armed(other));
  EXPECT_TRUE(pool->disarm(other));
}

// (CONTRACT.md, line 50)
TEST_P(TimerPools, AnActionThatThrowsLeavesItsIdStaleOrArmedAgain) {
  const Id once = arm(10, [] { throw std::runtime_error("an action"); });
  rig.move_to_tick(10);
  EXPECT_THROW(rig.pass(), std::runtime_error);
  expect_stale(once);
  Id again{};
  again = arm(10, [&] {
    ran.push_back(1);
    if (ran.size() == 1) {
      rearm(again, 10);
      throw std::runtime_error("an action");
    }
  });
  rig.move_to_tick(20);
  EXPECT_THROW(rig.pass(), std::runtime_error);
  EXPECT_TRUE(pool->armed(again));
  pass_at(30);
  EXPECT_EQ(ran.size(), 2U);
  expect_stale(again);
}

// The destructor of what an action holds finds the pool whole, and its own id stale (CONTRACT.md,
// line 50).
TEST_P(TimerPools, DestructorsOfActionsMayUseThePool) {
  Id held{};
  Id other{};
  const auto holder = [&] {
    return std::shared_ptr<void>(nullptr, [&](void*) {
      EXPECT_FALSE(pool->disarm(held));
      EXPECT_TRUE(pool->disarm(other));
      arm(5, note(3));
    });
  };
  other = arm(50, note(2));
  held = arm(10, [keep = holder()] {});
  EXPECT_TRUE(pool->disarm(held));
  other = arm(50, note(2));
  held = arm(10, [keep = holder()] {});
  pass_at(20);
  pass_at(60);
  EXPECT_EQ(ran, (std::vector{3, 3}));
  // The destructor of each of two actions disarms the other, whichever is first.
  Pool& dying = *pool; // which the pointer no longer names by then
  int found = 0;
  const auto disarms = [&](const TimerId& which) {
    return std::shared_ptr<void>(nullptr, [&](void*) { found += dying.disarm(which) ? 1 : 0; });
  };
  held = arm(10, [keep = disarms(other)] {});
  other = arm(10, [keep = disarms(held)] {});
  pool.reset();
  EXPECT_EQ(found, 1);
}

TEST_P(TimerPools, TellsAnActionItsId) {
  std::vector<std::uint64_t> told;
  const auto tell = [&told](TimerId id) { told.push_back(static_cast<std::uint64_t>(id)); };
  TimerPool<AnyFacility, std::function<void(TimerId)>> telling(facility);
  const auto first = telling.arm(10, facility.now(), tell);
  const auto second = telling.arm(11, facility.now(), tell);
  pass_at(10);
  pass_at(11);
  EXPECT_EQ(told,
            (std::vector{static_cast<std::uint64_t>(first), static_cast<std::uint64_t>(second)}));
}

// A facility whose arm() fails, after it has armed the timer, as when a driver cannot wake.
struct Failing : AnyFacility {
  using AnyFacility::AnyFacility;
  struct Timer : AnyFacility::Timer {
    Timer(Failing& facility, Action action) : AnyFacility::Timer(facility, action), on(facility) {}
    void arm(Ticks timeout, Instant now) {
      AnyFacility::Timer::arm(timeout, now);
      if (on.fails) {
        throw std::bad_alloc();
      }
    }
    Failing& on;
  };
  bool fails = false;
};

// (CONTRACT.md, line 49)
TEST_P(TimerPools, WhenATimerCannotBeArmedNothingHasChanged) {
  Failing failing(rig.service());
  TimerPool<Failing, Callback> here(failing);
  failing.fails = true;
  EXPECT_THROW(here.arm(10, failing.now(), note(1)), std::bad_alloc);
  EXPECT_EQ(here.size(), 0U);
  pass_at(10);
  failing.fails = false;
  const auto id = here.arm(10, failing.now(), note(2));
  EXPECT_TRUE(here.armed(id));
  pass_at(20);
  EXPECT_EQ(ran, std::vector{2});
}

// What a pool is compared with: the deadline of each id that is live.
struct Model {
  std::map<std::uint64_t, Tick> live; // kNever: its action runs
  std::set<std::uint64_t> given;      // all that there ever were
};

// Random operations on ids, live and stale ones, half of them inside actions (CONTRACT.md, lines 49
// and 50).
TEST_P(TimerPools, EqualTheModelUnderRandomOperations) {
  for (unsigned seed = 1; seed <= 15; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    Rig one(kind);
    AnyFacility its_facility(one.service());
    std::function<void(std::uint64_t)> on_run;
    const auto action = [&on_run](TimerId id) { on_run(static_cast<std::uint64_t>(id)); };
    TimerPool<AnyFacility, std::function<void(TimerId)>, 4> small(its_facility);
    Model model;
    Tick earliest = 0; // in which a timer that is armed now may run
    const auto due = [&](Ticks timeout) {
      return std::max(one.service().now().ceil + timeout, earliest);
    };
    const auto operate = [&] {
      const Ticks timeout = random() % 60;
      const auto some = model.given.empty()
                            ? model.given.end()
                            : std::next(model.given.begin(),
                                        static_cast<std::ptrdiff_t>(random() % model.given.size()));
      const std::uint64_t number = some == model.given.end() ? 0 : *some;
      // The younger half of the ids, mostly, or hardly any would be live.
      const std::uint64_t id =
          random() % 2 == 0 || model.live.empty()
              ? number
              : std::next(model.live.begin(),
                          static_cast<std::ptrdiff_t>(random() % model.live.size()))
                    ->first;
      const auto at = model.live.find(id);
      const bool is_live = at != model.live.end();
      ASSERT_EQ(small.armed(TimerId(id)), is_live && at->second != kNever);
      switch (random() % 3) {
      case 0: {
        const auto armed =
            static_cast<std::uint64_t>(small.arm(timeout, its_facility.now(), action));
        ASSERT_TRUE(model.given.insert(armed).second) << "given out twice";
        model.live[armed] = due(timeout);
        break;
      }
      case 1:
        ASSERT_EQ(small.rearm(TimerId(id), timeout, its_facility.now()), is_live);
        if (is_live) {
          at->second = due(timeout);
        }
        break;
      default:
        ASSERT_EQ(small.disarm(TimerId(id)), is_live);
        model.live.erase(id);
      }
      ASSERT_EQ(small.size(), model.live.size());
    };
    on_run = [&](std::uint64_t id) {
      const auto at = model.live.find(id);
      ASSERT_NE(at, model.live.end());
      ASSERT_LE(at->second, one.service().now().floor);
      at->second = kNever;
      for (unsigned i = random() % 4; i > 0; --i) {
        operate();
      }
      if (const auto still = model.live.find(id);
          still != model.live.end() && still->second == kNever) {
        model.live.erase(still);
      }
    };
    for (int step = 0; step < 600 && !HasFatalFailure(); ++step) {
      earliest = 0;
      operate();
      one.move_by(nanoseconds(random() % 3'000'000));
      const Tick tick = one.service().now().floor;
      earliest = tick + 1;
      one.pass();
      for (const auto& [id, deadline] : model.live) {
        ASSERT_GT(deadline, tick) << "late";
        ASSERT_TRUE(small.armed(TimerId(id)));
      }
    }
  }
}

TEST(TimerPoolOfADriver, RunsWhatIsArmed) {
  boost::asio::io_context io{1};
  using Driver = AsioDriver<HierarchicalWheel>;
  Driver driver{io.get_executor()};
  TimerPool<Driver> pool(driver);
  pool.reserve(2);
  int ran = 0;
  pool.arm(driver.timeout(1ms), driver.now(), [&ran] { ++ran; });
  const auto later = pool.arm(driver.timeout(2ms), driver.now(), [&ran] { ran += 10; });
  EXPECT_TRUE(pool.disarm(later));
  io.run();
  EXPECT_EQ(ran, 1);
  EXPECT_EQ(pool.size(), 0U);
}

} // namespace
} // namespace timers::test
