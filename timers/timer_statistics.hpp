// What a service or driver does, in figures for people and for Prometheus. They are made of its
// counters(), when somebody asks for them, so they cost the timers nothing.
//
//   timers::TimerReading before = timers::read_timers(service);
//   ... a while later
//   const timers::TimerStatistics lately(before, timers::read_timers(service));
//   log("{} re-arms a second, 99 % of runs at most {} late", lately.rearmed_per_s,
//   lately.late.p99);
//
//   timers::PrometheusText metrics;
//   metrics.add(service.counters(), {{"thread", "1"}});
//   respond("text/plain; version=0.0.4", metrics.text());
//
// counters() is read on the service's thread. A reading is a copy, 4 KiB, which any thread may use.
// Of several services, merge() the counters, or give each labels of its own.
#pragma once

#include "timers/failure.hpp"
#include "timers/histogram.hpp"
#include "timers/timer_counters.hpp"
#include "timers/timer_service.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace timers {

// What a service had counted at a point in time, by any clock that does not step back.
struct TimerReading {
  TimerCounters counters;
  std::chrono::nanoseconds at{};
};

// `at` is by steady_clock. `source` is anything with counters(). Copies 4 KiB.
template <class Source> TimerReading read_timers(const Source& source) {
  return {source.counters(), std::chrono::steady_clock::now().time_since_epoch()};
}

// How long after their deadlines actions ran. A quantile is at most an eighth above the true value.
struct Lateness {
  std::chrono::nanoseconds p50{};
  std::chrono::nanoseconds p99{};
  std::chrono::nanoseconds p999{};
  std::chrono::nanoseconds max{};

  Lateness() = default;
  explicit Lateness(const Histogram& late) noexcept
      : p50(late.quantile(0.5)), p99(late.quantile(0.99)), p999(late.quantile(0.999)),
        max(late.max()) {}
};

// Between two readings of one service; all zero but `live` when no time lies between them.
struct TimerStatistics {
  std::uint64_t live = 0; // timers armed at the second reading
  double armed_per_s = 0;
  double rearmed_per_s = 0;
  double disarmed_per_s = 0;
  double expired_per_s = 0;
  // Of the calls that armed and re-armed, what share moved a node in the structure: 1 under eager
  // re-arming, near 0 when lazy re-arming pays. Above 1 only when timers wait beyond the reach of
  // their backend (simple-wheel), or come due for what was set before the first reading.
  double moved_share = 0;
  // Of the timers that expired in between. Its max is rounded up, by an eighth at most.
  Lateness late;

  TimerStatistics(const TimerReading& before, const TimerReading& after) noexcept
      : live(after.counters.live()) {
    const double seconds = std::chrono::duration<double>(after.at - before.at).count();
    if (!(seconds > 0)) {
      return;
    }
    const auto counted = [&](std::uint64_t TimerCounters::*which) {
      return static_cast<double>(after.counters.*which - before.counters.*which);
    };
    armed_per_s = counted(&TimerCounters::armed) / seconds;
    rearmed_per_s = counted(&TimerCounters::rearmed) / seconds;
    disarmed_per_s = counted(&TimerCounters::disarmed) / seconds;
    expired_per_s = counted(&TimerCounters::expired) / seconds;
    const double calls = counted(&TimerCounters::armed) + counted(&TimerCounters::rearmed);
    moved_share = calls > 0 ? counted(&TimerCounters::moved) / calls : 0;
    late = Lateness(after.counters.late.since(before.counters.late));
  }
};

// Runs the passes of a TimerService in a loop of your own, and counts how many timers were due and
// had to wait for a later pass. A loop that always finds a backlog has more timers to run than time
// for them.
class PassMeter {
public:
  // As service.run_due(budget), which it calls. Not to be called from an action.
  template <class Service> Pass run_due(Service& service, std::size_t budget) {
    if (!in_backlog_) {
      ran_before_ = service.counters().expired;
    }
    in_backlog_ = true; // if an action throws, the rest of the timers is due still
    const Pass pass = service.run_due(budget);
    ++passes_;
    if (pass == Pass::destroyed) {
      in_backlog_ = false;
      return pass;
    }
    in_backlog_ = pass == Pass::backlog;
    backlogs_ += in_backlog_ ? 1 : 0;
    largest_batch_ = std::max(largest_batch_, service.counters().expired - ran_before_);
    return pass;
  }

  std::uint64_t passes() const noexcept { return passes_; }

  // How many passes ended because their budget ran out.
  std::uint64_t backlogs() const noexcept { return backlogs_; }

  // The most timers that ran in a pass and those after it, until a pass left no backlog.
  std::uint64_t largest_batch() const noexcept { return largest_batch_; }

private:
  std::uint64_t passes_ = 0;
  std::uint64_t backlogs_ = 0;
  std::uint64_t largest_batch_ = 0;
  std::uint64_t ran_before_ = 0;
  bool in_backlog_ = false;
};

// A value for each value of a label.
using LabelledCounts = std::initializer_list<std::pair<std::string_view, std::uint64_t>>;

