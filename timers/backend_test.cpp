// The contract of backend.hpp, for every backend of the list. Each test says its property and the
// line of timers/CONTRACT.md that promises it: lines 1 to 7 are about when timers run, 8 to 12
// about their handles, 16 to 19 about order and cost, 20 and 21 about how this is tested.
#include "timers/testing/testing.hpp"

#include <map>
#include <numeric>
#include <random>

namespace timers::test {
namespace {

class BackendContract : public ::testing::TestWithParam<BackendKind> {
protected:
  const BackendKind& kind = GetParam();
};
INSTANTIATE_TEST_SUITE_P(, BackendContract, ::testing::ValuesIn(backend_kinds()), backend_id);

std::vector<std::size_t> drain(AnyBackend& backend) {
  std::vector<std::size_t> popped;
  while (const auto timer = backend.pop_expired()) {
    popped.push_back(*timer);
  }
  return popped;
}

std::vector<std::size_t> advance_and_drain(AnyBackend& backend, Tick now) {
  backend.advance(now);
  return drain(backend);
}

// 0, 1, ..., count - 1
std::vector<std::size_t> first_timers(std::size_t count) {
  std::vector<std::size_t> timers(count);
  std::iota(timers.begin(), timers.end(), std::size_t{0});
  return timers;
}

// Where time stands when a timer is armed: around slot, level and power-of-two edges.
const std::vector<Tick> kPhases = {0,
                                   1,
                                   62,
                                   63,
                                   64,
                                   65,
                                   127,
                                   128,
                                   4031,
                                   4032,
                                   4095,
                                   4096,
                                   4097,
                                   8191,
                                   262143,
                                   262144,
                                   (Tick{1} << 32) - 1,
                                   Tick{1} << 32,
                                   (Tick{1} << 60) - 1,
                                   (Tick{1} << 63) - 1,
                                   Tick{1} << 63};

// A single timer is due at its tick, not one tick early or late, at every edge (CONTRACT.md, lines
// 1, 2 and 6).
TEST_P(BackendContract, NeverEarlyAtAnySlotLevelOrPowerOfTwoEdge) {
  for (const Tick phase : kPhases) {
    for (const Ticks distance : edge_distances(kind.furthest(phase))) {
      const auto backend = kind.make(1);
      EXPECT_TRUE(advance_and_drain(*backend, phase).empty());
      backend->arm(0, phase + distance);
      EXPECT_EQ(backend->check(), "");
      if (distance > 0) {
        EXPECT_TRUE(advance_and_drain(*backend, phase + distance - 1).empty());
      }
      EXPECT_EQ(backend->check(), "");
      const auto popped = advance_and_drain(*backend, phase + distance);
      ASSERT_EQ(popped, first_timers(1)) << "armed at " << phase << " for " << distance << " more";
    }
  }
}

// So is each of many: a timer at every edge at once, reached one tick at a time (CONTRACT.md,
// lines 1 and 2).
TEST_P(BackendContract, EachRunsAtItsOwnTickAmongTimersAtEveryEdge) {
  for (const Tick phase : {Tick{0}, Tick{63}, Tick{4095}, Tick{262143}}) {
    const std::vector<Ticks> distances = edge_distances(kind.furthest(phase));
    const auto backend = kind.make(distances.size());
    backend->advance(phase);
    for (std::size_t timer = distances.size(); timer-- > 0;) {
      backend->arm(timer, phase + distances[timer]);
    }
    EXPECT_EQ(backend->check(), "");
    for (std::size_t timer = 0; timer < distances.size(); ++timer) {
      const Tick deadline = phase + distances[timer];
      if (distances[timer] > 0) {
        EXPECT_TRUE(advance_and_drain(*backend, deadline - 1).empty()) << deadline;
      }
      ASSERT_EQ(advance_and_drain(*backend, deadline), std::vector{timer}) << deadline;
      ASSERT_EQ(backend->check(), "");
    }
  }
}

// Timers at every tick of three turns of a small wheel are each due at their tick, while time
// moves tick by tick (CONTRACT.md, lines 1 and 2).
TEST_P(BackendContract, EveryTimeoutFromEveryPhaseRunsOnItsTick) {
  constexpr std::size_t kTimers = 200; // over three turns of 64 slots
  const auto backend = kind.make(kTimers);
  std::vector<Tick> deadlines(kTimers, kNever);
  for (Tick now = 0; now < 5000; ++now) {
    backend->advance(now);
    while (const auto timer = backend->pop_expired()) {
      ASSERT_EQ(deadlines[*timer], now);
      deadlines[*timer] = kNever;
    }
    for (std::size_t timer = now % 7; timer < kTimers; timer += 7) {
      if (deadlines[timer] == kNever) {
        deadlines[timer] = now + 1 + timer;
        backend->arm(timer, deadlines[timer]);
      }
    }
    for (std::size_t timer = 0; timer < kTimers; ++timer) {
      ASSERT_TRUE(deadlines[timer] == kNever || deadlines[timer] > now) << "missed " << timer;
    }
    if (now % 61 == 0) {
      ASSERT_EQ(backend->check(), "");
    }
  }
}

// A jump of any size hands out each due timer exactly once (CONTRACT.md, line 3).
TEST_P(BackendContract, AJumpOfAnySizeRunsEachDueTimerExactlyOnce) {
  const std::vector<Ticks> jumps = edge_distances(kind.furthest(101) - 1);
  for (const Tick phase : {Tick{0}, Tick{63}, Tick{100}}) {
    for (const Ticks jump : jumps) {
      // One timer just behind where the jump ends, one just there, one ahead, one half-way.
      const Tick target = phase + jump;
      const auto backend = kind.make(4);
      backend->advance(phase);
      backend->arm(0, phase + jump / 2);
      backend->arm(1, target - (jump > 0 ? 1 : 0));
      backend->arm(2, target);
      backend->arm(3, target + 1);
      backend->advance(target);
      EXPECT_EQ(backend->check(), "");
      auto popped = drain(*backend);
      std::sort(popped.begin(), popped.end());
      ASSERT_EQ(popped, first_timers(3)) << "a jump by " << jump << " from " << phase;
      ASSERT_EQ(advance_and_drain(*backend, target + 1), std::vector<std::size_t>{3});
    }
  }
}

// An advance to an earlier tick makes nothing due and loses nothing (CONTRACT.md, line 4).
TEST_P(BackendContract, AnEarlierTickThanTheLastIsANoOp) {
  const auto backend = kind.make(2);
  backend->arm(0, 100);
  backend->arm(1, 200);
  EXPECT_TRUE(advance_and_drain(*backend, 99).empty());
  EXPECT_TRUE(advance_and_drain(*backend, 3).empty());
  EXPECT_EQ(backend->check(), "");
  backend->rearm(1, 101);
  EXPECT_TRUE(advance_and_drain(*backend, 99).empty());
  EXPECT_EQ(advance_and_drain(*backend, 100), std::vector<std::size_t>{0});
  EXPECT_TRUE(advance_and_drain(*backend, 64).empty());
  EXPECT_EQ(advance_and_drain(*backend, 101), std::vector<std::size_t>{1});
}

// A timeout of nothing, or a deadline that time has overtaken, is due at once (CONTRACT.md, line
// 6).
TEST_P(BackendContract, ADeadlineAlreadyPassedIsDueAtOnce) {
  const auto backend = kind.make(3);
  backend->advance(1000);
  backend->arm(0, 1000);
  EXPECT_EQ(backend->check(), "");
  EXPECT_LE(backend->next_deadline(), Tick{1000});
  EXPECT_EQ(drain(*backend), std::vector<std::size_t>{0});
  backend->arm(1, 3);
  EXPECT_LE(backend->next_deadline(), Tick{1000});
  EXPECT_EQ(drain(*backend), std::vector<std::size_t>{1});
  backend->arm(2, 1200);
  backend->rearm(2, 999);
  EXPECT_EQ(backend->check(), "");
  EXPECT_EQ(drain(*backend), std::vector<std::size_t>{2});
}

// The largest deadline that can be filed is served like any other (CONTRACT.md, line 6).
TEST_P(BackendContract, TheLatestDeadlineIsStillExact) {
  for (const Tick phase : {Tick{0}, kLatest - 20}) {
    if (kind.furthest(phase) < kLatest - phase) {
      continue;
    }
    const auto backend = kind.make(2);
    backend->advance(phase);
    backend->arm(0, kLatest);
    backend->arm(1, phase + 1);
    EXPECT_EQ(advance_and_drain(*backend, kLatest - 1), std::vector<std::size_t>{1});
    EXPECT_EQ(backend->check(), "");
    EXPECT_EQ(advance_and_drain(*backend, kLatest), std::vector<std::size_t>{0});
  }
}

// A fault that was found in min-array (CONTRACT.md, line 22), when its base had moved to where less
// than 2^31 ticks lie ahead of it.
TEST_P(BackendContract, APassedDeadlineIsDueEvenAtTheEndOfTime) {
  const auto backend = kind.make(1);
  EXPECT_TRUE(advance_and_drain(*backend, kLatest).empty());
  backend->arm(0, 5);
  EXPECT_EQ(advance_and_drain(*backend, kLatest), std::vector<std::size_t>{0});
}

// All that a wheel holds is due long before the end of the jump, and what is armed afterwards is
// not (CONTRACT.md, line 3).
TEST_P(BackendContract, AJumpOverManyTurnsLeavesNothingBehind) {
  for (const Ticks jump :
       {Ticks{256}, Ticks{4096}, Ticks{1} << 31, Ticks{1} << 32, Ticks{1} << 45}) {
    const auto backend = kind.make(4);
    backend->arm(0, 200);
    backend->arm(1, 5);
    backend->arm(2, 69); // in the slot of timer 1, where there are 64
    EXPECT_EQ(advance_and_drain(*backend, jump), (std::vector<std::size_t>{1, 2, 0})) << jump;
    EXPECT_EQ(backend->next_deadline(), kNever);
    backend->arm(3, jump + 64);
    EXPECT_TRUE(advance_and_drain(*backend, jump + 63).empty());
    EXPECT_EQ(advance_and_drain(*backend, jump + 64), std::vector<std::size_t>{3});
    EXPECT_EQ(backend->check(), "");
  }
}

// next_deadline() says never when nothing is armed (CONTRACT.md, line 7).
TEST_P(BackendContract, NextDeadlineIsNoneWhenEmpty) {
  const auto backend = kind.make(2);
  EXPECT_EQ(backend->next_deadline(), kNever);
  backend->arm(0, 10);
  backend->arm(1, 200);
  backend->disarm(0);
  backend->disarm(1);
  EXPECT_EQ(backend->next_deadline(), kNever);
  backend->arm(0, 10);
  EXPECT_LE(backend->next_deadline(), Tick{10});
  EXPECT_EQ(advance_and_drain(*backend, 20).size(), 1U);
  EXPECT_EQ(backend->next_deadline(), kNever);
}

// An advance to an earlier tick leaves next_deadline() as it was (CONTRACT.md, line 4).
TEST_P(BackendContract, AnEarlierTickThanTheLastChangesNothing) {
  const auto backend = kind.make(2);
  backend->arm(0, 10);
  backend->advance(20);
  backend->advance(5);
  EXPECT_EQ(backend->pop_expired(), 0U);
  backend->arm(1, 15);
  EXPECT_EQ(backend->pop_expired(), 1U);
  EXPECT_EQ(backend->check(), "");
}

// next_deadline() is never late, and exact where claimed, for every pair of edges in both orders
// of arming (CONTRACT.md, line 7).
TEST_P(BackendContract, NextDeadlineIsNeverLateAndExactWhereClaimed) {
  const std::vector<Ticks> distances =
      edge_distances(std::min(Ticks{1} << 20, kind.furthest(0) - 7));
  for (const Tick phase : {Tick{0}, Tick{62}, Tick{4095}}) {
    for (const Ticks first : distances) {
      for (const Ticks second : distances) {
        const auto backend = kind.make(2);
        backend->advance(phase);
        backend->arm(0, phase + first);
        backend->arm(1, phase + second);
        const Tick earliest = phase + std::min(first, second);
        const Tick next = backend->next_deadline();
        ASSERT_LE(next, earliest) << first << ' ' << second;
        ASSERT_TRUE(earliest == phase || next > phase) << "a wake-up for what has passed";
        if (kind.info.exact_next_deadline) {
          ASSERT_EQ(next, earliest);
        }
        backend->rearm(0, phase + second + 7);
        ASSERT_LE(backend->next_deadline(), phase + second) << first << ' ' << second;
      }
    }
  }
}

// Sleeping to next_deadline() reaches every timer. The wake-ups that find nothing due are at most
// one per level of a hierarchy (ten), one per timer that is moved or disarmed, and for a wheel
// with rounds one per slot and turn (CONTRACT.md, line 7).
TEST_P(BackendContract, SleepingToNextDeadlineReachesEveryTimerWithFewIdleWakeUps) {
  std::mt19937_64 random(7);
  const std::size_t timers = 500;
  const auto backend = kind.make(timers);
  std::vector<Tick> deadlines(timers);
  constexpr Ticks kTurns = 4;
  const Ticks furthest = kind.info.rounds() ? kTurns * kSmallSlots : kind.furthest(0);
  const auto some_deadline = [&](std::size_t timer) {
    return std::min(random() >> (timer % 64), random() % furthest);
  };
  for (std::size_t timer = 0; timer < timers; ++timer) {
    deadlines[timer] = some_deadline(timer);
    backend->arm(timer, deadlines[timer]);
  }
  const std::size_t moved = timers / 5;
  for (std::size_t timer = 0; timer < moved; ++timer) {
    deadlines[timer] = some_deadline(timer);
    backend->rearm(timer, deadlines[timer]);
  }
  const std::size_t visits = kTurns * kSmallSlots;
  const std::size_t bound = kind.info.rounds() ? visits : 10 * timers + moved;
  std::size_t idle = 0;
  std::size_t ran = 0;
  Tick last = 0;
  while (backend->next_deadline() != kNever) {
    const Tick now = backend->next_deadline();
    ASSERT_TRUE(now > last || ran == 0) << "a wake-up that gets nowhere";
    last = now;
    const auto popped = advance_and_drain(*backend, now);
    for (const std::size_t timer : popped) {
      ASSERT_EQ(deadlines[timer], now);
    }
    ran += popped.size();
    idle += popped.empty() ? 1U : 0U;
    ASSERT_LE(idle, bound);
  }
  EXPECT_EQ(ran, timers);
  if (kind.info.exact_next_deadline) {
    EXPECT_EQ(idle, 0U);
  }
}

// A distant timer that is armed later never hides an earlier one (CONTRACT.md, line 7).
TEST_P(BackendContract, ACoarseTimerArmedLaterNeverHidesAnEarlierOne) {
  const auto backend = kind.make(3);
  backend->advance(60);
  const Tick coarse = 60 + std::min(Tick{1} << 40, kind.furthest(60));
  backend->arm(0, 70);
  backend->arm(1, coarse);
  backend->arm(2, 128);
  EXPECT_LE(backend->next_deadline(), Tick{70});
  EXPECT_EQ(advance_and_drain(*backend, 70), std::vector<std::size_t>{0});
  EXPECT_EQ(advance_and_drain(*backend, 128), std::vector<std::size_t>{2});
  EXPECT_EQ(advance_and_drain(*backend, coarse), std::vector<std::size_t>{1});
}

// A timer that is due but not handed out yet may still be disarmed and moved (CONTRACT.md, lines 8
// and 9).
TEST_P(BackendContract, ADueTimerMayBeDisarmedOrMovedBeforeItIsHandedOut) {
  const auto backend = kind.make(4);
  for (std::size_t timer = 0; timer < 4; ++timer) {
    backend->arm(timer, 100 + timer);
  }
  backend->advance(200);
  EXPECT_EQ(backend->pop_expired(), 0U);
  backend->disarm(1);
  EXPECT_EQ(backend->check(), "");
  backend->rearm(2, 300);
  EXPECT_EQ(backend->check(), "");
  EXPECT_LE(backend->next_deadline(), Tick{200});
  EXPECT_EQ(drain(*backend), std::vector<std::size_t>{3});
  EXPECT_LE(backend->next_deadline(), Tick{300});
  EXPECT_TRUE(advance_and_drain(*backend, 299).empty());
  EXPECT_EQ(advance_and_drain(*backend, 300), std::vector<std::size_t>{2});
}

// Calls `visit` with every order in which the deadlines 10, 20, 30, ... can be armed.
void for_each_order(std::size_t count, const std::function<void(const std::vector<Tick>&)>& visit) {
  std::vector<Tick> deadlines(count);
  for (std::size_t i = 0; i < count; ++i) {
    deadlines[i] = 10 * (i + 1);
  }
  do {
    visit(deadlines);
  } while (std::next_permutation(deadlines.begin(), deadlines.end()));
}

std::unique_ptr<AnyBackend> armed(const BackendKind& kind, const std::vector<Tick>& deadlines) {
  auto backend = kind.make(deadlines.size());
  for (std::size_t timer = 0; timer < deadlines.size(); ++timer) {
    backend->arm(timer, deadlines[timer]);
  }
  return backend;
}

// Everything must be handed out by ascending deadline; `deadlines` of disarmed timers are kNever.
void expect_popped_in_order(AnyBackend& backend, const std::vector<Tick>& deadlines) {
  std::vector<Tick> expected;
  std::copy_if(deadlines.begin(), deadlines.end(), std::back_inserter(expected),
               [](Tick deadline) { return deadline != kNever; });
  std::sort(expected.begin(), expected.end());
  std::vector<Tick> popped;
  for (const std::size_t timer : advance_and_drain(backend, kLatest)) {
    popped.push_back(deadlines[timer]);
  }
  ASSERT_EQ(popped, expected) << ::testing::PrintToString(deadlines);
}

// Whichever is removed of six timers armed in any order, order is restored: what takes its place
// may belong above it or below it (CONTRACT.md, line 12).
TEST_P(BackendContract, RemovingFromTheMiddleRestoresOrderInBothDirections) {
  for_each_order(6, [&](std::vector<Tick> deadlines) {
    for (std::size_t removed = 0; removed < deadlines.size(); ++removed) {
      const auto backend = armed(kind, deadlines);
      backend->disarm(removed);
      ASSERT_EQ(backend->check(), "") << removed << " of " << ::testing::PrintToString(deadlines);
      std::vector<Tick> left = deadlines;
      left[removed] = kNever;
      expect_popped_in_order(*backend, left);
    }
  });
}

// The same for a move, to before, between and after all others (CONTRACT.md, line 12).
TEST_P(BackendContract, MovingFromTheMiddleRestoresOrderInBothDirections) {
  for_each_order(5, [&](std::vector<Tick> deadlines) {
    for (std::size_t moved = 0; moved < deadlines.size(); ++moved) {
      for (const Tick deadline : {5U, 15U, 25U, 35U, 45U, 55U}) {
        const auto backend = armed(kind, deadlines);
        backend->rearm(moved, deadline);
        ASSERT_EQ(backend->check(), "") << moved << " of " << ::testing::PrintToString(deadlines);
        std::vector<Tick> now = deadlines;
        now[moved] = deadline;
        expect_popped_in_order(*backend, now);
      }
    }
  });
}

// Earlier deadlines come first, and equal ones in arm order where claimed. They are armed from
// several distances for the same few ticks, so that wheels file them at different levels, and
// popped after a jump over all of them and after steps (CONTRACT.md, line 16).
TEST_P(BackendContract, EarlierFirstThenInArmOrderWhereClaimed) {
  for (const bool jump : {true, false}) {
    const std::vector<Tick> targets = {4200, 4160, 4159, 4224, 4200};
    const std::vector<Tick> armed_at = {0, 1, 63, 4000, 4095, 4096, 4130, 4158};
    const auto backend = kind.make(targets.size() * armed_at.size());
    std::multimap<Tick, std::size_t> model; // equal keys stay in the order of insertion
    std::size_t timer = 0;
    for (const Tick now : armed_at) {
      backend->advance(now);
      if (kind.furthest(now) < 4224 - now) {
        continue;
      }
      for (const Tick deadline : targets) {
        backend->arm(timer, deadline);
        model.emplace(deadline, timer++);
      }
    }
    std::vector<std::size_t> expected;
    for (const auto& [deadline, id] : model) {
      expected.push_back(id);
    }
    ASSERT_GE(timer, targets.size());
    std::vector<std::size_t> popped;
    for (Tick now = jump ? 5000 : 4158; now <= 5000; ++now) {
      const auto due = advance_and_drain(*backend, now);
      popped.insert(popped.end(), due.begin(), due.end());
    }
    ASSERT_EQ(popped.size(), expected.size());
    if (kind.info.peer_order != PeerOrder::any) {
      EXPECT_EQ(popped, expected);
    }
    for (std::size_t i = 1; i < popped.size(); ++i) {
      EXPECT_LE(targets[popped[i - 1] % targets.size()], targets[popped[i] % targets.size()]);
    }
  }
}

// A timer that is re-armed for the same deadline goes behind its peers where order is claimed
// (CONTRACT.md, line 16).
TEST_P(BackendContract, ARefreshedTimerGoesBehindItsPeersWhereClaimed) {
  const auto backend = kind.make(4);
  for (std::size_t timer = 0; timer < 4; ++timer) {
    backend->arm(timer, 100);
  }
  backend->rearm(1, 100);
  backend->rearm(0, 50);
  backend->rearm(0, 100);
  auto popped = advance_and_drain(*backend, 100);
  if (kind.info.peer_order != PeerOrder::moved) {
    std::sort(popped.begin(), popped.end());
    EXPECT_EQ(popped, first_timers(4));
    return;
  }
  EXPECT_EQ(popped, (std::vector<std::size_t>{2, 3, 1, 0}));
}

// What a pass leaves behind is handed out before what time makes due meanwhile (CONTRACT.md, line
// 15).
TEST_P(BackendContract, ABacklogKeepsItsPlaceWhileTimeMovesOn) {
  const auto backend = kind.make(6);
  for (std::size_t timer = 0; timer < 6; ++timer) {
    backend->arm(timer, 60 + 2 * timer);
  }
  backend->advance(64);
  EXPECT_EQ(backend->pop_expired(), 0U);
  backend->advance(70);
  EXPECT_EQ(backend->check(), "");
  EXPECT_EQ(drain(*backend), (std::vector<std::size_t>{1, 2, 3, 4, 5}));
}

enum class Spread { all_at_one_tick, none_due, ascending, descending, powers, random };

Tick spread_deadline(Spread spread, std::size_t timer, std::size_t timers, std::uint64_t random) {
  switch (spread) {
  case Spread::all_at_one_tick:
    return 4000;
  case Spread::none_due:
    return Tick{1} << 50;
  case Spread::ascending:
    return 1 + timer;
  case Spread::descending:
    return 1 + timers - timer;
  case Spread::powers:
    return Tick{1} << (random % 40);
  case Spread::random:
    break;
  }
  return 1 + random % (Tick{1} << 20);
}

// Arms them all, moves every third and disarms every fifth, then lets them come due in three jumps.
void live_through(const BackendKind& kind, std::size_t timers, Spread spread) {
  std::mt19937_64 random(timers);
  const auto backend = kind.make(timers);
  std::vector<Tick> deadlines(timers);
  const auto next = [&](std::size_t timer) {
    const Tick deadline = spread_deadline(spread, timer, timers, random());
    return deadlines[timer] = std::min(deadline, kind.furthest(0));
  };
  for (std::size_t timer = 0; timer < timers; ++timer) {
    backend->arm(timer, next(timer));
  }
  for (std::size_t timer = 0; timer < timers; timer += 3) {
    backend->rearm(timer, next(timer));
  }
  for (std::size_t timer = 0; timer < timers; timer += 5) {
    backend->disarm(timer);
    deadlines[timer] = kNever;
  }
  ASSERT_EQ(backend->check(), "");
  for (const Tick now : {Tick{1000}, Tick{4000}, Tick{1} << 48}) {
    backend->advance(now);
    std::size_t out_of_order = 0;
    std::size_t early = 0; // or handed out twice
    Tick last = 0;
    while (const auto timer = backend->pop_expired()) {
      const Tick deadline = std::exchange(deadlines[*timer], kNever);
      early += deadline > now ? 1 : 0;
      out_of_order += deadline < last ? 1 : 0;
      last = deadline;
    }
    const auto due = [now](Tick deadline) { return deadline <= now; };
    ASSERT_EQ(early, 0U);
    ASSERT_EQ(out_of_order, 0U);
    ASSERT_TRUE(std::none_of(deadlines.begin(), deadlines.end(), due)) << "forgotten";
  }
  ASSERT_EQ(backend->check(), "");
}

constexpr Spread kSpreads[] = {Spread::all_at_one_tick, Spread::none_due, Spread::ascending,
                               Spread::descending,      Spread::powers,   Spread::random};

// The contract holds for no timer, one, and the numbers around a word of 64 bits (CONTRACT.md,
// line 19).
TEST_P(BackendContract, NoneOneAndAWordOfTimers) {
  for (const std::size_t timers : {0U, 1U, 2U, 63U, 64U, 65U}) {
    for (const Spread spread : kSpreads) {
      live_through(kind, timers, spread);
    }
  }
}

// Whether some operation is O(n), so that the number of timers must stay small.
bool walks(const Costs& costs) {
  return costs.arm == Cost::linear || costs.rearm == Cost::linear || costs.expire == Cost::linear;
}

// It holds for many timers; structures that walk get as many as finish in a moment (CONTRACT.md,
// line 19).
TEST_P(BackendContract, ManyTimers) {
  if (walks(kind.info.costs)) {
    for (const Spread spread : kSpreads) {
      live_through(kind, 3000, spread);
    }
    return;
  }
  constexpr std::size_t kMany = 1'000'000;
  live_through(kind, kMany, Spread::all_at_one_tick);
  live_through(kind, kMany, Spread::random);
}

// The model that judges a backend: the armed timers, sorted, equal deadlines in the order in which
// they were armed or last re-armed.
class Model {
  using Peers = std::multimap<Tick, std::size_t>;

public:
  explicit Model(std::size_t timers) : places_(timers, armed_.end()), moved_(timers) {}

