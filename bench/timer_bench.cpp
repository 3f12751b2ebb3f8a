// timer-bench measures what one timer operation costs, on each backend and for each number of
// timers. See README.md.
//
// Exit codes: 0 everything was measured and every answer was right, 1 an answer was wrong, 2 bad
// usage.

#include "bench/catalogue.hpp"
#include "bench/peers.hpp"
#include "bench/table.hpp"
#include "bench/tail_table.hpp"
#include "bench/trial_cost.hpp"
#include "timers/backends.hpp"

#include <benchmark/benchmark.h>
#include <regex.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <utility>

namespace bench {
namespace {

struct Options {
  bool smoke = false;
  std::string replay; // the file of a trace, or empty
  double skip_above_s = 10;
  double min_time_s = 0.1;
  bool list_only = false;
  bool console = true;

  // Where text for people goes: standard output, unless JSON or CSV is written there.
  std::ostream& out() const { return console ? std::cout : std::cerr; }
};

struct Size {
  std::size_t n;
  std::int64_t most_passes; // 0 for no limit
};

// The results of the run so far.
struct Results {
  Table table;
  TailTable tails;
  bool wrong = false;

  // Reserves a row.
  void mention(const Benchmark& benchmark) {
    benchmark.sample != nullptr ? tails.mention(benchmark)
                                : table.mention(benchmark.operation, benchmark.subject);
  }

  void skip(const Benchmark& benchmark, std::size_t n) {
    benchmark.sample != nullptr ? tails.skip(benchmark, n)
                                : table.skip(benchmark.operation, benchmark.subject, n);
  }

  void add(const Benchmark& benchmark, std::size_t n, std::uint64_t passes, double seconds,
           std::uint64_t operations, const std::vector<Figure>& figures) {
    const double ns = seconds * 1e9;
    benchmark.sample != nullptr
        ? tails.add(benchmark, n, passes, ns / static_cast<double>(passes), figures)
        : table.add(benchmark.operation, benchmark.subject, n, passes,
                    ns / static_cast<double>(operations));
  }

  void fail(const std::string& name, std::string_view why) {
    std::cerr << "wrong answer: " << name << ": " << why << '\n';
    wrong = true;
  }
};

// Returns all benchmarks, grouped by operation. Within an operation the floors come first, then the
// backends in the order of their list, then the peers.
std::vector<Benchmark> all_benchmarks(const Replayed* replayed) {
  std::vector<Benchmark> all;
  const auto add_own = [&]<class Backend, class Service>(Side side) {
    if (replayed != nullptr) {
      add_replay<Service>(all, subject<Backend>(side), timers::Rearm::eager, *replayed);
      add_replay<Service>(all, subject<Backend>(side), timers::Rearm::lazy, *replayed);
      return;
    }
    add_operations<Backend>(all, subject<Backend>(side));
    add_eager_lives<Service>(all, subject<Backend>(side));
    add_lazy_lives<Service>(all, subject<Backend>(side));
    add_paced_pairs<Service>(all, subject<Backend>(side));
  };
  add_own.operator()<Floor, FloorService>(Side::floor);
  if (replayed == nullptr) {
    const Subject streaming{"streaming", Side::floor, nullptr};
    const Subject shuffled{"streaming-shuffled", Side::floor, nullptr};
    all.push_back(
        {streaming, "expire-all-at-once", maker<Streaming<StreamingOrder::by_address>>()});
    all.push_back({shuffled, "expire-all-at-once", maker<Streaming<StreamingOrder::as_armed>>()});
  }
  timers::for_each_backend(timers::AllBackends{}, [&]<class Backend>() {
    add_own.template operator()<Backend, timers::TimerService<Backend, VirtualTime::Clock>>(
        Side::ours);
  });
  if (replayed == nullptr) {
    add_own_tails(all);
  }
  add_peers(all, replayed);
  std::vector<std::string> operations; // in the order in which the floor has them
  for (const Benchmark& benchmark : all) {
    if (benchmark.subject.side == Side::floor) {
      operations.push_back(benchmark.operation);
    }
  }
  const auto place = [&](const Benchmark& benchmark) {
    return std::find(operations.begin(), operations.end(), benchmark.operation);
  };
  std::stable_sort(all.begin(), all.end(),
                   [&](const Benchmark& a, const Benchmark& b) { return place(a) < place(b); });
  return all;
}

void print_help() {
  benchmark::PrintDefaultHelp();
  std::fputs(
      "\n"
      "timer-bench adds:\n"
      "          [--smoke]                  two small sizes, a moment each: are the answers "
      "right?\n"
      "          [--skip-above=<seconds>]   skip what needs longer for one repetition (10)\n"
      "          [--replay=<file>]          instead play back what idlewheel-server --timer-trace\n"
      "                                     recorded, on every backend and peer\n"
      "and measures for --benchmark_min_time=0.1 unless told otherwise. Names to filter by are\n"
      "<backend>/<operation>/<timers>, e.g. --benchmark_filter='/rearm/10000$'.\n",
      stdout);
}

// Returns the value of the last --name=value, or "true" for a bare --name.
std::optional<std::string> flag(const std::vector<std::string>& arguments,
                                const std::string& name) {
  std::optional<std::string> value;
  for (const std::string& argument : arguments) {
    if (argument == name) {
      value = "true";
    } else if (argument.starts_with(name + "=")) {
      value = argument.substr(name.size() + 1);
    }
  }
  return value;
}

double positive_number(const std::string& name, const std::string& text) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0' || !(number > 0)) {
    throw std::invalid_argument(name + " wants a positive number, not \"" + text + '"');
  }
  return number;
}

