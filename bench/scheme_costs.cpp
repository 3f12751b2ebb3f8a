// scheme-costs counts what timer operations look at, on inputs that suit a scheme and on its worst
// ones, and compares the counts with formulas. See SCHEMES.md.
//
// It is compiled with counting on, so nothing else that includes a backend may be linked with it.
// Exit codes: 0 every count is what its formula allows, 1 one is not, 2 bad usage.
#define TIMERS_COUNT_VISITS
#include "bench/visit_counts.hpp"
#include "timers/backends.hpp"

#include <array>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>

namespace bench {
namespace {

// What a formula says about the visits of one operation, as the mean over all operations.
struct Claim {
  std::string formula; // i is the number of operations before this one
  double predicted;
  double least;
  double most;
};

Claim between(const std::string& formula, double visits, double least, double most) {
  constexpr double kRounding = 1e-9; // less than one visit of any row
  return {formula, visits, visits * (least - kRounding), visits * (most + kRounding)};
}
Claim exactly(const std::string& formula, double visits) {
  return between("= " + formula, visits, 1, 1);
}
Claim at_most(const std::string& formula, double visits) {
  return between("<= " + formula, visits, 0, 1);
}
// For random inputs, where a formula gives the expected value. The inputs are the same each time,
// so the margin only covers the luck of their seed.
Claim about(const std::string& formula, double visits) {
  return between("~ " + formula, visits, 0.95, 1.05);
}

struct Row {
  std::string input;
  std::string paper; // the formula of Varghese & Lauck, for M slots or m levels
  Claim claim;
  VisitCount counted;

  double visits() const { return counted.visits / counted.operations; }
  double ns() const { return counted.ns / counted.operations; }
  bool holds() const { return claim.least <= visits() && visits() <= claim.most; }
};
using Rows = std::vector<Row>;

// The mean of term(i) for i from 0 to n - 1.
template <class Term> double mean(std::size_t n, Term term) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    sum += static_cast<double>(term(i));
  }
  return sum / static_cast<double>(n);
}

// How many timers a heap moves when a new one rises from place i to the root, itself included.
template <std::size_t kArity> double levels(std::size_t i) {
  return i == 0 ? 1 : 1 + levels<kArity>((i - 1) / kArity);
}

constexpr std::size_t kFew = 2000; // for structures that walk
constexpr std::size_t kMany = 4096;
constexpr Ticks kSlots = timers::HashedWheel::kDefaultSlots;
constexpr std::size_t kSpread = 4 * kSlots;

// A row for the paper's model. The formula says that a walk passes `part` of the timers it finds.
template <class List>
Row steady_row(const std::string& input, const std::string& paper, const std::string& formula,
               double part, Quantile timeout) {
  const SteadyState<List> state(500, timeout);
  return {input, paper, about(formula, part * state.found()), state.counted()};
}

// Re-arms each timer while it is the soonest, so that it becomes the latest.
template <class Backend> VisitCount rearm_equal(std::size_t n) {
  return CountedTimers<Backend>(ascending(n), kIdleTimeout).armed().rearm(ascending(n, n + 1));
}

// The rows of a backend. A backend without a specialization below has none.
template <class Backend> Rows rows() { return {}; }

template <> Rows rows<timers::UnorderedList>() {
  using T = CountedTimers<timers::UnorderedList>;
  const auto first_soon = [](auto i) { return i == 0 ? Tick{1} : kIdleTimeout; };
  return {
      {"one due in n ticks", "n", exactly("1", 1),
       T(deadlines(kFew, first_soon)).armed().advance(kFew)},
      {"one due each tick", "n", exactly("(n + 1)/2", (kFew + 1) / 2.0),
       T(ascending(kFew)).armed().advance(kFew)},
      {"soonest moved each tick", "n", exactly("n", kFew),
       T(ascending(kFew)).armed().refresh(kIdleTimeout)},
  };
}

template <> Rows rows<timers::OrderedList>() {
  using L = timers::OrderedList;
  using T = CountedTimers<L>;
  return {
      {"descending", "O(n)", exactly("0", 0), T(descending(kFew)).arm()},
      {"ascending", "O(n)", exactly("i", (kFew - 1) / 2.0), T(ascending(kFew)).arm()},
      {"equal timeouts", "O(n)", exactly("n - 1", kFew - 1), rearm_equal<L>(kFew)},
      steady_row<L>("Poisson, exponential", "2 + 2n/3", "n/2", 1.0 / 2, exponential),
      steady_row<L>("Poisson, uniform", "2 + n/2", "2n/3", 2.0 / 3, up_to_two),
  };
}

