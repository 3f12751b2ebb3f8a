// What is measured of a backend, by name.
#pragma once

#include "bench/operations.hpp"
#include "bench/replay.hpp"
#include "bench/server_life.hpp"
#include "bench/subject.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace bench {

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
  add("slide-arm-first", maker<Slide<Backend>>(Order::arm_first));
  add("slide-disarm-first", maker<Slide<Backend>>(Order::disarm_first));
  add("advance-nothing-due", maker<AdvanceNothingDue<Backend>>());
  add("expire-one-by-one", maker<Expire<Backend>>(Expiry::one_by_one));
  add("m1", maker<Expire<Backend>>(Expiry::start_to_end));
  add("expire-all-at-once", maker<Expire<Backend>>(Expiry::all_at_once));
}

inline constexpr LifeConfig kLongLife{timers::Rearm::eager, kIdleTimeout, kRequestTimeout};
inline constexpr LifeConfig kShortLife{timers::Rearm::eager, 2'000, 1'000};

template <class Service> void add_eager_lives(std::vector<Benchmark>& all, const Subject& subject) {
  const auto add = [&](const char* operation, auto make) {
    all.push_back({subject, operation, make});
  };
  add("server-life-eager", maker<ServerLife<Service>>(kLongLife));
  add("server-life-short-eager", maker<ServerLife<Service>>(kShortLife));
}

template <class Service> void add_lazy_lives(std::vector<Benchmark>& all, const Subject& subject) {
  const auto add = [&](const char* operation, auto make) {
    all.push_back({subject, operation, make});
  };
  const auto lazy = [](LifeConfig config) {
    config.rearm = timers::Rearm::lazy;
    return config;
  };
  add("rearm-lazy", maker<RearmThroughService<Service>>(timers::Rearm::lazy));
  add("server-life-lazy", maker<ServerLife<Service>>(lazy(kLongLife)));
  add("server-life-short-lazy", maker<ServerLife<Service>>(lazy(kShortLife)));
}

// What is played in place of all that, when somebody brings a trace.
struct Replayed {
  Script script;
  double limit_s; // for one time through
};

template <class Service>
void add_replay(std::vector<Benchmark>& all, const Subject& subject, timers::Rearm rearm,
                const Replayed& replayed) {
  all.push_back({subject, rearm == timers::Rearm::lazy ? "replay-lazy" : "replay-eager",
                 maker<Replay<Service>>(std::cref(replayed.script), rearm, replayed.limit_s)});
}

} // namespace bench
