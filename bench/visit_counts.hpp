// Operations on the timers of a backend, with a count of the visits they make: what
// scheme_costs.cpp compares with formulas.
#pragma once

#include "bench/workload.hpp"

#include <cmath>

#if !defined(TIMERS_COUNT_VISITS)
#error "define TIMERS_COUNT_VISITS first: without it, visit() counts nothing"
#endif

namespace bench {

struct VisitCount {
  const char* operation;
  std::size_t timers;
  double operations;
  double visits = 0; // of all operations together
  double ns = 0;     // of all operations together
};

template <class Section> void count_visits(VisitCount& counted, Section section) {
  const std::uint64_t before = timers::visits;
  const auto elapsed = stopwatch(section);
  counted.visits = static_cast<double>(timers::visits - before);
  counted.ns = static_cast<double>(elapsed.count());
}

using Deadlines = std::vector<Tick>;

template <class Of> Deadlines deadlines(std::size_t n, Of of) {
  Deadlines all;
  for (std::size_t timer = 0; timer < n; ++timer) {
    all.push_back(of(timer));
  }
  return all;
}
inline Deadlines ascending(std::size_t n, Tick first = 1, Ticks step = 1) {
  return deadlines(n, [=](std::size_t timer) { return first + timer * step; });
}
inline Deadlines descending(std::size_t n, Ticks step = 1) {
  return deadlines(n, [=](std::size_t timer) { return (n - timer) * step; });
}
inline Deadlines equal(std::size_t n, Tick deadline) { return ascending(n, deadline, 0); }
// Different multiples of `step`, in random order.
inline Deadlines shuffled(std::size_t n, Ticks step = 1) {
  const auto order = permutation(n, 1);
  return deadlines(n, [&](std::size_t timer) { return (order[timer] + 1) * step; });
}
inline Deadlines uniform(std::size_t n, Tick most) {
  std::mt19937_64 random(1);
  return deadlines(n, [&](std::size_t) { return 1 + random() % most; });
}

// One backend with a timer for each of the deadlines. Each function does its operation with all
// timers in turn and returns the visits, or, if its name is a participle, the object itself.
template <class Backend> class CountedTimers {
public:
  // With a `timeout` of 0, each timer has a timeout of its own: as many ticks as its deadline.
  explicit CountedTimers(Deadlines deadlines, Ticks timeout = 0)
      : deadlines_(std::move(deadlines)), timeout_(timeout), timers_(deadlines_.size()) {}

  VisitCount arm() {
    return each("arm", [this](std::size_t id) {
      backend_.arm(timers_[id], deadlines_[id], timeout_of(id));
    });
  }
  CountedTimers& armed() {
    arm();
    return *this;
  }

  VisitCount rearm(const Deadlines& to) {
    return each("rearm",
                [&](std::size_t id) { backend_.rearm(timers_[id], to[id], timeout_of(id)); });
  }
  CountedTimers& rearmed(const Deadlines& to) {
    rearm(to);
    return *this;
  }

  // Advances to tick `last`, in steps of `step` ticks.
  VisitCount advance(Tick last, Ticks step = 1) {
    VisitCount counted{"advance", timers_.size(), static_cast<double>(last / step)};
    count_visits(counted, [&] {
      for (Tick now = step; now <= last; now += step) {
        let_run(backend_, now, [](auto&) {});
      }
    });
    return counted;
  }

  // Advances tick by tick, and moves each timer by `later` ticks right before it would be due.
  // Requires deadlines that ascend by a tick each.
  VisitCount refresh(Ticks later) {
    return each("advance", [&](std::size_t id) {
      backend_.rearm(timers_[id], deadlines_[id] + later, timeout_of(id));
      let_run(backend_, deadlines_[id], [](auto&) {});
    });
  }

  // Advances from one next_deadline() to the next, as a driver does, until nothing is armed. One
  // operation is one timer that ran.
  VisitCount expire() {
    VisitCount counted{"expire", timers_.size(), 0};
    count_visits(counted, [&] {
      while (backend_.next_deadline() != kNever) {
        let_run(backend_, backend_.next_deadline(), [&](auto&) { ++counted.operations; });
      }
    });
    return counted;
  }

private:
  Ticks timeout_of(std::size_t id) const { return timeout_ == 0 ? deadlines_[id] : timeout_; }

  template <class Operation> VisitCount each(const char* name, Operation operation) {
    VisitCount counted{name, timers_.size(), static_cast<double>(timers_.size())};
    count_visits(counted, [&] {
      for (std::size_t id = 0; id < timers_.size(); ++id) {
        operation(id);
      }
    });
    return counted;
  }

  Deadlines deadlines_;
  Ticks timeout_;
  ScatteredTimers<Backend> timers_;
  Backend backend_ = make_backend<Backend>(kIdleTimeout);
};

// The paper's model of a list: timers arrive as a Poisson process, and each stays until it runs.
struct Arrival {
  Tick tick;
  Ticks timeout;
};

// The quantile function of a distribution of timeouts whose mean is one.
using Quantile = double (*)(double);
inline double exponential(double below_one) { return -std::log(1 - below_one); }
inline double up_to_two(double below_one) { return 2 * below_one; }

// Arrivals at such a rate that n timers are armed on average (Little's law).
inline std::vector<Arrival> poisson(std::size_t n, std::size_t arrivals, Quantile timeout) {
  constexpr double kMean = 1 << 20; // so long that two timers are hardly ever due in one tick
  std::mt19937_64 random(1);
  const auto below_one = [&] { return static_cast<double>(random() >> 11) * 0x1p-53; };
  std::vector<Arrival> all;
  for (double now = 0; all.size() < arrivals;) {
    now += kMean / static_cast<double>(n) * exponential(below_one());
    all.push_back({static_cast<Tick>(now), 1 + static_cast<Ticks>(kMean * timeout(below_one()))});
  }
  return all;
}

// Plays the arrivals of thirty mean timeouts. The first ten fill the structure; visits are counted
// during the other twenty, those for arming and those for what comes due in between.
template <class Backend> class SteadyState {
public:
  SteadyState(std::size_t n, Quantile timeout)
      : arrivals_(poisson(n, 30 * n, timeout)), timers_(4 * n),
        free_(permutation(4 * n, 2)), counted_{"arm", n, static_cast<double>(20 * n)} {
    play(0, 10 * n);
    found_ = 0;
    count_visits(counted_, [&] { play(10 * n, 30 * n); });
  }

  const VisitCount& counted() const { return counted_; }
  // The number of armed timers that a new timer found, on average.
  double found() const { return found_ / counted_.operations; }

private:
  void play(std::size_t first, std::size_t end) {
    for (std::size_t i = first; i < end; ++i) {
      const auto [tick, timeout] = arrivals_[i];
      let_run(backend_, tick, [this](auto& owner) { free_.push_back(owner.id); });
      found_ += static_cast<double>(timers_.size() - free_.size());
      backend_.arm(timers_[free_.back()], tick + timeout, timeout);
      free_.pop_back();
    }
  }

  std::vector<Arrival> arrivals_;
  ScatteredTimers<Backend> timers_;
  std::vector<std::uint32_t> free_;
  Backend backend_;
  double found_ = 0;
  VisitCount counted_;
};

} // namespace bench
