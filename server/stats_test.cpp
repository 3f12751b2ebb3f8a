// The library's own text of the timers' metrics equals what prometheus-cpp writes of them for the
// server (timers/CONTRACT.md, line 51).
#include "server/stats.hpp"

#include "timers/timer_statistics.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

namespace server {
namespace {

using namespace std::chrono_literals;

// The lines of the timers' metrics.
std::string timer_lines(const std::string& text) {
  const std::size_t begin = text.find("# HELP idlewheel_timers ");
  const std::size_t end = text.find("# HELP idlewheel_loop_stall_seconds ");
  return begin < end ? text.substr(begin, end - begin) : "";
}

TEST(MetricsText, HasTheTimersAsTheLibraryWritesThem) {
  for (const char* backend : {"hierarchical-wheel", "a \"quoted\" one", "back\\slash\nand line"}) {
    const Settings settings{.backend = backend, .rearm = "lazy", .io = "epoll"};
    Snapshot snapshot;
    snapshot.timers.armed = 123'456'789;
    snapshot.timers.rearmed = 9'007'199'254'740'992; // doubles, which prometheus-cpp has, end here
    snapshot.timers.disarmed = 5;
    snapshot.timers.expired = 6;
    snapshot.timers.moved = 0;
    for (std::chrono::nanoseconds late = 1ns; late < 1min; late *= 3) {
      snapshot.timers.late.record(late);
    }
    timers::PrometheusText metrics;
    metrics.add(snapshot.timers,
                {{"backend", settings.backend}, {"rearm", settings.rearm}, {"io", settings.io}});
    const std::string expected = metrics.text();
    EXPECT_GT(expected.size(), 1000U);
    EXPECT_EQ(timer_lines(metrics_text(settings, snapshot)), expected);
  }
}

} // namespace
} // namespace server
