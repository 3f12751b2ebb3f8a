// Tests that each benchmark notices a wrong structure, and tests of the prediction of costs.

#include "bench/catalogue.hpp"
#include "bench/peers.hpp"
#include "bench/trial_cost.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <array>
#include <deque>
#include <filesystem>
#include <map>
#include <random>

namespace bench {
namespace {

using testing::Contains;
using testing::IsEmpty;
using testing::IsSupersetOf;

enum class Fault { none, loses_armed, loses_rearmed, keeps_disarmed, early, late, pops_less };

// The simplest correct backend there is, and ways to break it. Faults that lose or keep something
// strike at every seventh call.
class Model {
public:
  // Static, because workloads construct their backend themselves.
  static inline Fault fault = Fault::none;

  struct Node {
    Tick deadline = kNever;
  };

  static constexpr timers::BackendInfo kInfo{
      .name = "model",
      .scheme = "-",
      .summary = "an ordered map",
      .peer_order = timers::PeerOrder::moved,
      .exact_next_deadline = true,
      .costs = {},
      .bytes_per_timer = 0,
  };

  void arm(Node& node, Tick deadline, Ticks /*timeout*/) {
    node.deadline = deadline;
    if (!strikes(Fault::loses_armed)) {
      armed_.emplace(deadline, &node);
    }
  }
  void rearm(Node& node, Tick deadline, Ticks /*timeout*/) {
    take_out(node);
    node.deadline = deadline;
    if (!strikes(Fault::loses_rearmed)) {
      armed_.emplace(deadline, &node);
    }
  }
  void disarm(Node& node) noexcept {
    if (!strikes(Fault::keeps_disarmed)) {
      take_out(node);
    }
  }
  void advance(Tick now) noexcept { now_ = std::max(now_, now); }
  Node* pop_expired() noexcept {
    const Tick until = now_ + (fault == Fault::early ? 1 : 0) - (fault == Fault::late ? 1 : 0);
    if (armed_.empty() || armed_.begin()->first > until || strikes(Fault::pops_less)) {
      return nullptr;
    }
    Node* node = armed_.begin()->second;
    armed_.erase(armed_.begin());
    return node;
  }
  Tick next_deadline() const noexcept { return armed_.empty() ? kNever : armed_.begin()->first; }
  std::string_view check() const { return ""; }

private:
  bool strikes(Fault which) noexcept { return fault == which && ++calls_ % 7 == 0; }
  void take_out(Node& node) noexcept {
    const auto [first, last] = armed_.equal_range(node.deadline);
    for (auto at = first; at != last; ++at) {
      if (at->second == &node) {
        armed_.erase(at);
        return;
      }
    }
  }

  std::multimap<Tick, Node*> armed_;
  Tick now_ = 0;
  std::uint64_t calls_ = 0;
};

// The same as a peer, which calls back for each timer.
class ModelPeer : public Model {
public:
  static constexpr const char* kName = "model";
  void introduce(Node& /*node*/) {}
  void retire(Node& /*node*/) {}
  template <class Run> void run_until(Tick now, Run&& run) {
    advance(now);
    while (Node* node = pop_expired()) {
      run(*node);
    }
  }
};

std::vector<Benchmark> of_backend() {
  std::vector<Benchmark> all;
  using Service = timers::TimerService<Model, VirtualTime::Clock>;
  add_operations<Model>(all, subject<Model>(Side::ours));
  add_eager_lives<Service>(all, subject<Model>(Side::ours));
  add_lazy_lives<Service>(all, subject<Model>(Side::ours));
  add_paced_pairs<Service>(all, subject<Model>(Side::ours));
  add_tails<Model>(all, subject<Model>(Side::ours));
  add_tail_passes<Service>(all, subject<Model>(Side::ours));
  return all;
}

std::vector<Benchmark> of_peer() {
  std::vector<Benchmark> all;
  add_peer<ModelPeer>(all, nullptr);
  return all;
}

// The benchmarks of the model, as a backend and as a peer.
constexpr std::array kKinds{of_backend, of_peer};

// The tails of what runs timers, of the model as a backend and as a peer; and those that only a
// backend has.
const std::vector<std::string> kTailsOfRunning{"tail-tick",        "tail-tick-64", "tail-tick-4096",
                                               "tail-tick-262144", "tail-burst",   "tail-pass-all"};
const std::vector<std::string> kBoundedPasses{"tail-pass-64", "tail-pass-256", "tail-pass-1024"};

// Returns the names of the operations that find something wrong after three passes over `n` timers.
std::vector<std::string> noticed(Fault fault, std::vector<Benchmark> (*of)(), std::size_t n = 400) {
  Model::fault = fault;
  std::vector<std::string> names;
  for (const Benchmark& benchmark : of()) {
    // When a service is destroyed, it looks at what its backend has kept. By then these are gone.
    if (fault == Fault::keeps_disarmed && benchmark.operation.starts_with("paced-pairs-")) {
      continue;
    }
    const auto workload = benchmark.make(n);
    for (int pass = 0; pass < 3; ++pass) {
      workload->pass();
    }
    if (!workload->check().empty()) {
      names.push_back(benchmark.operation);
    }
  }
  return names;
}

// Records a trace: some of its timers run, some are put off, some are disarmed.
class Recorded {
public:
  Recorded() {
    VirtualTime time;
    timers::TraceFile file(path_, std::chrono::milliseconds(1));
    using Service = timers::TimerService<Model, VirtualTime::Clock, timers::ToFile>;
    Model::fault = Fault::none;
    Service service({.rearm = timers::Rearm::eager}, time.clock(), timers::ToFile(file));
    std::deque<Service::Timer> timers;
    for (int i = 0; i < 50; ++i) {
      timers.emplace_back(service, [] {});
    }
    std::mt19937_64 random(7);
    for (Tick tick = 1; tick < 2000; ++tick) {
      time.set(tick);
      service.run_due();
      auto& timer = timers[random() % timers.size()];
      random() % 8 == 0 ? void(timer.disarm()) : timer.rearm(1 + random() % 60, service.now());
    }
  }
  ~Recorded() { std::filesystem::remove(path_); }
  Recorded(const Recorded&) = delete;
  Recorded& operator=(const Recorded&) = delete;

