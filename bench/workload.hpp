// What all benchmarks share: timers scattered in memory, a stop-watch, and judges of the answers.
//
// A benchmark is a Workload: pass() does one round and says how long its timed part took, check()
// compares what the structure did with plain arithmetic. A wrong structure cannot be fast.
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
  std::uint64_t operations; // timer operations done in that time
};

struct Figure {
  const char* name;
  double value;
};

class Workload {
public:
  virtual ~Workload() = default;
  virtual Timed pass() = 0;
  // Names what went wrong in any pass so far; empty when all is right. Uses the workload up.
  virtual std::string_view check() = 0;
  // Whether the last pass was broken off, because it took too long.
  virtual bool gave_up() const { return false; }
  // What else there is to tell of the last pass.
  virtual std::vector<Figure> figures() const { return {}; }
};

#if defined(BENCH_COUNT_INSTRUCTIONS)
// Counts in place of timing: instruction_counts.cpp, which is all of its program.
template <class Section> std::chrono::nanoseconds stopwatch(Section&& section);
#else
template <class Section> std::chrono::nanoseconds stopwatch(Section&& section) {
  const auto start = std::chrono::steady_clock::now();
  section();
  return std::chrono::steady_clock::now() - start;
}
#endif

// The server's defaults, at a tick of 1 ms.
inline constexpr Ticks kIdleTimeout = 120'000;
inline constexpr Ticks kRequestTimeout = 30'000;

// How much happens in a tick: 64 operations, about what one thread of the server reaches, or more
// if each of n timers is to have its turn within 128 ticks. So no timeout used here, a second or
// more, runs out between two turns of a timer.
inline std::size_t operations_per_tick(std::size_t n) { return std::max<std::size_t>(64, n / 128); }

// The same for the same arguments.
inline std::vector<std::uint32_t> permutation(std::size_t n, std::uint64_t seed) {
  std::vector<std::uint32_t> numbers(n);
  std::iota(numbers.begin(), numbers.end(), 0U);
  std::shuffle(numbers.begin(), numbers.end(), std::mt19937_64(seed));
  return numbers;
}

// What ran when, as a count and a sum that does not depend on the order within a tick.
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

// An empty structure that holds deadlines up to `longest` ticks away.
template <class Backend> Backend make_backend(Ticks longest) {
  if constexpr (timers::BackendWithReach<Backend>) {
    return Backend(longest);
  } else {
    return Backend();
  }
}

// n timers, each on a cache line of its own as in the middle of a connection, numbered at random
// over their addresses: going by id jumps about in memory.
template <class Backend> class TimerTable {
public:
  struct alignas(64) Owner : Backend::Node {
    std::uint32_t id = 0;
  };

  explicit TimerTable(std::size_t n) : owners_(n), by_id_(n) {
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

// Timers of someone else's event loop (peer.hpp). It calls back where a backend hands out, and is
// told of a timer before its first use and after its last, neither of which is timed.
template <class B>
concept Peer = requires(B& peer, typename B::Node& node) {
  peer.introduce(node);
  peer.retire(node);
};

// The latest tick that every peer can count to.
inline constexpr Tick kPeersLatest = Tick{1} << 41;

// Says who is in a table, as long as it lives.
template <class Backend> class Introduced {
public:
  Introduced(Backend& /*backend*/, TimerTable<Backend>& /*table*/) {}
};

template <Peer P> class Introduced<P> {
public:
  Introduced(P& peer, TimerTable<P>& table) : peer_(peer), table_(table) {
    for (auto& owner : table_.by_address()) {
      peer_.introduce(owner);
    }
  }
  ~Introduced() {
    for (auto& owner : table_.by_address()) {
      peer_.retire(owner);
    }
  }
  Introduced(const Introduced&) = delete;
  Introduced& operator=(const Introduced&) = delete;

private:
  P& peer_;
  TimerTable<P>& table_;
};

// Time is now `now`; calls run(owner) for each timer that is due.
template <class Backend, class Run> void let_run(Backend& backend, Tick now, Run&& run) {
  using Owner = typename TimerTable<Backend>::Owner;
  if constexpr (Peer<Backend>) {
    backend.run_until(now, [&](auto& node) { run(static_cast<Owner&>(node)); });
  } else {
    backend.advance(now);
    while (auto* node = backend.pop_expired()) {
      run(static_cast<Owner&>(*node));
    }
  }
}

// Has a peer do what its disarm() puts off, so that it is timed too.
template <class Backend> void settle(Backend& backend) {
  if constexpr (requires { backend.settle(); }) {
    backend.settle();
  }
}

// Whether a backend holds exactly the timers it should, by taking all of them out again.
template <class Backend> class Drain {
public:
  // deadlines: by id; kNever for a timer that is not armed.
  Drain(Backend& backend, const std::vector<Tick>& deadlines)
      : backend_(backend), deadlines_(deadlines), seen_(deadlines.size(), false) {}

  // Nothing before the earliest deadline, then the sooner half, then the rest.
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
    for (const Tick stop : {std::max<Tick>(earliest, 1) - 1, quantile(2), kEnd}) {
      if (const auto wrong = advance_to(std::min(stop, kEnd)); !wrong.empty()) {
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
  static constexpr Tick kEnd = Peer<Backend> ? kPeersLatest : kLatest;

  // The deadline at 1/`part` of all, or the earliest for 0.
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
      } else if (deadline < last && !Peer<Backend>) { // who make no promise of an order
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
  const std::vector<Tick>& deadlines_;
  std::vector<bool> seen_;
};

template <class Backend>
std::string_view compare(Backend& backend, TimerTable<Backend>& /*table*/,
                         const std::vector<Tick>& deadlines) {
  return Drain<Backend>(backend, deadlines).run();
}

// The clock of a TimerService, moved by hand.
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

// One pass of the service. Says whether it came to an end within a generous bound for `timers` of
// them: a structure that hands out timers early would get them back for ever.
template <class Service> bool run_due(Service& service, std::size_t timers) {
  return service.run_due(4 * (timers + 64)) == ::timers::Pass::done;
}

// Sleeps to next_deadline() again and again until nothing is filed. Says whether that came to an
// end, as above.
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
