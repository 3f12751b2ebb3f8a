// All benchmarks by name: which workloads are measured of a backend, a peer or a floor.
#pragma once

#include "bench/operations.hpp"
#include "bench/paced_pairs.hpp"
#include "bench/replay.hpp"
#include "bench/server_life.hpp"

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
  add("expire-scattered", maker<Expire<Backend>>(Expiry::scattered));
  add("paced-pairs", maker<PacedPairs<PacedBare<Backend>>>(timers::Rearm::eager));
}

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