Options read_options(const std::vector<std::string>& arguments) {
  Options options;
  options.smoke = flag(arguments, "--smoke").has_value();
  options.replay = flag(arguments, "--replay").value_or("");
  options.min_time_s = options.smoke ? 0.001 : options.min_time_s;
  if (const auto text = flag(arguments, "--skip-above")) {
    options.skip_above_s = positive_number("--skip-above", *text);
  }
  if (const auto text = flag(arguments, "--benchmark_min_time")) {
    options.min_time_s = positive_number("--benchmark_min_time", *text);
  }
  const auto list = flag(arguments, "--benchmark_list_tests");
  options.list_only = list && *list != "false" && *list != "0";
  options.console = flag(arguments, "--benchmark_format").value_or("console") == "console";
  return options;
}

// Reads the trace that --replay names, if it is given. Throws std::invalid_argument when the file
// is no trace.
std::optional<Replayed> read_replayed(const Options& options) {
  if (options.replay.empty()) {
    return std::nullopt;
  }
  try {
    return Replayed{read_script(options.replay), options.skip_above_s};
  } catch (const std::runtime_error& error) {
    throw std::invalid_argument(std::string("--replay: ") + error.what());
  }
}

// Gives Google Benchmark its part of the command line. Throws for an unknown option.
void initialize_library(const std::vector<std::string>& arguments, const Options& options) {
  static std::vector<std::string> theirs; // static: the library keeps a pointer to the first one
  theirs = {arguments.front(), "--benchmark_min_time=" + std::to_string(options.min_time_s)};
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    if (arguments[i] != "--smoke" && !arguments[i].starts_with("--skip-above=") &&
        !arguments[i].starts_with("--replay=")) {
      theirs.push_back(arguments[i]);
    }
  }
  std::vector<char*> pointers;
  for (std::string& each : theirs) {
    pointers.push_back(each.data());
  }
  int count = static_cast<int>(pointers.size());
  benchmark::Initialize(&count, pointers.data(), print_help);
  if (count > 1) {
    throw std::invalid_argument(std::string("unknown option: ") + pointers[1]);
  }
}