template <> Rows rows<timers::OrderedListRear>() {
  using L = timers::OrderedListRear;
  using T = CountedTimers<L>;
  const auto idle_then_request = [](auto i) {
    return i < kFew / 2 ? kIdleTimeout : kRequestTimeout;
  };
  return {
      {"equal timeouts", "O(1)", exactly("0", 0), rearm_equal<L>(kFew)},
      {"descending", "O(n)", exactly("i", (kFew - 1) / 2.0), T(descending(kFew)).arm()},
      {"n/2 of 120 s, n/2 of 30 s", "O(n)", exactly("n/4", kFew / 4.0),
       T(deadlines(kFew, idle_then_request)).arm()},
      steady_row<L>("Poisson, exponential", "2 + n/3", "n/2", 1.0 / 2, exponential),
      steady_row<L>("Poisson, uniform", "", "n/3", 1.0 / 3, up_to_two),
  };
}

template <class Heap, std::size_t kArity> Rows heap_rows() {
  using T = CountedTimers<Heap>;
  const std::string log = "1 + log" + std::to_string(kArity);
  return {
      {"ascending", "O(log n)", exactly("1", 1), T(ascending(kMany)).arm()},
      {"descending", "O(log n)", exactly(log + " i", mean(kMany, levels<kArity>)),
       T(descending(kMany)).arm()},
      {"equal timeouts", "O(log n)", at_most(log + " n", levels<kArity>(kMany - 1)),
       rearm_equal<Heap>(kMany)},
      {"random", "", at_most(log + " i", mean(kMany, levels<kArity>)),
       T(shuffled(kMany)).armed().expire()},
  };
}

template <> Rows rows<timers::BinaryHeap>() { return heap_rows<timers::BinaryHeap, 2>(); }
template <> Rows rows<timers::QuadHeap>() { return heap_rows<timers::QuadHeap, 4>(); }

template <> Rows rows<timers::QuickHeap>() {
  using T = CountedTimers<timers::QuickHeap>;
  return {
      {"ascending", "O(log n)", exactly("0", 0), T(ascending(kMany)).arm()},
      {"descending", "O(log n)", at_most("64", 64), T(descending(kMany)).arm()},
      {"equal timeouts, once each", "O(log n)", exactly("0", 0),
       rearm_equal<timers::QuickHeap>(kMany)},
      {"random", "", at_most("1 + log2 n", 1 + std::log2(kMany)),
       T(shuffled(kMany)).armed().expire()},
  };
}

template <> Rows rows<timers::RbTree>() {
  using T = CountedTimers<timers::RbTree>;
  const double log = mean(kMany, [](auto i) { return std::log2(i + 1); });
  return {
      {"random", "O(log n)", about("1 + log2 i", 1 + log), T(shuffled(kMany)).arm()},
      {"ascending", "O(log n)", at_most("1 + 2 log2 i", 1 + 2 * log), T(ascending(kMany)).arm()},
      {"equal timeouts", "O(log n)", at_most("1 + 2 log2 n", 1 + 2 * std::log2(kMany)),
       rearm_equal<timers::RbTree>(kMany)},
      {"random", "", exactly("0", 0), T(shuffled(kMany)).armed().expire()},
  };
}

template <> Rows rows<timers::SimpleWheel>() {
  using T = CountedTimers<timers::SimpleWheel>;
  constexpr Tick kBefore = kIdleTimeout - 1;
  return {
      {"random", "O(1)", exactly("1", 1), T(shuffled(kMany)).arm()},
      {"random", "O(1)", exactly("2", 2), T(shuffled(kMany)).armed().rearm(descending(kMany))},
      {"a slot each", "O(1)", exactly("1", 1), T(shuffled(kMany)).armed().expire()},
      {"120 s of empty slots", "O(1)", exactly("0", 0),
       T(equal(kMany, kIdleTimeout)).armed().advance(kBefore)},
      {"the same in one advance", "O(ticks)", exactly("0", 0),
       T(equal(kMany, kIdleTimeout)).armed().advance(kBefore, kBefore)},
  };
}

