// What is measured of a backend, by name.
#pragma once

#include "bench/operations.hpp"
#include "bench/server_life.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace bench {

struct Benchmark {
  std::string backend;
  std::string operation;
  std::function<std::unique_ptr<Workload>(std::size_t n)> make;

  std::string name(std::size_t n) const {
    return backend + "/" + operation + "/" + std::to_string(n);
  }
};

template <class W, class... Arguments> auto maker(Arguments... arguments) {
  return [=](std::size_t n) -> std::unique_ptr<Workload> {
    return std::make_unique<W>(n, arguments...);
  };
}

template <class Backend> void add_operations(std::vector<Benchmark>& all) {
  const std::string name(Backend::kInfo.name);
  const auto add = [&](const char* operation, auto make) {
    all.push_back({name, operation, make});
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

template <class Service> void add_lives(std::vector<Benchmark>& all, std::string_view name) {
  using timers::Rearm;
  const auto add = [&](const char* operation, auto make) {
    all.push_back({std::string(name), operation, make});
  };
  constexpr LifeConfig kLong{Rearm::lazy, kIdleTimeout, kRequestTimeout};
  constexpr LifeConfig kShort{Rearm::lazy, 2'000, 1'000};
  const auto eager = [](LifeConfig config) {
    config.rearm = Rearm::eager;
    return config;
  };
  add("rearm-lazy", maker<RearmThroughService<Service>>(Rearm::lazy));
  add("server-life-eager", maker<ServerLife<Service>>(eager(kLong)));
  add("server-life-lazy", maker<ServerLife<Service>>(kLong));
  add("server-life-short-eager", maker<ServerLife<Service>>(eager(kShort)));
  add("server-life-short-lazy", maker<ServerLife<Service>>(kShort));
}

} // namespace bench