// Tells `metrics` of the metrics that counters make, under their names in Prometheus. It has
//   gauge(name, help, value)
//   counters(name, help, label, LabelledCounts)
//   histogram(name, help, Histogram)
// PrometheusText is one, and the server of this project has another.
template <class Metrics> void describe_timers(const TimerCounters& counters, Metrics& metrics) {
  metrics.gauge("idlewheel_timers", "Timers armed now.", counters.live());
  metrics.counters("idlewheel_timer_operations_total",
                   "Timer operations; moved counts those the structure saw.", "operation",
                   {{"armed", counters.armed},
                    {"rearmed", counters.rearmed},
                    {"moved", counters.moved},
                    {"disarmed", counters.disarmed},
                    {"expired", counters.expired}});
  metrics.histogram("idlewheel_timer_lateness_seconds",
                    "From a timer's deadline to the run of its action.", counters.late);
}

// Calls bucket(edge in seconds, how many values are below) for the buckets that a metric has of a
// histogram: from a microsecond to 17 seconds, each four times the one before.
template <class Bucket> void for_each_bucket(const Histogram& histogram, Bucket bucket) {
  for (unsigned power = 10; power <= 34; power += 2) {
    bucket(static_cast<double>(std::uint64_t{1} << power) * 1e-9, histogram.below(power));
  }
}

// Timers in Prometheus's text exposition format, version 0.0.4.
class PrometheusText {
public:
  // Names and values. A name has letters, digits and '_', does not begin with a digit or "__", and
  // is not "le" or "operation", which the metrics have themselves. A value may be any UTF-8.
  using Labels = std::vector<std::pair<std::string, std::string>>;

  // Adds the metrics of a service. Those of several must differ in their labels. Throws
  // std::invalid_argument for a name of a label that is none.
  void add(const TimerCounters& counters, const Labels& labels = {}) {
    labels_.clear();
    for (const auto& [name, value] : labels) {
      labels_ += checked(name) + "=\"" + escaped(value, true) + "\",";
    }
    describe_timers(counters, *this);
  }

  std::string text() const {
    std::string all;
    for (const Family& family : families_) {
      all += family.head + family.samples;
    }
    return all;
  }

  // For describe_timers().
  void gauge(std::string_view name, std::string_view help, std::uint64_t value) {
    sample(family(name, help, "gauge"), name, "", std::to_string(value));
  }

  void counters(std::string_view name, std::string_view help, std::string_view label,
                LabelledCounts values) {
    Family& counters = family(name, help, "counter");
    for (const auto& [key, value] : values) {
      sample(counters, name, std::string(label) + "=\"" + escaped(key, true) + "\",",
             std::to_string(value));
    }
  }

  void histogram(std::string_view name, std::string_view help, const Histogram& histogram) {
    Family& all = family(name, help, "histogram");
    const std::string base(name);
    const auto bucket = [&](const std::string& edge, std::uint64_t below) {
      sample(all, base + "_bucket", "le=\"" + edge + "\",", std::to_string(below));
    };
    sample(all, base + "_count", "", std::to_string(histogram.count()));
    sample(all, base + "_sum", "", number(std::chrono::duration<double>(histogram.sum()).count()));
    for_each_bucket(histogram,
                    [&](double edge, std::uint64_t below) { bucket(number(edge), below); });
    bucket("+Inf", histogram.count());
  }

private:
  // The format wants all samples of a family together, after one head.
  struct Family {
    std::string head;
    std::string samples;
  };

  static std::string checked(const std::string& name) {
    const auto letter = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    };
    const bool valid = !name.empty() && letter(name[0]) && !name.starts_with("__") &&
                       name != "le" && name != "operation" &&
                       std::all_of(name.begin(), name.end(),
                                   [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
    if (!valid) {
      fail(std::invalid_argument("not a name for a label: " + name));
    }
    return name;
  }

  static std::string escaped(std::string_view text, bool quoted) {
    std::string out;
    for (const char c : text) {
      if (c == '\\' || c == '\n' || (quoted && c == '"')) {
        out += '\\';
      }
      out += c == '\n' ? 'n' : c;
    }
    return out;
  }

  // Whatever the locale of the program.
  static std::string number(double value) {
    char digits[32];
    const auto end =
        std::to_chars(digits, digits + sizeof digits, value, std::chars_format::general, 16);
    return {digits, end.ptr};
  }

  Family& family(std::string_view name, std::string_view help, std::string_view type) {
    const std::string head = "# HELP " + std::string(name) + ' ' + escaped(help, false) +
                             "\n# TYPE " + std::string(name) + ' ' + std::string(type) + '\n';
    for (Family& known : families_) {
      if (known.head == head) {
        return known;
      }
    }
    return families_.emplace_back(Family{head, {}});
  }

  // `own` are labels of the sample, each with a comma after it.
  void sample(Family& family, std::string_view name, const std::string& own,
              const std::string& value) const {
    family.samples += name;
    if (std::string labels = labels_ + own; !labels.empty()) {
      labels.pop_back();
      family.samples += '{' + labels + '}';
    }
    family.samples += ' ' + value + '\n';
  }

  std::string labels_; // of the service that is being added, as `own` of sample()
  std::vector<Family> families_;
};

} // namespace timers
