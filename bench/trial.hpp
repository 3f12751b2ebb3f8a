// What scheme_costs.cpp has backends do, and how it counts what they look at.
#pragma once

#include "bench/workload.hpp"

#include <cmath>

#if !defined(TIMERS_COUNT_VISITS)
#error "visit() counts nothing"
#endif

namespace bench {

struct Counted {
  const char* operation;
  std::size_t timers;
  double operations;
  double visits = 0;
  double ns = 0; // both of all operations
};

template <class Section> void count(Counted& counted, Section section) {
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
// Multiples of `step`, no two alike.
inline Deadlines shuffled(std::size_t n, Ticks step = 1) {
  const auto order = permutation(n, 1);
  return deadlines(n, [&](std::size_t timer) { return (order[timer] + 1) * step; });
}
inline Deadlines uniform(std::size_t n, Tick most) {
  std::mt19937_64 random(1);
  return deadlines(n, [&](std::size_t) { return 1 + random() % most; });
}

// A timer for each deadline, on one backend, and what can be done with all of them in turn.
template <class Backend> class Trial {
public:
  // `timeout` 0: each timer has a timeout of its own, as long as its deadline.
  explicit Trial(Deadlines deadlines, Ticks timeout = 0)
      : deadlines_(std::move(deadlines)), timeout_(timeout), table_(deadlines_.size()) {}

  Counted arm() {
    return each("arm", [this](std::size_t id) {
      backend_.arm(table_[id], deadlines_[id], timeout_of(id));
    });
  }
  Trial& armed() {
    arm();
    return *this;
  }

  Counted rearm(const Deadlines& to) {
    return each("rearm",
                [&](std::size_t id) { backend_.rearm(table_[id], to[id], timeout_of(id)); });
  }
  Trial& rearmed(const Deadlines& to) {
    rearm(to);
    return *this;
  }

  // Tick by tick, or in larger steps.
  Counted advance(Tick last, Ticks step = 1) {
    Counted counted{"advance", table_.size(), static_cast<double>(last / step)};
    count(counted, [&] {
      for (Tick now = step; now <= last; now += step) {
        let_run(backend_, now, [](auto&) {});
      }
    });
    return counted;
  }

  // Tick by tick, each timer being moved by `later` right before it is due. Requires that they are
  // due one after another.
  Counted refresh(Ticks later) {
    return each("advance", [&](std::size_t id) {
      backend_.rearm(table_[id], deadlines_[id] + later, timeout_of(id));
      let_run(backend_, deadlines_[id], [](auto&) {});
    });
  }

  // As a driver does it: from one deadline, or idle wake-up, to the next. An operation is a timer
  // that ran.
  Counted expire() {
    Counted counted{"expire", table_.size(), 0};
    count(counted, [&] {
      while (backend_.next_deadline() != kNever) {
        let_run(backend_, backend_.next_deadline(), [&](auto&) { ++counted.operations; });
      }
    });
    return counted;
  }

private:
  Ticks timeout_of(std::size_t id) const { return timeout_ == 0 ? deadlines_[id] : timeout_; }

  template <class Operation> Counted each(const char* name, Operation operation) {
    Counted counted{name, table_.size(), static_cast<double>(table_.size())};
    count(counted, [&] {
      for (std::size_t id = 0; id < table_.size(); ++id) {
        operation(id);
      }
    });
    return counted;
  }

  Deadlines deadlines_;
  Ticks timeout_;
  TimerTable<Backend> table_;
  Backend backend_ = make_backend<Backend>(kIdleTimeout);
};

// The paper's model of a list: timers arrive as a Poisson process and stay until they run.
struct Arrival {
  Tick tick;
  Ticks timeout;
};

using Quantile = double (*)(double); // of a distribution of timeouts whose mean is one
inline double exponential(double below_one) { return -std::log(1 - below_one); }
inline double up_to_two(double below_one) { return 2 * below_one; }

// So many that n timers are armed on average (Little's law).
inline std::vector<Arrival> poisson(std::size_t n, std::size_t arrivals, Quantile timeout) {
  constexpr double kMean = 1 << 20; // long enough that hardly two are due in one tick
  std::mt19937_64 random(1);
  const auto below_one = [&] { return static_cast<double>(random() >> 11) * 0x1p-53; };
  std::vector<Arrival> all;
  for (double now = 0; all.size() < arrivals;) {
    now += kMean / static_cast<double>(n) * exponential(below_one());
    all.push_back({static_cast<Tick>(now), 1 + static_cast<Ticks>(kMean * timeout(below_one()))});
  }
  return all;
}

// Ten mean timeouts fill the structure, the next twenty count. Arming is counted, and so is what
// comes due in between.
template <class Backend> class SteadyState {
public:
  SteadyState(std::size_t n, Quantile timeout)
      : arrivals_(poisson(n, 30 * n, timeout)), table_(4 * n),
        free_(permutation(4 * n, 2)), counted_{"arm", n, static_cast<double>(20 * n)} {
    play(0, 10 * n);
    found_ = 0;
    count(counted_, [&] { play(10 * n, 30 * n); });
  }

  const Counted& counted() const { return counted_; }
  // How many timers a new one found armed, the mean.
  double found() const { return found_ / counted_.operations; }

private:
  void play(std::size_t first, std::size_t end) {
    for (std::size_t i = first; i < end; ++i) {
      const auto [tick, timeout] = arrivals_[i];
      let_run(backend_, tick, [this](auto& owner) { free_.push_back(owner.id); });
      found_ += static_cast<double>(table_.size() - free_.size());
      backend_.arm(table_[free_.back()], tick + timeout, timeout);
      free_.pop_back();
    }
  }

  std::vector<Arrival> arrivals_;
  TimerTable<Backend> table_;
  std::vector<std::uint32_t> free_;
  Backend backend_;
  double found_ = 0;
  Counted counted_;
};

} // namespace bench
