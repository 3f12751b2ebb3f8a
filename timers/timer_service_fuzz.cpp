// A fuzz target: bytes are a life of timers on every backend, in both ways to re-arm, with
// operations inside actions, judged step by step as the random lives are (line 21 of the timer
// contract). Built with clang's libFuzzer: scripts/fuzz.
#include "timers/life.hpp"

#include <cstdlib>
#include <iostream>

namespace timers::test {
namespace {

// Reads numbers off the input; zeros once it is used up.
class Input {
public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), end_(data + size) {}

  bool empty() const { return data_ == end_; }
  std::uint8_t byte() { return empty() ? std::uint8_t{0} : *data_++; }
  // Below `limit`.
  std::size_t below(std::size_t limit) { return byte() % limit; }

  // Around the edges of ticks, slots and levels: a power of two of milliseconds and a little.
  std::int64_t ns() {
    const auto magnitude = static_cast<std::int64_t>(1) << below(26);
    constexpr std::int64_t kLittle[] = {0, 0, 0, 1, -1, 500'000, 1'000'000, -1'000'000};
    const auto multiple = static_cast<std::int64_t>(below(4));
    return multiple * magnitude * 1'000'000 + kLittle[below(std::size(kLittle))];
  }

private:
  const std::uint8_t* data_;
  const std::uint8_t* end_;
};

Step read_step(Input& input, std::initializer_list<Op> ops) {
  constexpr std::size_t kBudgets[] = {kNoBudget, kNoBudget, 1, 2};
  constexpr Ticks kSlacks[] = {0, 0, 0, 1, 10, 100};
  const Op op = *(ops.begin() + input.below(ops.size()));
  const std::size_t timer = input.below(kLifeTimers);
  const std::int64_t ns = input.ns();
  return {op, timer, ns, kBudgets[input.below(std::size(kBudgets))],
          kSlacks[input.below(std::size(kSlacks))]};
}

void live(Input input) {
  const std::size_t inside_steps = input.below(8);
  std::vector<Step> inside;
  while (inside.size() < inside_steps) {
    inside.push_back(read_step(input, {Op::rearm, Op::change_timeout, Op::disarm, Op::destroy,
                                       Op::move_clock, Op::nested_pass, Op::fail}));
  }
  std::vector<Step> steps;
  while (!input.empty()) {
    steps.push_back(read_step(input, {Op::rearm, Op::rearm, Op::change_timeout, Op::disarm,
                                      Op::destroy, Op::move_clock, Op::pass}));
  }
  for (const ServiceKind& kind : service_kinds()) {
    const std::string fault = Life(kind, inside).live(steps);
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
  timers::test::live({data, size});
  return 0;
}