// Applies --benchmark_filter to our names, with the library's rules: the name must contain a match
// of the regular expression, or, after a leading '-', must not.
class Filter {
public:
  explicit Filter(std::string text) {
    negative_ = text.starts_with('-');
    text.erase(0, negative_ ? 1 : 0);
    text = text.empty() || text == "all" ? "." : text;
    if (regcomp(&regex_, text.c_str(), REG_EXTENDED | REG_NOSUB) != 0) {
      throw std::invalid_argument("--benchmark_filter is no regular expression: " + text);
    }
  }
  ~Filter() { regfree(&regex_); }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  bool operator()(const std::string& name) const {
    return (regexec(&regex_, name.c_str(), 0, nullptr, 0) == 0) != negative_;
  }

private:
  bool negative_ = false;
  regex_t regex_{}; // not <regex>, which would double the time that this file takes to compile
};

// Processor time of this thread. Unlike real time, it does not grow while other programs run.
double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

TrialCost try_once(const Benchmark& benchmark, std::size_t n, Results& results) {
  const double start = cpu_seconds();
  Timed timed{};
  {
    const auto workload = benchmark.make(n);
    timed = workload->pass();
    if (const auto wrong = workload->check(); !wrong.empty()) {
      results.fail(benchmark.name(n), wrong);
    }
  }
  const double whole = std::max(1e-9, cpu_seconds() - start);
  const double measured = std::chrono::duration<double>(timed.elapsed).count();
  return {n, whole, std::clamp(measured, 1e-9, whole)};
}

// Returns the cheapest of three trials. The first one has cold caches, and other activity on the
// machine may slow any of them down. One will do where time does not matter.
TrialCost try_out(const Benchmark& benchmark, std::size_t n, const Options& options,
                  Results& results) {
  TrialCost best = try_once(benchmark, n, results);
  for (int i = 0; i < (options.smoke ? 0 : 2); ++i) {
    const TrialCost again = try_once(benchmark, n, results);
    best.whole_s = std::min(best.whole_s, again.whole_s);
    best.timed_s = std::min(best.timed_s, again.timed_s);
  }
  return best;
}

// Chooses which of the wanted sizes to measure. Tries the two smallest of `sizes` and predicts the
// cost of the others. On the way to a larger size, large ones are tried too, because the cost grows
// faster once caches overflow or a wheel makes several rounds.
std::vector<Size> choose_sizes(const Benchmark& benchmark, const std::vector<std::size_t>& sizes,
                               const std::vector<std::size_t>& wanted, const Options& options,
                               Results& results) {
  constexpr std::size_t kLarge = 100'000;
  results.mention(benchmark);
  TrialCost small = try_out(benchmark, sizes[0], options, results);
  TrialCost large = try_out(benchmark, sizes[1], options, results);
  std::vector<Size> chosen;
  for (const std::size_t n : sizes) {
    const TrialCost cost = n == small.n ? small : n == large.n ? large : predict(small, large, n);
    const bool fits = affordable(cost, options.skip_above_s);
    const bool is_wanted = std::find(wanted.begin(), wanted.end(), n) != wanted.end();
    if (is_wanted && fits) {
      chosen.push_back({n, most_passes(cost, options.min_time_s)});
    } else if (is_wanted) {
      results.skip(benchmark, n);
      options.out() << "skipped: " << benchmark.name(n) << ": one repetition needs about "
                    << std::llround(cost.whole_s) << " s\n";
    }
    if (fits && n >= kLarge && n < wanted.back()) {
      small = std::exchange(large, try_once(benchmark, n, results));
    }
  }
  return chosen;
}