  Replayed replayed() const { return {read_script(path_), 60.0}; }

private:
  const std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / ("idlewheel-replay-" + std::to_string(::getpid()));
};

TEST(Replay, plays_what_was_recorded) {
  const Script script = Recorded().replayed().script;
  EXPECT_EQ(script.timers, 50U);
  EXPECT_GT(script.steps.size(), 1500U);
  EXPECT_EQ(script.longest_timeout, 61U);
  EXPECT_FALSE(script.expiries == RunLog());
}

TEST(Replay, notices_a_wrong_structure) {
  const Replayed replayed = Recorded().replayed();
  using Service = timers::TimerService<Model, VirtualTime::Clock>;
  std::vector<Benchmark> all;
  add_replay<Service>(all, subject<Model>(Side::ours), timers::Rearm::eager, replayed);
  add_replay<Service>(all, subject<Model>(Side::ours), timers::Rearm::lazy, replayed);
  add_peer<ModelPeer>(all, &replayed);
  // The fault that keeps disarmed timers is left out, because it would touch timers that are gone.
  for (const Fault fault :
       {Fault::none, Fault::loses_armed, Fault::loses_rearmed, Fault::early, Fault::late}) {
    Model::fault = fault;
    const auto workload = all.front().make(replayed.script.timers); // eager, which shows each fault
    workload->pass();
    EXPECT_EQ(workload->check().empty(), fault == Fault::none);
  }
  Model::fault = Fault::none;
  for (const Benchmark& benchmark : all) {
    const auto workload = benchmark.make(replayed.script.timers);
    workload->pass();
    EXPECT_EQ(workload->check(), "") << benchmark.operation;
  }
}

TEST(Replay, gives_up_when_it_takes_too_long) {
  const Replayed recorded = Recorded().replayed();
  const Replayed replayed{recorded.script, 0.0};
  std::vector<Benchmark> all;
  add_replay<FloorService>(all, subject<Floor>(Side::floor), timers::Rearm::eager, replayed);
  const auto workload = all.front().make(replayed.script.timers);
  workload->pass();
  EXPECT_TRUE(workload->gave_up());
}

TEST(Workloads, find_nothing_wrong_with_a_right_structure) {
  for (const auto of : kKinds) {
    EXPECT_THAT(noticed(Fault::none, of, 400), IsEmpty());
    EXPECT_THAT(noticed(Fault::none, of, 64), IsEmpty());
  }
}

TEST(Workloads, notice_what_is_lost_by_arm) {
  for (const auto of : kKinds) {
    EXPECT_THAT(
        noticed(Fault::loses_armed, of),
        IsSupersetOf({"arm", "arm-random", "advance-nothing-due", "m1", "disarm", "slide-arm-first",
                      "slide-disarm-first", "expire-scattered", "paced-pairs"}));
  }
  for (const auto of : kKinds) {
    EXPECT_THAT(noticed(Fault::loses_armed, of), IsSupersetOf(kTailsOfRunning));
    EXPECT_THAT(noticed(Fault::loses_armed, of), Contains("tail-arm"));
  }
  EXPECT_THAT(noticed(Fault::loses_armed, of_backend), IsSupersetOf(kBoundedPasses));
}

TEST(Workloads, notice_what_is_lost_by_rearm) {
  for (const auto of : kKinds) {
    EXPECT_THAT(noticed(Fault::loses_rearmed, of),
                IsSupersetOf({"rearm", "rearm-mixed", "tail-rearm"}));
  }
}

TEST(Workloads, notice_what_is_not_taken_out) {
  for (const auto of : kKinds) {
    EXPECT_THAT(noticed(Fault::keeps_disarmed, of, 4000), IsSupersetOf({"disarm", "paced-pairs"}));
  }
}

TEST(Workloads, notice_what_runs_early) {
  for (const auto of : kKinds) {
    EXPECT_THAT(noticed(Fault::early, of),
                IsSupersetOf({"arm", "rearm", "expire-one-by-one", "m1", "tail-arm", "tail-rearm",
                              "tail-tick", "tail-tick-64", "tail-tick-4096", "tail-tick-262144",
                              "paced-pairs"}));
  }
}

TEST(Workloads, notice_what_runs_late) {
  for (const auto of : kKinds) {
    EXPECT_THAT(noticed(Fault::late, of),
                IsSupersetOf({"arm", "rearm", "expire-one-by-one", "m1", "expire-all-at-once",
                              "server-life-eager", "server-life-short-eager", "paced-pairs"}));
  }
  EXPECT_THAT(noticed(Fault::late, of_backend),
              IsSupersetOf({"rearm-lazy", "server-life-short-lazy", "paced-pairs-eager",
                            "paced-pairs-lazy"}));
  for (const auto of : kKinds) {
    EXPECT_THAT(noticed(Fault::late, of), IsSupersetOf(kTailsOfRunning));
    EXPECT_THAT(noticed(Fault::late, of), IsSupersetOf({"tail-arm", "tail-rearm"}));
  }
  EXPECT_THAT(noticed(Fault::late, of_backend), IsSupersetOf(kBoundedPasses));
}

TEST(Workloads, notice_what_is_left_behind) {
  for (const auto of : kKinds) {
    EXPECT_THAT(noticed(Fault::pops_less, of), IsSupersetOf({"expire-all-at-once", "m1"}));
  }
  for (const auto of : kKinds) {
    EXPECT_THAT(noticed(Fault::pops_less, of), IsSupersetOf(kTailsOfRunning));
  }
  EXPECT_THAT(noticed(Fault::pops_less, of_backend), IsSupersetOf(kBoundedPasses));
}

TEST(TrialCost, follows_the_power_law_of_the_trials) {
  const TrialCost small{100, 0.001, 0.0005};
  EXPECT_NEAR(predict(small, {1000, 0.1, 0.05}, 10'000).whole_s, 10, 1e-6);
  EXPECT_NEAR(predict(small, {1000, 0.1, 0.05}, 10'000).timed_s, 5, 1e-6);
  EXPECT_NEAR(predict(small, {1000, 0.01, 0.005}, 10'000).whole_s, 0.1, 1e-6);
}

TEST(TrialCost, never_predicts_less_than_linear_growth) {
  EXPECT_NEAR(predict({100, 0.1, 0.1}, {1000, 0.1, 0.1}, 10'000).whole_s, 1, 1e-6);
}

TEST(TrialCost, allows_the_time_that_every_structure_needs) {
  EXPECT_TRUE(affordable({400, 10, 1}, 10));
  EXPECT_FALSE(affordable({400, 10.1, 1}, 10));
  EXPECT_TRUE(affordable({10'000'000, 29, 1}, 10));
  EXPECT_FALSE(affordable({10'000'000, 31, 1}, 10));
}

TEST(TrialCost, limits_passes_only_where_setting_up_dominates) {
  EXPECT_EQ(most_passes({400, 0.002, 0.001}, 0.1), 0);
  EXPECT_EQ(most_passes({400, 0.5, 0.001}, 0.1), 4);
  EXPECT_EQ(most_passes({400, 9.0, 0.001}, 0.1), 1);
}

} // namespace
} // namespace bench
