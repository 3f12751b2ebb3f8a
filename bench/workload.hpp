// What all benchmarks share: timers scattered in memory, a stop-watch, and checks of the answers.
//
// Each benchmark runs a Workload. Its pass() does one round and returns how long the timed part
// took. Its check() compares what the structure did with plain arithmetic, so that a wrong
// structure never passes for a fast one.
#pragma once

#include "timers/backend.hpp"
#include "timers/timer_service.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

namespace bench {

using timers::kLatest;
using timers::kNever;
using timers::Tick;
using timers::Ticks;

struct Timed {
  std::chrono::nanoseconds elapsed;
  std::uint64_t operations; // number of timer operations in that time
};

// A figure that a benchmark reports beside its time.
struct Figure {
  const char* name;
  double value;
};

class Workload {
public:
  virtual ~Workload() = default;
  virtual Timed pass() = 0;
  // Returns what went wrong in any pass so far, or an empty text. No pass may follow.
  virtual std::string_view check() = 0;
  // True when the last pass took too long and was broken off.
  virtual bool gave_up() const { return false; }
  // Further figures of the last pass.
  virtual std::vector<Figure> figures() const { return {}; }
};

#if defined(BENCH_COUNT_INSTRUCTIONS)
// instruction_counts.cpp defines it, to count in place of timing. It is the only source of its
// program, so the two definitions never meet.
template <class Section> std::chrono::nanoseconds stopwatch(Section&& section);
#else
template <class Section> std::chrono::nanoseconds stopwatch(Section&& section) {
  const auto start = std::chrono::steady_clock::now();
  section();
  return std::chrono::steady_clock::now() - start;
}
#endif

// The default timeouts of the server, at a tick of 1 ms.
inline constexpr Ticks kIdleTimeout = 120'000;
inline constexpr Ticks kRequestTimeout = 30'000;

// Number of timer operations in a tick: 64, which is about what one thread of the server reaches.
// It is larger for many timers, so that each of n timers has its turn within 128 ticks. Timeouts
// are a second or longer, so none runs out between two turns of a timer.
inline std::size_t operations_per_tick(std::size_t n) { return std::max<std::size_t>(64, n / 128); }

// A random order of the numbers below n. The same arguments give the same order.
inline std::vector<std::uint32_t> permutation(std::size_t n, std::uint64_t seed) {
  std::vector<std::uint32_t> numbers(n);
  std::iota(numbers.begin(), numbers.end(), 0U);
  std::shuffle(numbers.begin(), numbers.end(), std::mt19937_64(seed));
  return numbers;
}

// Which timers ran at which tick, as a count and a checksum. The order within a tick does not
// matter.
class RunLog {
public:
  void add(Tick tick, std::uint64_t id) noexcept {
    ++count_;
    sum_ += (tick + 1) * (id * 0x9E3779B97F4A7C15U | 1U);
  }
  bool operator==(const RunLog&) const = default;

private:
  std::uint64_t count_ = 0;
  std::uint64_t sum_ = 0;
};

// Returns an empty structure that can hold deadlines up to `longest` ticks away.
template <class Backend> Backend make_backend(Ticks longest) {
  if constexpr (timers::BackendWithReach<Backend>) {
    return Backend(longest);
  } else {
    return Backend();
  }
}

// n timers. Each begins a cache line of its own, as in the middle of a large connection object.
// Their numbers (ids) are in random order of their addresses, so that going by id jumps about in
// memory.
template <class Backend> class ScatteredTimers {
public:
  struct alignas(64) Owner : Backend::Node {
    std::uint32_t id = 0;
  };

  explicit ScatteredTimers(std::size_t n) : owners_(n), by_id_(n) {
    const auto ids = permutation(n, 1);
    for (std::size_t i = 0; i < n; ++i) {
      owners_[i].id = ids[i];
      by_id_[ids[i]] = &owners_[i];
    }
  }

  std::size_t size() const noexcept { return owners_.size(); }
  Owner& operator[](std::size_t id) noexcept { return *by_id_[id]; }
  std::vector<Owner>& by_address() noexcept { return owners_; }

private:
  std::vector<Owner> owners_;
  std::vector<Owner*> by_id_;
};

// A peer: the timers of another library's event loop (peers.hpp). A backend hands out due timers,
// whereas a peer calls back for each. A peer is told of a timer before its first use and after its
// last; neither call is timed.
template <class B>
concept Peer = requires(B& peer, typename B::Node& node) {
  peer.introduce(node);
  peer.retire(node);
};

// The latest tick to which a check moves time on. Any peer can represent 2^41; one that goes tick
// by tick says how far it goes from where it is.
template <class Backend> Tick latest_tick(const Backend& backend) {
  if constexpr (requires { backend.latest_tick(); }) {
    return backend.latest_tick();
  } else {
    return Peer<Backend> ? Tick{1} << 41 : kLatest;
  }
}

// Introduces all timers to a peer, and retires them when destroyed. Does nothing for a backend.
template <class Backend> class Introduced {
public:
  Introduced(Backend& /*backend*/, ScatteredTimers<Backend>& /*all*/) {}
};

template <Peer P> class Introduced<P> {
public:
  Introduced(P& peer, ScatteredTimers<P>& all) : peer_(peer), timers_(all) {
    for (auto& owner : timers_.by_address()) {
      peer_.introduce(owner);
    }
  }
  ~Introduced() {
    for (auto& owner : timers_.by_address()) {
      peer_.retire(owner);
    }
  }
  Introduced(const Introduced&) = delete;
  Introduced& operator=(const Introduced&) = delete;

private:
  P& peer_;
  ScatteredTimers<P>& timers_;
};

// Moves time on to `now` and calls run(owner) for each timer that is due.
template <class Backend, class Run> void let_run(Backend& backend, Tick now, Run&& run) {
  using Owner = typename ScatteredTimers<Backend>::Owner;
  if constexpr (Peer<Backend>) {
    backend.run_until(now, [&](auto& node) { run(static_cast<Owner&>(node)); });
  } else {
    backend.advance(now);
    while (auto* node = backend.pop_expired()) {
      run(static_cast<Owner&>(*node));
    }
  }
}

// Makes a peer do the work that its disarm() puts off until the loop's next turn, so that this work
// is timed too. Does nothing where disarm() puts nothing off.
template <class Backend> void finish_disarms(Backend& backend) {
  if constexpr (requires { backend.finish_disarms(); }) {
    backend.finish_disarms();
  }
}

// Checks that a backend holds exactly the timers that it should, by letting all of them run.
template <class Backend> class ContentsCheck {
public:
  // `deadlines` holds the expected deadline of each timer, by id; kNever when it is not armed.
  ContentsCheck(Backend& backend, const std::vector<Tick>& deadlines)
      : backend_(backend), end_(latest_tick(backend)), deadlines_(deadlines),
        seen_(deadlines.size(), false) {}

  // Moves time on in three steps: to just before the earliest deadline, then past the sooner half
  // of the deadlines, then to the end.
  std::string_view run() {
    const Tick earliest = quantile(0);
    if constexpr (!Peer<Backend>) {
      if (const auto broken = backend_.check(); !broken.empty()) {
        return broken;
      }
      if (backend_.next_deadline() > earliest) {
        return "next_deadline() is late";
      }
    }
    for (const Tick stop : {std::max<Tick>(earliest, 1) - 1, quantile(2), end_}) {
      if (const auto wrong = advance_to(std::min(stop, end_)); !wrong.empty()) {
        return wrong;
      }
    }
    if constexpr (!Peer<Backend>) {
      if (backend_.next_deadline() != kNever) {
        return "something is left in the structure";
      }
    }
    return "";
  }

private:
  // The deadline below which 1/`part` of all deadlines lie, or the earliest for 0.
  Tick quantile(std::size_t part) const {
    auto sorted = deadlines_;
    const std::size_t rank = part == 0 ? 0 : sorted.size() / part;
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(rank),
                     sorted.end());
    return sorted[rank];
  }

