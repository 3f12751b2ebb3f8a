#include "server/stats.hpp"

#include "timers/timer_statistics.hpp"

#include <nlohmann/json.hpp>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <time.h>

#include <chrono>
#include <limits>
#include <string_view>
#include <vector>

namespace server {
namespace {

std::uint64_t clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

double microseconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double, std::micro>(duration).count();
}

class Families {
public:
  explicit Families(std::vector<prometheus::ClientMetric::Label> labels)
      : labels_(std::move(labels)) {}

  void counter(const std::string& name, const std::string& help, std::uint64_t value) {
    add(name, help, prometheus::MetricType::Counter, value);
  }

  void gauge(const std::string& name, const std::string& help, std::uint64_t value) {
    add(name, help, prometheus::MetricType::Gauge, value);
  }

  // One series per value of `label`.
  void counters(const std::string& name, const std::string& help, const std::string& label,
                const std::vector<std::pair<std::string_view, std::uint64_t>>& values) {
    prometheus::MetricFamily family{name, help, prometheus::MetricType::Counter, {}};
    for (const auto& [key, value] : values) {
      auto metric = labelled();
      metric.label.push_back({label, std::string(key)});
      metric.counter.value = static_cast<double>(value);
      family.metric.push_back(metric);
    }
    all_.push_back(std::move(family));
  }

  void histogram(const std::string& name, const std::string& help,
                 const timers::Histogram& histogram) {
    auto metric = labelled();
    timers::for_each_bucket(histogram, [&metric](double edge, std::uint64_t below) {
      metric.histogram.bucket.push_back({below, edge});
    });
    metric.histogram.bucket.push_back({histogram.count(), std::numeric_limits<double>::infinity()});
    metric.histogram.sample_count = histogram.count();
    metric.histogram.sample_sum = microseconds(histogram.sum()) * 1e-6;
    all_.push_back({name, help, prometheus::MetricType::Histogram, {metric}});
  }

  std::string text() const { return prometheus::TextSerializer().Serialize(all_); }

private:
  prometheus::ClientMetric labelled() const {
    prometheus::ClientMetric metric;
    metric.label = labels_;
    return metric;
  }

  void add(const std::string& name, const std::string& help, prometheus::MetricType type,
           std::uint64_t value) {
    auto metric = labelled();
    metric.counter.value = static_cast<double>(value);
    metric.gauge.value = static_cast<double>(value);
    all_.push_back({name, help, type, {metric}});
  }

  std::vector<prometheus::ClientMetric::Label> labels_;
  std::vector<prometheus::MetricFamily> all_;
};

} // namespace

std::string stats_json(const Settings& settings, const Snapshot& snapshot) {
  const Counters& server = snapshot.server;
  const timers::TimerCounters& timers = snapshot.timers;
  nlohmann::ordered_json closed;
  for (std::size_t i = 0; i < kCloseReasonNames.size(); ++i) {
    closed[std::string(kCloseReasonNames[i])] = server.closed[i];
  }
  const nlohmann::ordered_json stats{
      {"backend", settings.backend},
      {"rearm", settings.rearm},
      {"io", settings.io},
      {"requests", server.requests},
      {"responses", server.responses},
      {"writes", server.writes},
      {"bytes_out", server.bytes_out},
      {"connections", {{"open", server.open}, {"accepted", server.accepted}, {"closed", closed}}},
      {"timers",
       {{"armed", timers.armed},
        {"rearmed", timers.rearmed},
        {"moved", timers.moved},
        {"disarmed", timers.disarmed},
        {"expired", timers.expired},
        {"live", timers.live()},
        {"late_us",
         {{"p50", microseconds(timers.late.quantile(0.5))},
          {"p99", microseconds(timers.late.quantile(0.99))},
          {"max", microseconds(timers.late.max())}}}}},
      {"cpu_ns", clock_ns(CLOCK_PROCESS_CPUTIME_ID)},
      {"mono_ns", clock_ns(CLOCK_MONOTONIC)}};
  return stats.dump() + "\n";
}

std::string metrics_text(const Settings& settings, const Snapshot& snapshot) {
  const Counters& server = snapshot.server;
  Families families(
      {{"backend", settings.backend}, {"rearm", settings.rearm}, {"io", settings.io}});
  families.counter("idlewheel_requests_total", "Complete requests received.", server.requests);
  families.counter("idlewheel_responses_total", "Responses queued for writing.", server.responses);
  families.counter("idlewheel_writes_total", "Sends to clients.", server.writes);
  families.counter("idlewheel_sent_bytes_total", "Bytes written to clients.", server.bytes_out);
  families.gauge("idlewheel_connections", "Connections open now.", server.open);
  families.counter("idlewheel_connections_accepted_total", "Connections accepted.",
                   server.accepted);
  families.counter("idlewheel_accept_errors_total", "Failed attempts to accept a connection.",
                   server.accept_errors);
  families.counter("idlewheel_access_log_lines_dropped_total",
                   "Lines that the access log's file did not take at once.",
                   server.log_lines_dropped);
  families.gauge("idlewheel_config_last_reload_successful",
                 "Whether the configuration could be read when it was last read.",
                 snapshot.reload_failed ? 0 : 1);
  std::vector<std::pair<std::string_view, std::uint64_t>> closed;
  for (std::size_t i = 0; i < kCloseReasonNames.size(); ++i) {
    closed.emplace_back(kCloseReasonNames[i], server.closed[i]);
  }
  families.counters("idlewheel_connections_closed_total", "Connections ended, by reason.", "reason",
                    closed);
  timers::describe_timers(snapshot.timers, families);
  families.histogram("idlewheel_loop_stall_seconds",
                     "How long the loop kept an event waiting, sampled ten times a second.",
                     snapshot.loop_stalls);
  return families.text();
}

} // namespace server
