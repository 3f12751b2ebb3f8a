// What operations look at stays within what a backend claims (CONTRACT.md, line 17). It is counted,
// not timed, on inputs that suit a scheme and on inputs that do not. This program is compiled with
// the counting on, so it must not be linked with anything else that includes a backend.
#define TIMERS_COUNT_VISITS
#include "timers/backends.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace timers {
namespace {

constexpr std::size_t kTimers = 4096;

// How many visits a claim allows. The constants are what the structures need, and a little more.
std::uint64_t bound(Cost cost, std::size_t n, Ticks longest) {
  constexpr Ticks kTurn = 4096; // of the wheels with rounds
  switch (cost) {
  case Cost::constant:
    return 12; // a wheel of eleven levels: ten moves, and being filed
  case Cost::logarithmic:
    return 3 * std::uint64_t{std::bit_width(n)} + 6;
  case Cost::linear:
    return n + 6;
  case Cost::rounds:
    return longest / kTurn + 6;
  }
  return 0;
}

struct Deadlines {
  const char* name;
  Tick (*of)(std::size_t timer, std::uint64_t random);
};

// Within the reach of every backend.
constexpr Ticks kLongest = 100'000;
const Deadlines kInputs[] = {
    {"uniform", [](std::size_t, std::uint64_t random) { return 1 + random % kLongest; }},
    {"bimodal",
     [](std::size_t, std::uint64_t random) {
       return random % 2 == 0 ? Tick{30'000} : Tick{90'000} + random % 100;
     }},
    {"all equal", [](std::size_t, std::uint64_t) { return Tick{5'000}; }},
    {"ascending", [](std::size_t timer, std::uint64_t) { return Tick{1} + timer * 20; }},
    {"descending", [](std::size_t timer, std::uint64_t) { return kLongest - timer * 20; }},
    {"powers of two", [](std::size_t, std::uint64_t random) { return Tick{1} << random % 17; }},
    {"all in one slot of 64",
     [](std::size_t timer, std::uint64_t) { return 64 + timer % 1500 * 64; }},
    {"all in one slot of 4096",
     [](std::size_t timer, std::uint64_t) { return Tick{4096} * (1 + timer % 24); }},
};

// The visits of the costliest call, and of all calls together.
struct Tally {
  std::uint64_t most = 0;
  std::uint64_t sum = 0;

  template <class Call> void count(Call call) {
    const std::uint64_t before = visits;
    call();
    most = std::max(most, visits - before);
    sum += visits - before;
  }
};

struct Measured {
  Tally arm, rearm, disarm, expire;
};

template <class Backend> Measured measure(const Deadlines& input) {
  std::mt19937_64 random(1);
  Backend backend;
  std::vector<typename Backend::Node> timers(kTimers);
  Measured found;
  const auto each = [&](std::size_t step, const auto& act) {
    for (std::size_t timer = 0; timer < kTimers; timer += step) {
      const Tick deadline = input.of(timer, random());
      act(timers[timer], deadline);
    }
  };
  each(1, [&](auto& timer, Tick deadline) {
    found.arm.count([&] { backend.arm(timer, deadline, deadline); });
  });
  each(1, [&](auto& timer, Tick deadline) {
    found.rearm.count([&] { backend.rearm(timer, deadline, deadline); });
  });
  each(4, [&](auto& timer, Tick) { found.disarm.count([&] { backend.disarm(timer); }); });
  // As a driver does it: from one deadline, or idle wake-up, to the next.
  while (backend.next_deadline() != kNever) {
    const Tick next = backend.next_deadline();
    found.expire.count([&] {
      backend.advance(next);
      while (backend.pop_expired() != nullptr) {
      }
    });
  }
  return found;
}

struct Kind {
  const BackendInfo& info;
  Measured (*measure)(const Deadlines& input);
};

std::vector<Kind> kinds() {
  std::vector<Kind> all;
  for_each_backend(AllBackends(), [&]<class Backend>() {
    all.push_back({Backend::kInfo, measure<Backend>});
  });
  return all;
}

void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.info.name; }

class CostGate : public ::testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(, CostGate, ::testing::ValuesIn(kinds()), [](const auto& test) {
  std::string id(test.param.info.name);
  std::replace(id.begin(), id.end(), '-', '_');
  return id;
});

TEST_P(CostGate, WhatOperationsLookAtStaysWithinTheClaims) {
  const Costs& claimed = GetParam().info.costs;
  for (const Deadlines& input : kInputs) {
    const Measured found = GetParam().measure(input);
    EXPECT_LE(found.arm.most, bound(claimed.arm, kTimers, kLongest)) << input.name;
    EXPECT_LE(found.rearm.most, bound(claimed.rearm, kTimers, kLongest)) << input.name;
    EXPECT_LE(found.disarm.most, bound(claimed.disarm, kTimers, kLongest)) << input.name;
    const std::size_t due = kTimers - kTimers / 4;
    EXPECT_LE(found.expire.sum, due * bound(claimed.expire, kTimers, kLongest)) << input.name;
  }
}

// The counting works: each structure gets an input that shows why it cannot claim less.
TEST(CostGateItself, SeesTheWalks) {
  const auto ascending = kInputs[3];
  const auto descending = kInputs[4];
  const auto one_slot = kInputs[7];
  EXPECT_GT(measure<OrderedList>(ascending).arm.sum, kTimers * kTimers / 3);
  EXPECT_LT(measure<OrderedListRear>(ascending).arm.sum, kTimers);
  EXPECT_GT(measure<OrderedListRear>(descending).arm.sum, kTimers * kTimers / 3);
  EXPECT_GT(measure<HashedWheelSorted>(one_slot).arm.most, kTimers / 30);
  EXPECT_GT(measure<HashedWheel>(one_slot).expire.sum, 5 * kTimers);
  EXPECT_GT(measure<UnorderedList>(ascending).expire.sum, kTimers * kTimers / 4);
  EXPECT_GE(measure<BinaryHeap>(descending).arm.most, 12U); // rises through every level
  EXPECT_GE(measure<QuadHeap>(descending).arm.most, 6U);
}

} // namespace
} // namespace timers
