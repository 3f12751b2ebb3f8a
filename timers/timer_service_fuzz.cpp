// A fuzz target: bytes are operations on the timers of every backend, in both ways to re-arm, some
// of them inside actions. They are judged step by step as random operations are (CONTRACT.md, line
// 21). Built with clang's libFuzzer: scripts/fuzz.
#include "timers/testing/judged_operations.hpp"

#include <fuzzer/FuzzedDataProvider.h>

#include <cstdlib>
#include <iostream>

namespace timers::test {
namespace {

using Input = FuzzedDataProvider;

// Around the edges of ticks, slots and levels: a power of two of milliseconds and a little.
std::int64_t read_ns(Input& input) {
  constexpr std::int64_t kLittle[] = {0, 1, -1, 500'000, 1'000'000, -1'000'000};
  const std::int64_t magnitude = std::int64_t{1} << input.ConsumeIntegralInRange(0, 25);
  const auto multiple = input.ConsumeIntegralInRange<std::int64_t>(0, 3);
  return multiple * magnitude * 1'000'000 + input.PickValueInArray(kLittle);
}

Step read_step(Input& input, std::initializer_list<const Op> ops) {
  constexpr std::size_t kBudgets[] = {kNoBudget, kNoBudget, 1, 2};
  constexpr Ticks kSlacks[] = {0, 0, 0, 1, 10, 100};
  const Op op = input.PickValueInArray(ops);
  const auto timer = input.ConsumeIntegralInRange<std::size_t>(0, kJudgedTimers - 1);
  const std::int64_t ns = read_ns(input);
  return {op, timer, ns, input.PickValueInArray(kBudgets), input.PickValueInArray(kSlacks)};
}

void perform(Input& input) {
  const auto inside_steps = input.ConsumeIntegralInRange<std::size_t>(0, 7);
  std::vector<Step> inside;
  while (inside.size() < inside_steps) {
    inside.push_back(read_step(input, {Op::rearm, Op::change_timeout, Op::disarm, Op::destroy,
                                       Op::move_clock, Op::nested_pass, Op::fail}));
  }
  std::vector<Step> steps;
  while (input.remaining_bytes() != 0) {
    steps.push_back(read_step(input, {Op::rearm, Op::rearm, Op::change_timeout, Op::disarm,
                                      Op::destroy, Op::move_clock, Op::pass}));
  }
  for (const ServiceKind& kind : service_kinds()) {
    const std::string fault = JudgedOperations(kind, inside).perform(steps);
    if (!fault.empty()) {
      PrintTo(kind, &std::cerr);
      std::cerr << ": " << fault << '\n';
      std::abort();
    }
  }
}

} // namespace
} // namespace timers::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  timers::test::Input input(data, size);
  timers::test::perform(input);
  return 0;
}