template <> Rows rows<timers::HashedWheelSorted>() {
  using T = CountedTimers<timers::HashedWheelSorted>;
  const double before = (kFew - 1) / 2.0; // the mean of i
  return {
      {"ascending, a slot each", "O(1)", exactly("1", 1), T(ascending(kMany)).arm()},
      {"uniform over 1000 rounds", "(i - 1)/M", about("1 + i/2M", 1 + kSpread / 4.0 / kSlots),
       T(uniform(kSpread, 1000 * kSlots)).arm()},
      {"one slot, random", "O(n)", about("1 + i/2", 1 + before / 2),
       T(shuffled(kFew, kSlots)).arm()},
      {"one slot, descending", "O(n)", exactly("1 + i", 1 + before),
       T(descending(kFew, kSlots)).arm()},
  };
}

template <> Rows rows<timers::HashedWheel>() {
  using T = CountedTimers<timers::HashedWheel>;
  const Deadlines four_a_slot = deadlines(kSpread, [](auto i) { return kIdleTimeout + i / 4; });
  const auto rounds = [&](auto i) { return (four_a_slot[i] + kSlots - 1) / kSlots; };
  return {
      {"one slot", "O(1)", exactly("1", 1), T(descending(kMany, kSlots)).arm()},
      {"4 in a slot, none due", "n/M", exactly("1 + n/M", 1 + kSpread / kSlots),
       T(four_a_slot).armed().advance(kSlots)},
      {"4 in a slot, T from 120 s", "T/M", exactly("1.25 ceil(T/M)", 1.25 * mean(kSpread, rounds)),
       T(four_a_slot).armed().expire()},
      {"one slot, none due", "n", exactly("1 + n", 1 + kMany),
       T(ascending(kMany, 31 * kSlots, kSlots)).armed().advance(30 * kSlots, kSlots)},
  };
}

template <> Rows rows<timers::HierarchicalWheel>() {
  using T = CountedTimers<timers::HierarchicalWheel>;
  constexpr Tick kOnes = 0x1041'0410'4104'1041; // to base 64: eleven digits, each of them 1
  return {
      {"random", "O(m)", exactly("1", 1), T(uniform(kMany, kLatest)).arm()},
      {"1 to 63", "m", exactly("1", 1), T(ascending(63)).armed().expire()},
      {"all at 64^10", "m", exactly("1 + 1/n", 1 + 1.0 / kMany),
       T(equal(kMany, Tick{1} << 60)).armed().expire()},
      {"all at 11 digits of 1", "m", exactly("m - 1 + m/n", 10 + 11.0 / kMany),
       T(equal(kMany, kOnes)).armed().expire()},
      {"3 digits, slots of its own", "m", exactly("2m - 1", 5),
       T(ascending(63, 64 * 64 + 64 + 1, 64 * 64)).armed().expire()},
      {"uniform up to 64^3", "m", at_most("2m - 1", 5),
       T(uniform(kMany, 64 * 64 * 64 - 1)).armed().expire()},
  };
}

template <> Rows rows<timers::DurationLists>() {
  using T = CountedTimers<timers::DurationLists>;
  return {
      {"one timeout", "", exactly("1/n", 1.0 / kMany), T(ascending(kMany), kIdleTimeout).arm()},
      {"equal timeouts", "", exactly("0", 0), rearm_equal<timers::DurationLists>(kFew)},
      {"one timeout, a tick later", "", exactly("n - 1 - i", (kFew - 1) / 2.0),
       T(ascending(kFew, 2, 2), kIdleTimeout).armed().rearm(ascending(kFew, 3, 2))},
      {"a timeout each, descending", "", exactly("1 + log2 i", mean(kMany, levels<2>)),
       T(descending(kMany)).arm()},
      {"a timeout each", "", at_most("1 + log2 i", mean(kMany, levels<2>)),
       T(shuffled(kMany)).armed().expire()},
  };
}