  std::string_view advance_to(Tick now) {
    std::string_view wrong;
    Tick last = 0;
    let_run(backend_, now, [&](auto& owner) {
      const Tick deadline = deadlines_[owner.id];
      if (deadline > now || seen_[owner.id]) {
        wrong = "a timer came that was not due";
      } else if (deadline < last && !Peer<Backend>) { // peers promise no order
        wrong = "timers came out of order";
      }
      last = deadline;
      seen_[owner.id] = true;
    });
    if (!wrong.empty()) {
      return wrong;
    }
    for (std::size_t id = 0; id < seen_.size(); ++id) {
      if (seen_[id] != (deadlines_[id] <= now)) {
        return "a timer that was due did not come";
      }
    }
    return "";
  }

  Backend& backend_;
  const Tick end_;
  const std::vector<Tick>& deadlines_;
  std::vector<bool> seen_;
};

template <class Backend>
std::string_view check_contents(Backend& backend, ScatteredTimers<Backend>& /*all*/,
                                const std::vector<Tick>& deadlines) {
  return ContentsCheck<Backend>(backend, deadlines).run();
}

// Time for a TimerService: its clock stands still until a workload moves it.
class VirtualTime {
public:
  struct Clock {
    const VirtualTime* time;
    std::chrono::steady_clock::time_point now() const noexcept {
      return std::chrono::steady_clock::time_point(std::chrono::milliseconds(time->tick_));
    }
  };

  Clock clock() const noexcept { return {this}; }
  Tick tick() const noexcept { return tick_; }
  timers::Instant now() const noexcept { return {tick_, tick_}; }
  void set(Tick tick) noexcept { tick_ = tick; }

private:
  Tick tick_ = 0;
};

// Makes one pass of the service. Returns whether the pass ended within a generous budget for that
// many timers. Without a budget, a structure that hands out timers early would get them back for
// ever.
template <class Service> bool run_due(Service& service, std::size_t timers) {
  return service.run_due(4 * (timers + 64)) == ::timers::Pass::done;
}

// Moves time on to next_deadline() again and again, with a pass each time, until nothing is filed.
// Returns whether that came to an end within a generous bound.
template <class Service> bool run_dry(Service& service, VirtualTime& time, std::size_t timers) {
  for (std::size_t wakes = 0; wakes < 64 * (timers + 64); ++wakes) {
    const Tick next = service.next_deadline();
    if (next == kNever) {
      return true;
    }
    time.set(std::max(time.tick(), next));
    if (!run_due(service, timers)) {
      return false;
    }
  }
  return false;
}

} // namespace bench
