// Tests of the samples behind the tails: quantiles, what a sample covers, and how it is printed.

#include "bench/catalogue.hpp"
#include "bench/tail_table.hpp"
#include "timers/hierarchical_wheel.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <sstream>

namespace bench {
namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

Samples of(std::vector<std::int64_t> values, std::size_t most = 1000) {
  std::shuffle(values.begin(), values.end(), std::mt19937_64(1));
  Samples samples(most);
  for (const std::int64_t value : values) {
    samples.record(nanoseconds(value));
  }
  return samples;
}

std::vector<std::int64_t> up_to(std::int64_t last) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(last));
  std::iota(values.begin(), values.end(), 1);
  return values;
}

double figure(const Workload& workload, std::string_view name) {
  for (const Figure& each : workload.figures()) {
    if (each.name == name) {
      return each.value;
    }
  }
  return -1;
}

TEST(Samples, give_quantiles_by_rank) {
  const Samples samples = of(up_to(1000));
  EXPECT_EQ(samples.quantile_ns(2), 500);
  EXPECT_EQ(samples.quantile_ns(10), 900);
  EXPECT_EQ(samples.quantile_ns(100), 990);
  EXPECT_EQ(samples.quantile_ns(1000), 999);
  EXPECT_EQ(samples.worst_ns(), 1000);
}

TEST(Samples, do_not_pass_the_worst_off_as_a_quantile) {
  EXPECT_TRUE(std::isnan(of(up_to(999)).quantile_ns(1000)));
  EXPECT_TRUE(std::isnan(of(up_to(99)).quantile_ns(100)));
  EXPECT_EQ(of(up_to(100)).quantile_ns(100), 99);
  EXPECT_EQ(of({1, 9}).quantile_ns(2), 1);
  EXPECT_TRUE(std::isnan(of({7}).quantile_ns(2)));
  EXPECT_EQ(of({7}).worst_ns(), 7);
  EXPECT_TRUE(std::isnan(of({}).quantile_ns(2)));
  EXPECT_TRUE(std::isnan(of({}).worst_ns()));
}

TEST(Samples, agree_with_the_definition_of_a_quantile) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    std::vector<std::int64_t> values(1 + random() % 1000);
    for (std::int64_t& value : values) {
      value = static_cast<std::int64_t>(random() % 50); // many are equal
    }
    const Samples samples = of(values);
    for (const std::size_t one_in : {2, 10, 100, 1000}) {
      const double found = samples.quantile_ns(one_in);
      if (values.size() < one_in) {
        EXPECT_TRUE(std::isnan(found));
        continue;
      }
      const auto exceeding = [&](double limit) {
        return static_cast<std::size_t>(
            std::count_if(values.begin(), values.end(),
                          [&](auto value) { return static_cast<double>(value) > limit; }));
      };
      EXPECT_LE(exceeding(found), values.size() / one_in);
      EXPECT_GT(exceeding(found - 1), values.size() / one_in);
    }
  }
}

TEST(Samples, forget_the_oldest_beyond_their_limit) {
  Samples samples(4);
  for (int value = 9; value > 1; --value) {
    samples.record(nanoseconds(value));
  }
  EXPECT_EQ(samples.size(), 4U);
  EXPECT_EQ(samples.worst_ns(), 9); // but not the worst
  EXPECT_EQ(samples.quantile_ns(2), 3);
  EXPECT_EQ(samples.recent(0), nanoseconds(2));
  EXPECT_EQ(samples.recent(3), nanoseconds(5));
}

void busy_wait(microseconds time) {
  const auto start = LapWatch::Clock::now();
  while (LapWatch::Clock::now() - start < time) {
  }
}

TEST(LapWatch, measures_what_lies_between_start_and_lap) {
  LapWatch watch(2);
  for (int pass = 1; pass <= 2; ++pass) {
    watch.start();
    busy_wait(microseconds(300));
    watch.lap();
    busy_wait(microseconds(200));
    watch.lap();
    const Timed timed = watch.finish(16);
    EXPECT_EQ(timed.operations, 32U);
    EXPECT_GE(timed.elapsed, microseconds(500));
  }
  std::map<std::string_view, double> figures;
  for (const Figure& each : watch.figures()) {
    figures[each.name] = each.value;
  }
  EXPECT_EQ(figures["samples"], 4);
  EXPECT_GE(figures["p50_ns"], 200e3);
  EXPECT_GE(figures["worst_ns"], 300e3);
  EXPECT_GE(figures["machine_worst_ns"], 0);
  EXPECT_TRUE(std::isnan(figures["p99_ns"]));
}

TEST(Tails, measure_each_tick_under_one_name) {
  constexpr std::array kAll{Cascade::none, Cascade::level_1, Cascade::level_2, Cascade::level_3};
  for (Tick tick = 0; tick < 600'000; ++tick) {
    ASSERT_EQ(std::count_if(kAll.begin(), kAll.end(), [&](auto each) { return is_at(tick, each); }),
              1)
        << tick;
  }
}

TEST(Tails, know_when_a_hierarchical_wheel_cascades) {
  constexpr Tick kUnit1 = 64;
  constexpr Tick kUnit2 = 64 * kUnit1;
  constexpr Tick kUnit3 = 64 * kUnit2;
  timers::HierarchicalWheel wheel;
  timers::HierarchicalWheel::Node node;
  wheel.arm(node, kUnit3 + 2 * kUnit2 + 3 * kUnit1 + 4, 0);
  for (const Cascade cascade : {Cascade::level_3, Cascade::level_2, Cascade::level_1}) {
    EXPECT_TRUE(is_at(wheel.next_deadline(), cascade));
    wheel.advance(wheel.next_deadline());
    EXPECT_EQ(wheel.pop_expired(), nullptr);
  }
  EXPECT_TRUE(is_at(wheel.next_deadline(), Cascade::none));
  wheel.advance(wheel.next_deadline());
  EXPECT_EQ(wheel.pop_expired(), &node);
}

