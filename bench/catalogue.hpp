// All benchmarks by name: which workloads are measured of a backend, a peer or a floor.
#pragma once

#include "bench/operations.hpp"
#include "bench/paced_pairs.hpp"
#include "bench/replay.hpp"
#include "bench/server_life.hpp"
#include "bench/tails.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace bench {

enum class Side { floor, ours, peer };

// A row of the tables: whose timers a benchmark measures.
struct Subject {
  std::string name;
  Side side;
  std::size_t (*bytes_per_timer)(); // the node, and what grows with the number of timers
};

template <class Backend> Subject subject(Side side) {
  return {std::string(Backend::kInfo.name), side, [] { return Backend::kInfo.bytes_per_timer; }};
}

struct Benchmark {
  Subject subject;
  std::string operation;
  std::function<std::unique_ptr<Workload>(std::size_t n)> make;
  // What one sample covers when the benchmark is one of tails, whose quantiles are shown; else
  // null.
  const char* sample = nullptr;

  std::string name(std::size_t n) const {
    return subject.name + "/" + operation + "/" + std::to_string(n);
  }
};

template <class W, class... Arguments> auto maker(Arguments... arguments) {
  return [=](std::size_t n) -> std::unique_ptr<Workload> {
    return std::make_unique<W>(n, arguments...);
  };
}

template <class Backend> void add_operations(std::vector<Benchmark>& all, const Subject& subject) {
  const auto add = [&](const char* operation, auto make) {
    all.push_back({subject, operation, make});
  };
  add("arm", maker<Arm<Backend>>(Timeouts::fixed));
  add("arm-random", maker<Arm<Backend>>(Timeouts::random));
  add("rearm", maker<Rearm<Backend>>(Timeouts::fixed));
  add("rearm-mixed", maker<Rearm<Backend>>(Timeouts::mixed));
  add("disarm", maker<Disarm<Backend>>());
  add("slide-arm-first", maker<Slide<Backend>>(SlideOrder::arm_first));
  add("slide-disarm-first", maker<Slide<Backend>>(SlideOrder::disarm_first));
  add("advance-nothing-due", maker<AdvanceNothingDue<Backend>>());
  add("expire-one-by-one", maker<Expire<Backend>>(Expiry::one_by_one));
  add("m1", maker<Expire<Backend>>(Expiry::start_to_end));
  add("expire-all-at-once", maker<Expire<Backend>>(Expiry::all_at_once));
  if constexpr (!timers::BackendWithReach<Backend>) { // it would need 256 MiB of slots
    add("expire-scattered", maker<Expire<Backend>>(Expiry::scattered));
    add("paced-pairs", maker<PacedPairs<PacedBare<Backend>>>(timers::Rearm::eager));
  }
}

template <class Backend> void add_tails(std::vector<Benchmark>& all, const Subject& subject) {
  const auto add = [&](const char* operation, auto make, const char* sample) {
    all.push_back({subject, operation, make, sample});
  };
  static_assert(kBatch == 16);
  add("tail-arm", maker<TailArm<Backend>>(), "16 operations");
  add("tail-rearm", maker<TailRearm<Backend>>(), "16 operations");
  add("tail-tick", maker<TailTick<Backend>>(Cascade::none), "a tick");
  add("tail-tick-64", maker<TailTick<Backend>>(Cascade::level_1), "a tick");
  add("tail-tick-4096", maker<TailTick<Backend>>(Cascade::level_2), "a tick");
  add("tail-tick-262144", maker<TailTick<Backend>>(Cascade::level_3), "a tick");
  add("tail-burst", maker<TailBurst<Backend>>(), "16 operations");
}

template <class Service>
void add_tail_pass(std::vector<Benchmark>& all, const Subject& subject, std::size_t budget) {
  const std::string name = budget == kWholeBurst ? "all" : std::to_string(budget);
  all.push_back({subject, "tail-pass-" + name, maker<TailPass<Service>>(budget), "a pass"});
}

template <class Service> void add_tail_passes(std::vector<Benchmark>& all, const Subject& subject) {
  for (const std::size_t budget : {std::size_t{64}, std::size_t{256}, std::size_t{1024}}) {
    add_tail_pass<Service>(all, subject, budget);
  }
  add_tail_pass<Service>(all, subject, kWholeBurst);
}

// Adds the tails of the floor and of all backends. tail_bench.cpp has it, because this program
// takes long to compile.
void add_own_tails(std::vector<Benchmark>& all);

inline constexpr ServerLifeConfig kDefaultTimeouts{timers::Rearm::eager, kIdleTimeout,
                                                   kRequestTimeout};
inline constexpr ServerLifeConfig kShortTimeouts{timers::Rearm::eager, 2'000, 1'000};

template <class Service> void add_eager_lives(std::vector<Benchmark>& all, const Subject& subject) {
  const auto add = [&](const char* operation, auto make) {
    all.push_back({subject, operation, make});
  };
  add("server-life-eager", maker<ServerLife<Service>>(kDefaultTimeouts));
  add("server-life-short-eager", maker<ServerLife<Service>>(kShortTimeouts));
}

template <class Service> void add_paced_pairs(std::vector<Benchmark>& all, const Subject& subject) {
  using Timers = PacedService<Service>;
  all.push_back({subject, "paced-pairs-eager", maker<PacedPairs<Timers>>(timers::Rearm::eager)});
  all.push_back({subject, "paced-pairs-lazy", maker<PacedPairs<Timers>>(timers::Rearm::lazy)});
}

template <class Service> void add_lazy_lives(std::vector<Benchmark>& all, const Subject& subject) {
  const auto add = [&](const char* operation, auto make) {
    all.push_back({subject, operation, make});
  };
  const auto lazy = [](ServerLifeConfig config) {
    config.rearm = timers::Rearm::lazy;
    return config;
  };
  add("rearm-lazy", maker<RearmThroughService<Service>>(timers::Rearm::lazy));
  add("server-life-lazy", maker<ServerLife<Service>>(lazy(kDefaultTimeouts)));
  add("server-life-short-lazy", maker<ServerLife<Service>>(lazy(kShortTimeouts)));
}

// A recorded trace, which is measured in place of all operations above when the user brings one.
struct Replayed {
  Script script;
  double limit_s; // playing it once may take so long
};

template <class Service>
void add_replay(std::vector<Benchmark>& all, const Subject& subject, timers::Rearm rearm,
                const Replayed& replayed) {
  all.push_back({subject, rearm == timers::Rearm::lazy ? "replay-lazy" : "replay-eager",
                 maker<Replay<Service>>(std::cref(replayed.script), rearm, replayed.limit_s)});
}

} // namespace bench