template <> Rows rows<timers::MinArray>() {
  using T = CountedTimers<timers::MinArray>;
  const auto bounds = [](auto place) { return place < 64 ? 1 : 2; };
  const auto by_turns = [](auto i) { return 1 + i % 64 * 64 + i / 64; };
  return {
      {"ascending", "", exactly("1/64", 1.0 / 64), T(ascending(kMany)).arm()},
      {"descending", "", exactly("ceil(log64 i)", mean(kMany, bounds)), T(descending(kMany)).arm()},
      {"equal timeouts", "", exactly("0", 0), rearm_equal<timers::MinArray>(kMany)},
      {"each the soonest", "", exactly("log64 n", 2),
       T(equal(kMany, kMany + 1)).armed().rearm(descending(kMany))},
      {"a tick each, across blocks", "", exactly("2 log64 n", 4),
       T(deadlines(kMany, by_turns)).armed().expire()},
      {"a tick a block", "", exactly("log64 n / 32", 4.0 / 64),
       T(deadlines(kMany, [](auto i) { return 1 + i / 64; })).armed().expire()},
      {"none due, every bound lags", "", exactly("n/32 log64 n", 4 * kMany / 64),
       T(ascending(kMany)).armed().rearmed(ascending(kMany, kIdleTimeout)).advance(kMany, kMany)},
  };
}

// Counts three times and keeps the shortest times. The counts are the same each time.
Rows repeated(Rows (*make)()) {
  Rows all = make();
  for (int again = 0; again < 2; ++again) {
    const Rows others = make();
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i].counted.ns = std::min(all[i].counted.ns, others[i].counted.ns);
    }
  }
  return all;
}

std::string number(double value) {
  std::ostringstream text;
  text << std::setprecision(3);
  if (value >= 1) {
    text << std::fixed << std::setprecision(value < 10 ? 2 : value < 1000 ? 1 : 0);
  }
  text << value;
  return text.str();
}

// Prints a line of the table: cells of text are aligned left, numbers right.
void print_line(const std::array<std::string, 9>& cells, const char* end = "") {
  constexpr std::array kWidths{28, 5, 7, 10, 16, 9, 8, 5, 7};
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const bool is_text = i == 0 || (i >= 2 && i <= 4);
    std::cout << (i == 0 ? "" : "  ") << (is_text ? std::left : std::right) << std::setw(kWidths[i])
              << cells[i];
  }
  std::cout << end << '\n';
}

void print(const Row& row) {
  const auto& counted = row.counted;
  const auto ratio = row.claim.predicted > 0 ? number(row.visits() / row.claim.predicted) : "-";
  print_line({"  " + row.input, std::to_string(counted.timers), counted.operation, row.paper,
              row.claim.formula, number(row.claim.predicted), number(row.visits()), ratio,
              number(row.ns())},
             row.holds() ? "" : "  WRONG");
}

// With `miscount`, each count is doubled, and one more is added per operation. No claim may hold
// then.
int measure(bool miscount) {
  std::size_t held = 0;
  std::size_t all = 0;
  std::cout << "visits per operation; the ns include counting them\n";
  timers::for_each_backend(timers::AllBackends{}, [&]<class Backend>() {
    const std::string scheme(Backend::kInfo.scheme);
    std::cout << '\n';
    print_line({std::string(Backend::kInfo.name), "n", "",
                scheme.size() == 1 ? "V&L " + scheme : scheme, "formula", "predicted", "counted",
                "ratio", "ns"});
    for (Row& row : repeated(rows<Backend>)) {
      row.counted.visits += miscount ? row.counted.visits + row.counted.operations : 0;
      print(row);
      held += row.holds() ? 1U : 0U;
      ++all;
    }
  });
  std::cout << '\n' << held << " of " << all << " formulas hold\n";
  return held == all ? 0 : 1;
}

constexpr const char* kHelp =
    "usage: scheme-costs [--miscount]\n"
    "What the operations of each timer backend look at, on inputs that suit it and on its worst,\n"
    "counted, beside a formula (bench/SCHEMES.md). Exits with 1 when a formula does not hold.\n"
    "  --miscount  count wrongly, to see that every formula notices\n";

int run_main(const std::vector<std::string>& arguments) {
  bool miscount = false;
  for (const std::string& argument : arguments) {
    if (argument == "--help") {
      std::cout << kHelp;
      return 0;
    }
    if (argument != "--miscount") {
      throw std::invalid_argument("unknown option: " + argument);
    }
    miscount = true;
  }
  return measure(miscount);
}

} // namespace
} // namespace bench

int main(int argc, char** argv) {
  try {
    return bench::run_main({argv + 1, argv + argc});
  } catch (const std::invalid_argument& error) {
    std::cerr << "scheme-costs: " << error.what() << '\n';
    return 2;
  }
}