void run(benchmark::State& state, const Benchmark& benchmark, std::size_t n, Results& results) {
  const auto workload = benchmark.make(n);
  double seconds = 0;
  std::uint64_t operations = 0;
  for ([[maybe_unused]] auto _ : state) {
    const Timed timed = workload->pass();
    if (workload->gave_up()) {
      results.skip(benchmark, n);
      state.SkipWithError("took too long");
      return;
    }
    const double elapsed = std::chrono::duration<double>(timed.elapsed).count();
    state.SetIterationTime(elapsed);
    seconds += elapsed;
    operations += timed.operations;
  }
  if (const auto wrong = workload->check(); !wrong.empty()) {
    results.fail(benchmark.name(n), wrong);
    state.SkipWithError("wrong answer");
    return;
  }
  const double ns = seconds * 1e9 / static_cast<double>(operations);
  state.SetItemsProcessed(static_cast<std::int64_t>(operations));
  state.counters["ns_per_op"] = ns;
  if (benchmark.sample != nullptr) {
    state.SetLabel(std::string("a sample is ") + benchmark.sample);
  }
  const std::vector<Figure> figures = workload->figures();
  for (const Figure& figure : figures) {
    state.counters[figure.name] = figure.value;
  }
  results.add(benchmark, n, static_cast<std::uint64_t>(state.iterations()), seconds, operations,
              figures);
}

void enlist(const Benchmark& benchmark, Size size, Results& results) {
  auto* registered = benchmark::RegisterBenchmark(
      benchmark.name(size.n).c_str(), [&benchmark, n = size.n, &results](benchmark::State& state) {
        run(state, benchmark, n, results);
      });
  registered->UseManualTime()->Unit(benchmark::kMicrosecond);
  if (size.most_passes != 0) {
    registered->Iterations(size.most_passes);
  }
}

// Returns the sizes of a benchmark that the filter lets through.
std::vector<std::size_t> select(const std::vector<std::size_t>& sizes, const Benchmark& benchmark,
                                const Filter& filter) {
  std::vector<std::size_t> selected;
  std::copy_if(sizes.begin(), sizes.end(), std::back_inserter(selected),
               [&](std::size_t n) { return filter(benchmark.name(n)); });
  return selected;
}

// As choose_sizes(), for a trace. It has only one size, and playing it once shows whether that is
// affordable.
std::vector<Size> choose_replay(const Benchmark& benchmark, std::size_t n, const Options& options,
                                Results& results) {
  results.mention(benchmark);
  const auto workload = benchmark.make(n);
  workload->pass();
  if (const auto wrong = workload->check(); !wrong.empty()) {
    results.fail(benchmark.name(n), wrong);
  }
  if (workload->gave_up()) {
    results.skip(benchmark, n);
    options.out() << "skipped: " << benchmark.name(n) << ": once through needs more than "
                  << options.skip_above_s << " s\n";
    return {};
  }
  return {{n, 0}};
}

void measure(const Options& options, Results& results) {
  const auto replayed = read_replayed(options);
  std::vector<std::size_t> sizes{400, 5'000, 10'000, 100'000, 1'000'000, 10'000'000};
  if (replayed) {
    sizes = {replayed->script.timers};
  } else if (options.smoke) {
    sizes = {64, 400};
  }
  const Filter filter(benchmark::GetBenchmarkFilter());
  benchmark::SetBenchmarkFilter("all"); // our filter decides what is registered
  const std::vector<Benchmark> all = all_benchmarks(replayed ? &*replayed : nullptr);
  for (const Benchmark& benchmark : all) {
    const auto wanted = select(sizes, benchmark, filter);
    if (options.list_only) {
      for (const std::size_t n : wanted) {
        enlist(benchmark, {n, 0}, results);
      }
    } else if (!wanted.empty() && replayed) {
      for (const Size size : choose_replay(benchmark, sizes.front(), options, results)) {
        enlist(benchmark, size, results);
      }
    } else if (!wanted.empty()) {
      for (const Size size : choose_sizes(benchmark, sizes, wanted, options, results)) {
        enlist(benchmark, size, results);
      }
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  results.table.print(options.out());
  results.tails.print(options.out());
}

int run_main(const std::vector<std::string>& arguments) {
  const Options options = read_options(arguments);
  initialize_library(arguments, options);
  Results results;
  measure(options, results);
  benchmark::Shutdown();
  return results.wrong ? 1 : 0;
}

} // namespace
} // namespace bench

int main(int argc, char** argv) {
  try {
    return bench::run_main({argv, argv + argc});
  } catch (const std::invalid_argument& error) {
    std::cerr << "timer-bench: " << error.what() << '\n';
    return 2;
  }
}