  bool is_armed(std::size_t timer) const { return places_[timer] != armed_.end(); }
  void arm(std::size_t timer, Tick deadline) {
    places_[timer] = armed_.emplace(deadline, timer);
    moved_[timer] = false;
  }
  void rearm(std::size_t timer, Tick deadline) {
    disarm(timer);
    arm(timer, deadline);
    moved_[timer] = true;
  }
  void disarm(std::size_t timer) {
    armed_.erase(places_[timer]);
    places_[timer] = armed_.end();
  }
  void advance(Tick now) { now_ = std::max(now_, now); }
  Tick next_deadline() const { return armed_.empty() ? kNever : armed_.begin()->first; }
  Tick now() const { return now_; }

  // Whether a backend may hand out this timer now.
  bool may_pop(std::optional<std::size_t> timer, PeerOrder order) const {
    if (!timer.has_value()) {
      return next_deadline() > now_;
    }
    const auto first = armed_.begin();
    return first != armed_.end() && first->first <= now_ && is_armed(*timer) &&
           places_[*timer]->first == first->first && !overtakes(*timer, order);
  }

private:
  // Whether a timer of the same deadline must be handed out before this one.
  bool overtakes(std::size_t timer, PeerOrder order) const {
    const auto any_place = [&](std::size_t of) {
      return order == PeerOrder::any || (order == PeerOrder::armed && moved_[of]);
    };
    const auto first = armed_.lower_bound(places_[timer]->first);
    return !any_place(timer) &&
           std::any_of(first, Peers::const_iterator(places_[timer]),
                       [&](const auto& peer) { return !any_place(peer.second); });
  }