TEST(Tails, take_a_sample_at_each_tick_of_their_kind) {
  const auto samples = [](Cascade cascade) {
    TailTick<timers::HierarchicalWheel> workload(100, cascade);
    workload.pass();
    workload.pass();
    return figure(workload, "samples");
  };
  // A pass covers kRequestTimeout ticks, half of them before a multiple of 64^3.
  EXPECT_EQ(samples(Cascade::level_3), 2 * 1);
  EXPECT_EQ(samples(Cascade::level_2), 2 * (7 - 1));
  EXPECT_EQ(samples(Cascade::level_1), 2 * (469 - 7));
  EXPECT_EQ(samples(Cascade::none), 2 * (30'000 - 469));
}

TEST(Tails, take_a_sample_of_each_pass_of_the_service) {
  using Service = timers::TimerService<timers::HierarchicalWheel, VirtualTime::Clock>;
  const auto samples = [](std::size_t n, std::size_t budget) {
    TailPass<Service> workload(n, budget);
    workload.pass();
    EXPECT_EQ(workload.check(), "");
    return figure(workload, "samples");
  };
  EXPECT_EQ(samples(1000, 64), 16);
  EXPECT_EQ(samples(1000, 1024), 1);
  EXPECT_EQ(samples(1000, kWholeBurst), 1);
  EXPECT_EQ(samples(128, 64), 3); // the last pass finds that nothing is left
}

// A floor whose every 160th arm() takes long: one batch in ten.
class Stutters : public Floor {
public:
  static constexpr microseconds kPause{200};

  void arm(Node& node, Tick deadline, Ticks timeout) {
    Floor::arm(node, deadline, timeout);
    if (++armed_ % 160 == 0) {
      busy_wait(kPause);
    }
  }

private:
  std::size_t armed_ = 0;
};

// Floors are checked by what they store.
std::string_view check_contents(Stutters& /*floor*/, ScatteredTimers<Stutters>& /*all*/,
                                const std::vector<Tick>& /*deadlines*/) {
  return "";
}

TEST(Tails, show_operations_that_are_seldom_slow) {
  TailArm<Stutters> workload(16'000); // 1000 batches, of which 100 are slow
  workload.pass();
  const auto pause = static_cast<double>(nanoseconds(Stutters::kPause).count());
  EXPECT_EQ(figure(workload, "samples"), 1000);
  EXPECT_GE(figure(workload, "p99_ns"), pause);
  EXPECT_GE(figure(workload, "p99.9_ns"), pause);
  EXPECT_LT(figure(workload, "p50_ns"), pause);
}

TEST(TailTable, prints_three_digits_and_a_unit) {
  EXPECT_EQ(TailTable::duration(7), "7 ns");
  EXPECT_EQ(TailTable::duration(999), "999 ns");
  EXPECT_EQ(TailTable::duration(999.6), "1.00 us");
  EXPECT_EQ(TailTable::duration(12'345), "12.3 us");
  EXPECT_EQ(TailTable::duration(123'456), "123 us");
  EXPECT_EQ(TailTable::duration(12'345'678'000), "12346 ms");
  EXPECT_EQ(TailTable::duration(std::nan("")), "-");
}

Benchmark named(const std::string& subject, const std::string& operation) {
  return {{subject, Side::ours, nullptr}, operation, {}, "16 operations"};
}

std::string printed(const TailTable& table) {
  std::ostringstream out;
  table.print(out);
  return out.str();
}

TEST(TailTable, keeps_the_fastest_of_the_longest_runs) {
  const Benchmark benchmark = named("model", "tail-arm");
  TailTable table;
  table.mention(benchmark);
  table.add(benchmark, 400, 1, 1, {{"p50_ns", 111}});
  table.add(benchmark, 400, 5, 30, {{"p50_ns", 222}});
  table.add(benchmark, 400, 5, 20, {{"p50_ns", 333}, {"p99_ns", std::nan("")}});
  table.add(benchmark, 400, 5, 25, {{"p50_ns", 444}});
  EXPECT_THAT(printed(table), HasSubstr("tail-arm, 400 timers: a sample is 16 operations"));
  EXPECT_THAT(printed(table), ContainsRegex("model +- +333 ns +- +- "));
  EXPECT_THAT(printed(table), Not(ContainsRegex("111|222|444")));
}

TEST(TailTable, has_the_order_of_the_first_mention) {
  TailTable table;
  for (const char* operation : {"tail-b", "tail-a"}) {
    for (const char* subject : {"second", "first"}) {
      table.mention(named(subject, operation));
    }
  }
  table.skip(named("first", "tail-a"), 5000); // skipping comes before measuring
  table.add(named("second", "tail-a"), 5000, 1, 1, {{"samples", 7}});
  table.add(named("second", "tail-b"), 400, 1, 1, {});
  EXPECT_THAT(printed(table), ContainsRegex("tail-b, 400 (.|\n)*tail-a, 5000 "
                                            "(.|\n)*second +7 (.|\n)*first +skipped"));
}

} // namespace
} // namespace bench
