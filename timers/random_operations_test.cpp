// Random operations on timers, judged step by step: lines 1 to 16 of timers/CONTRACT.md together.
// Operations happen inside actions (line 13), passes have any budget (line 15), the clock steps
// back at times (line 4), and check() follows every step (lines 20 and 21). rapidcheck prints the
// shortest list of steps that fails, and the RC_PARAMS that reproduce it.
#include "timers/testing/judged_operations.hpp"

#include <rapidcheck.h>

#include <iterator>

namespace timers::test {

void showValue(const Step& step, std::ostream& out) {
  constexpr const char* kNames[] = {"rearm",      "change_timeout", "disarm",      "destroy",
                                    "move_clock", "pass",           "nested_pass", "fail"};
  out << '{' << kNames[static_cast<int>(step.op)] << " timer " << step.timer << ", " << step.ns
      << " ns, budget " << step.budget << ", slack " << step.slack << '}';
}

namespace {

using namespace std::chrono_literals;

// Around slot, level and tick edges mostly, else anywhere in a few seconds.
rc::Gen<std::int64_t> some_ns(const rc::Gen<std::int64_t>& off_tick) {
  const auto whole = rc::gen::element<std::int64_t>(0, 1, 2, 3, 62, 63, 64, 65, 128, 4095, 4096);
  const auto edge = rc::gen::map(rc::gen::pair(whole, off_tick),
                                 [](const std::pair<std::int64_t, std::int64_t>& parts) {
                                   return parts.first * 1'000'000 + parts.second;
                                 });
  return rc::gen::weightedOneOf<std::int64_t>(
      {{5, edge}, {1, rc::gen::inRange<std::int64_t>(-1000, 5'000'000'000)}});
}

rc::Gen<std::int64_t> some_timeout() {
  return some_ns(rc::gen::element<std::int64_t>(-1, 0, 0, 0, 1, 500'000));
}

// Mostly on the tick, and at times back.
rc::Gen<std::int64_t> some_clock_step() {
  const auto forth = some_ns(rc::gen::weightedElement<std::int64_t>({{20, 0}, {1, 1}, {1, -1}}));
  return rc::gen::weightedOneOf<std::int64_t>(
      {{8, forth}, {1, rc::gen::inRange<std::int64_t>(-100'000'000, 0)}});
}

rc::Gen<Step> some_step(const std::vector<Op>& ops) {
  return rc::gen::mapcat(rc::gen::elementOf(ops), [](Op op) {
    return rc::gen::build<Step>(
        rc::gen::set(&Step::op, rc::gen::just(op)),
        rc::gen::set(&Step::timer, rc::gen::inRange<std::size_t>(0, kJudgedTimers)),
        rc::gen::set(&Step::ns, op == Op::move_clock ? some_clock_step() : some_timeout()),
        rc::gen::set(&Step::budget,
                     rc::gen::weightedElement<std::size_t>({{4, kNoBudget}, {1, 1}, {1, 2}})),
        rc::gen::set(&Step::slack,
                     rc::gen::weightedElement<Ticks>({{4, 0}, {1, 1}, {1, 10}, {1, 100}})));
  });
}

rc::Gen<std::vector<Step>> some_steps(const std::vector<Op>& ops) {
  return rc::gen::container<std::vector<Step>>(some_step(ops));
}

const std::vector<Op> kOutside = {Op::rearm,          Op::rearm,  Op::rearm,
                                  Op::change_timeout, Op::disarm, Op::destroy,
                                  Op::move_clock,     Op::pass,   Op::pass};
const std::vector<Op> kInside = {Op::rearm,   Op::rearm,      Op::change_timeout, Op::disarm,
                                 Op::destroy, Op::move_clock, Op::nested_pass,    Op::fail};

class RandomOperations : public ::testing::TestWithParam<ServiceKind> {
protected:
  const ServiceKind& kind = GetParam();
};
INSTANTIATE_TEST_SUITE_P(, RandomOperations, ::testing::ValuesIn(service_kinds()), service_id);

// Any operations, some of them inside actions, do what the judge says (CONTRACT.md, lines 1 to
// 16).
TEST_P(RandomOperations, EqualsTheJudgeWithOperationsInsideActions) {
  EXPECT_TRUE(rc::check([&] {
    const auto inside = *some_steps(kInside);
    const auto outside = *some_steps(kOutside);
    JudgedOperations operations(kind, inside);
    RC_ASSERT(operations.perform(outside) == "");
  }));
}

// The same operations give the same log on all backends, lazily and eagerly (CONTRACT.md, lines 10
// and 21). There are no steps inside actions and no budgets, because what those do depends on the
// order within a tick.
TEST(RandomOperationsOnAll, TheSameTraceOnAllBackendsInBothModesGivesTheSameLog) {
  const std::vector<ServiceKind>& kinds = service_kinds();
  EXPECT_TRUE(rc::check([&] {
    auto steps = *some_steps(kOutside);
    for (Step& step : steps) {
      step.budget = kNoBudget;
    }
    std::vector<LogEntry> expected;
    for (const ServiceKind& kind : kinds) {
      JudgedOperations operations(kind, {});
      RC_ASSERT(operations.perform(steps) == "");
      if (&kind == &kinds.front()) {
        expected = operations.sorted_log();
      }
      RC_ASSERT(operations.sorted_log() == expected);
    }
  }));
}

// Every sequence of four steps over two timers that begins by arming the first does what the judge
// says (CONTRACT.md, line 21). Each step lengthens, shortens, stops, or lets time pass.
TEST_P(RandomOperations, EverySequenceOfFewStepsEqualsTheJudge) {
  const std::vector<Step> first = {
      {Op::rearm, 0, 0, 0}, {Op::rearm, 0, 1'000'000, 0}, {Op::rearm, 0, 64'000'000, 0}};
  std::vector<Step> alphabet = {{Op::disarm, 0, 0, 0},
                                {Op::destroy, 0, 0, 0},
                                {Op::rearm, 1, 0, 0},
                                {Op::rearm, 1, 64'000'000, 0},
                                {Op::disarm, 1, 0, 0},
                                {Op::pass, 0, 0, kNoBudget},
                                {Op::pass, 0, 0, 1},
                                {Op::move_clock, 0, 1'000'000, 0},
                                {Op::move_clock, 0, 63'500'000, 0}};
  std::copy(first.begin(), first.end(), std::back_inserter(alphabet));
  const std::size_t n = alphabet.size();
  for (std::size_t number = 0; number < first.size() * n * n * n; ++number) {
    std::vector<Step> steps = {first[number % first.size()]};
    for (std::size_t rest = number / first.size(); steps.size() < 4; rest /= n) {
      steps.push_back(alphabet[rest % n]);
    }
    // In its action each timer moves the other.
    JudgedOperations operations(kind, {{Op::rearm, number % 2, 0, 0}});
    ASSERT_EQ(operations.perform(steps), "") << rc::toString(steps);
  }
}

} // namespace
} // namespace timers::test