  Peers armed_;
  std::vector<Peers::iterator> places_;
  std::vector<bool> moved_; // it was re-armed since it was armed
  Tick now_ = 0;
};

// Does the same to a backend and to the model, and says at once when they differ.
class Pair {
public:
  Pair(const BackendKind& kind, std::size_t timers)
      : info_(kind.info), backend_(kind.make(timers)), model_(timers) {}

  Model& model() { return model_; }

  void set(std::size_t timer, Tick deadline) {
    if (model_.is_armed(timer)) {
      backend_->rearm(timer, deadline);
      model_.rearm(timer, deadline);
    } else {
      backend_->arm(timer, deadline);
      model_.arm(timer, deadline);
    }
  }
  void disarm(std::size_t timer) {
    backend_->disarm(timer);
    model_.disarm(timer);
  }
  void advance(Tick now) {
    backend_->advance(now);
    model_.advance(now);
  }
  // False once nothing is due any more.
  bool pop() {
    const auto timer = backend_->pop_expired();
    if (!model_.may_pop(timer, info_.peer_order)) {
      difference_ = "handed out " + (timer ? std::to_string(*timer) : "nothing") + " at " +
                    std::to_string(model_.now());
      return false;
    }
    if (timer.has_value()) {
      model_.disarm(*timer);
    }
    return timer.has_value();
  }
  // The first difference seen, or the invariant that does not hold; empty when all is well.
  std::string fault() const {
    const std::string seen = difference();
    return seen.empty() ? backend_->check() : seen;
  }
  std::string difference() const {
    if (!difference_.empty()) {
      return difference_;
    }
    const Tick earliest = model_.next_deadline();
    const Tick next = backend_->next_deadline();
    if (next > earliest && next > model_.now()) {
      return "next_deadline is late";
    }
    if ((next == kNever) != (earliest == kNever)) {
      return "next_deadline is none and something is armed, or the reverse";
    }
    if (info_.exact_next_deadline && earliest > model_.now() && next != earliest) {
      return "next_deadline is not exact";
    }
    return "";
  }

private:
  const BackendInfo& info_;
  std::unique_ptr<AnyBackend> backend_;
  Model model_;
  std::string difference_;
};

// The operations of the exhaustive test on a small structure (CONTRACT.md, line 21). A sequence is
// a number in base kSmallOps.
constexpr unsigned kSmallTimers = 3;
constexpr unsigned kSmallOps = 3 * kSmallTimers + 3;

// False when the operation would do nothing new: then the sequence is one that a shorter one
// covers.
bool small_step(Pair& pair, unsigned op, unsigned& timers_used) {
  const unsigned timer = op / 3;
  if (timer < kSmallTimers) {
    // Timers are alike, so only sequences that first use them in order count.
    if (timer > timers_used || (op % 3 == 2 && !pair.model().is_armed(timer))) {
      return false;
    }
    timers_used = std::max(timers_used, timer + 1);
    if (op % 3 == 2) {
      pair.disarm(timer);
    } else {
      pair.set(timer, pair.model().now() + (op % 3 == 0 ? 1 : 64));
    }
    return true;
  }
  if (op == kSmallOps - 1) {
    pair.pop();
    return true;
  }
  pair.advance(pair.model().now() + (op == kSmallOps - 2 ? 1 : 63));
  return true;
}

constexpr std::size_t kSmallLength = 6;

// Plays the sequence from the next phase in which +1 crosses a slot, +64 a level; ends with nothing
// armed. Says what went wrong. What check() would say of the longest is left to the draining: it
// sees each of their beginnings.
std::string play_small(Pair& pair, const std::vector<unsigned>& sequence, bool& counts) {
  pair.advance((pair.model().now() / 4096 + 1) * 4096 - 2);
  unsigned used = 0;
  counts = true;
  for (const unsigned op : sequence) {
    counts = counts && small_step(pair, op, used);
  }
  std::string fault;
  if (counts) {
    fault = sequence.size() < kSmallLength ? pair.fault() : pair.difference();
  }
  pair.advance(pair.model().now() + 64);
  while (pair.pop()) {
  }
  return fault.empty() ? pair.difference() : fault;
}

void every_small_sequence(Pair& pair, std::vector<unsigned>& sequence, std::size_t& played) {
  for (unsigned op = 0; op < kSmallOps; ++op) {
    sequence.push_back(op);
    bool counts = false;
    ASSERT_EQ(play_small(pair, sequence, counts), "") << ::testing::PrintToString(sequence);
    played += counts ? 1 : 0;
    if (counts && sequence.size() < kSmallLength) {
      ASSERT_NO_FATAL_FAILURE(every_small_sequence(pair, sequence, played));
    }
    sequence.pop_back();
  }
}

// Every sequence of six operations over three timers gives what the model gives, and check() finds
// the structure whole after each (CONTRACT.md, lines 20 and 21).
TEST_P(BackendContract, EverySequenceOfSixOperationsOverThreeTimersEqualsTheModel) {
  Pair pair(kind, kSmallTimers);
  std::vector<unsigned> sequence;
  std::size_t played = 0;
  every_small_sequence(pair, sequence, played);
  EXPECT_GT(played, 100'000U);
}

} // namespace
} // namespace timers::test
