// The figures that are made of a service's counters, and their text for Prometheus (CONTRACT.md,
// line 51). server/stats_test.cpp compares the text with that of prometheus-cpp.
#include "timers/timer_statistics.hpp"

#include "timers/hierarchical_wheel.hpp"
#include "timers/ordered_list.hpp"
#include "timers/testing/testing.hpp"

#include <memory>
#include <sstream>

namespace timers::test {
namespace {

using namespace std::chrono_literals;

class FiguresOfService : public ::testing::TestWithParam<ServiceKind> {
protected:
  const ServiceKind& kind = GetParam();
};
INSTANTIATE_TEST_SUITE_P(, FiguresOfService, ::testing::ValuesIn(service_kinds()), service_id);

// (CONTRACT.md, line 51)
TEST_P(FiguresOfService, AreWhatHappenedBetweenTwoReadings) {
  Rig rig(kind);
  std::vector<TimerPtr> timers;
  for (int id = 0; id < 10; ++id) {
    timers.push_back(rig.timer(id));
    rig.arm(timers.back(), 10ms);
  }
  rig.move_to(1500ms); // late, and before the first reading
  rig.pass();
  const TimerReading before{rig.service().counters(), rig.elapsed()};
  for (const TimerPtr& timer : timers) {
    rig.arm(timer, 50ms);
    for (int i = 0; i < 9; ++i) {
      rig.rearm(timer, 50ms);
    }
  }
  timers[0]->disarm();
  timers[1]->disarm();
  rig.rearm(timers[2], 1h);
  rig.move_to(1550ms + 250us);
  rig.pass();
  rig.move_to(2000ms);
  const TimerStatistics lately(before, {rig.service().counters(), rig.elapsed()});
  EXPECT_EQ(lately.live, 1U);
  EXPECT_EQ(lately.armed_per_s, 20);
  EXPECT_EQ(lately.rearmed_per_s, 182);
  EXPECT_EQ(lately.disarmed_per_s, 4);
  EXPECT_EQ(lately.expired_per_s, 14);
  if (kind.lazy()) {
    EXPECT_LE(lately.moved_share, 12.0 / 101);
  } else {
    EXPECT_EQ(lately.moved_share, 1);
  }
  EXPECT_GE(lately.late.p50, 250us);
  EXPECT_LE(lately.late.max, 250us + 250us / 8);
}

TEST(TimerStatistics, AreZeroWithoutTimeOrTimers) {
  const TimerReading same{.counters = {}, .at = 5s};
  const TimerStatistics none(same, same);
  EXPECT_EQ(none.armed_per_s, 0);
  EXPECT_EQ(none.moved_share, 0);
  const TimerStatistics idle({.counters = {}, .at = 1s}, same);
  EXPECT_EQ(idle.moved_share, 0);
  EXPECT_EQ(idle.late.max, 0ns);
}

TEST(TimerStatistics, HaveTheQuantilesOfLateness) {
  TimerReading before;
  before.counters.late.record(1h);
  TimerReading after = before;
  after.at = 1s;
  for (int i = 0; i < 10'000; ++i) {
    after.counters.late.record(i < 9800 ? 1us : i < 9985 ? 1ms : 100ms);
  }
  const Lateness late = TimerStatistics(before, after).late;
  const auto about = [](nanoseconds quantile, nanoseconds value) {
    return quantile >= value && quantile <= value + value / 8;
  };
  EXPECT_TRUE(about(late.p50, 1us));
  EXPECT_TRUE(about(late.p99, 1ms));
  EXPECT_TRUE(about(late.p999, 100ms));
  EXPECT_TRUE(about(late.max, 100ms)) << "not what came before the first reading";
}

// (CONTRACT.md, line 51)
TEST(PassMeter, CountsWhatWaitsForALaterPass) {
  std::uint64_t clock_ns = 0;
  timers::TimerService<OrderedList, VirtualClock> service({}, VirtualClock{&clock_ns});
  using Timer = timers::TimerService<OrderedList, VirtualClock>::Timer;
  std::vector<std::unique_ptr<Timer>> timers;
  for (const Ticks timeout : {1U, 2U, 2U, 2U, 2U, 2U, 2U, 2U, 3U}) {
    timers.push_back(std::make_unique<Timer>(service, [] {}));
    timers.back()->arm(timeout, service.now());
  }
  PassMeter meter;
  const auto pass_at = [&](Tick tick) {
    clock_ns = tick * 1'000'000;
    return meter.run_due(service, 3);
  };
  EXPECT_EQ(pass_at(1), Pass::done);
  EXPECT_EQ(meter.backlogs(), 0U);
  EXPECT_EQ(meter.largest_batch(), 1U);
  EXPECT_EQ(pass_at(2), Pass::backlog);
  EXPECT_EQ(pass_at(2), Pass::backlog);
  EXPECT_EQ(pass_at(2), Pass::done);
  EXPECT_EQ(pass_at(3), Pass::done);
  EXPECT_EQ(meter.passes(), 5U);
  EXPECT_EQ(meter.backlogs(), 2U);
  EXPECT_EQ(meter.largest_batch(), 7U);
}

TEST(PassMeter, DoesNotTouchADestroyedService) {
  using Service = timers::TimerService<OrderedList>;
  auto service = std::make_unique<Service>();
  Service::Timer timer(*service, [&service] { service.reset(); });
  timer.arm(0, service->now());
  PassMeter meter;
  Pass pass = Pass::done;
  while (pass != Pass::destroyed) {
    pass = meter.run_due(*service, 10);
  }
  EXPECT_GE(meter.passes(), 1U);
}

TimerCounters some_counters() {
  TimerCounters counters;
  counters.armed = 12;
  counters.rearmed = 1'000'000'000'000'007;
  counters.disarmed = 2;
  counters.expired = 3;
  counters.moved = 4;
  counters.late.record(1us);
  counters.late.record(1ms);
  counters.late.record(1h);
  return counters;
}

// (CONTRACT.md, line 51)
TEST(PrometheusText, HasHelpTypeAndSamplesOfEachMetric) {
  PrometheusText metrics;
  metrics.add(some_counters());
  const std::string text = metrics.text();
  EXPECT_EQ(text.substr(0, text.find("# HELP idlewheel_timer_lateness")),
            "# HELP idlewheel_timers Timers armed now.\n"
            "# TYPE idlewheel_timers gauge\n"
            "idlewheel_timers 7\n"
            "# HELP idlewheel_timer_operations_total Timer operations; moved counts those the "
            "structure saw.\n"
            "# TYPE idlewheel_timer_operations_total counter\n"
            "idlewheel_timer_operations_total{operation=\"armed\"} 12\n"
            "idlewheel_timer_operations_total{operation=\"rearmed\"} 1000000000000007\n"
            "idlewheel_timer_operations_total{operation=\"moved\"} 4\n"
            "idlewheel_timer_operations_total{operation=\"disarmed\"} 2\n"
            "idlewheel_timer_operations_total{operation=\"expired\"} 3\n");
  EXPECT_NE(text.find("_bucket{le=\"1.024e-06\"} 1\n"), std::string::npos) << text;
  EXPECT_NE(text.find("_bucket{le=\"17.179869184\"} 2\n"), std::string::npos) << text;
  EXPECT_NE(text.find("_bucket{le=\"+Inf\"} 3\n"), std::string::npos) << text;
  EXPECT_NE(text.find("_count 3\n"), std::string::npos) << text;
  EXPECT_NE(text.find("_sum 3600.001001\n"), std::string::npos) << text;
}

// The format allows one head for a metric, and its samples together (CONTRACT.md, line 51).
TEST(PrometheusText, KeepsTheSamplesOfAMetricTogether) {
  PrometheusText metrics;
  metrics.add(some_counters(), {{"thread", "1"}});
  metrics.add(some_counters(), {{"thread", "2"}, {"a", ""}});
  std::istringstream lines(metrics.text());
  std::string metric;
  std::size_t heads = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# HELP ")) {
      ++heads;
      metric = line.substr(7, line.find(' ', 7) - 7);
    } else if (!line.starts_with("# TYPE ")) {
      EXPECT_TRUE(line.starts_with(metric)) << line;
    }
  }
  EXPECT_EQ(heads, 3U);
  const std::string text = metrics.text();
  EXPECT_NE(text.find("idlewheel_timers{thread=\"1\"} 7\n"
                      "idlewheel_timers{thread=\"2\",a=\"\"} 7\n"),
            std::string::npos)
      << text;
}

// (CONTRACT.md, line 51)
TEST(PrometheusText, EscapesValuesAndRefusesNames) {
  PrometheusText metrics;
  metrics.add(some_counters(), {{"a", "q\"b\\n\nx"}});
  EXPECT_NE(metrics.text().find("idlewheel_timers{a=\"q\\\"b\\\\n\\nx\"} 7\n"), std::string::npos)
      << metrics.text();
  for (const char* name : {"", "1a", "a-b", "__a", "le", "operation", "a b", "\xc3\xa4"}) {
    EXPECT_THROW(metrics.add(some_counters(), {{name, "x"}}), std::invalid_argument) << name;
  }
  metrics.add(some_counters(), {{"_a9Z", "x"}});
}

} // namespace
} // namespace timers::test
