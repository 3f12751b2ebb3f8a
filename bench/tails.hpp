// Workloads that show how long the slowest operations take, where the others give a mean.
// samples.hpp says what a sample is, README.md how to read the figures.
//
//   tail-arm, tail-rearm, tail-burst     a sample is a batch of kBatch operations
//   tail-tick, tail-tick-64, ...         a sample is one tick
//   tail-pass-64, ... , tail-pass-all    a sample is one pass of a service
#pragma once

#include "bench/operations.hpp"
#include "bench/samples.hpp"

#include <deque>

namespace bench {

// Operations in a sample.
inline constexpr std::size_t kBatch = 16;

// Arm with random timeouts, by batches. The first pass fills a new structure, so that the worst
// sample includes its growth.
template <class Backend> class TailArm : public Arm<Backend> {
public:
  explicit TailArm(std::size_t n) : Arm<Backend>(n, Timeouts::random), watch_(n / kBatch) {}

  Timed pass() override {
    this->empty();
    watch_.start();
    for (std::size_t id = 0; id < this->timers_.size(); ++id) {
      this->backend_.arm(this->timers_[id], this->deadlines_[id], this->timeouts_[id]);
      if (id % kBatch == kBatch - 1) {
        watch_.lap();
      }
    }
    this->full_ = true;
    return watch_.finish(kBatch);
  }

  std::vector<Figure> figures() const override { return watch_.figures(); }

private:
  LapWatch watch_;
};

// Rearm with seven timeouts, by batches. A batch lies within a tick, so advance() is not in it.
template <class Backend> class TailRearm : public Rearm<Backend> {
public:
  explicit TailRearm(std::size_t n) : Rearm<Backend>(n, Timeouts::mixed), watch_(n / kBatch) {}

  Timed pass() override {
    Tick tick = kNever;
    std::size_t moved = 0; // in this tick
    this->sweep([&](auto& owner, Tick deadline, Ticks timeout) {
      if (tick != this->now_) {
        tick = this->now_;
        moved = 0;
        watch_.start();
      }
      this->backend_.rearm(owner, deadline, timeout);
      if (++moved % kBatch == 0) {
        watch_.lap();
      }
    });
    return watch_.finish(kBatch);
  }

  std::vector<Figure> figures() const override { return watch_.figures(); }

private:
  LapWatch watch_;
};

// A burst: all timers are due in one tick, and are handed out by batches. The first batch includes
// advance(). A peer runs them all in one turn of its loop, and the batches end in its callbacks.
template <class Backend> class TailBurst : public Expire<Backend> {
public:
  explicit TailBurst(std::size_t n) : Expire<Backend>(n, Expiry::all_at_once), watch_(n / kBatch) {}

  Timed pass() override {
    const Tick due = this->now_ + 1;
    RunLog expected;
    for (std::size_t id = 0; id < this->timers_.size(); ++id) {
      expected.add(due, id);
    }
    this->foresee();
    this->arm();
    this->now_ = due;
    RunLog log;
    std::size_t ran = 0;
    watch_.start();
    let_run(this->backend_, due, [&](auto& owner) {
      log.add(due, owner.id);
      if (++ran % kBatch == 0) {
        watch_.lap();
      }
    });
    this->wrong_ |= log != expected;
    return watch_.finish(kBatch);
  }

  std::vector<Figure> figures() const override { return watch_.figures(); }

private:
  LapWatch watch_;
};

// Which ticks TailTick measures. A hierarchical wheel of 64 slots per level empties a slot of a
// higher level into lower ones where its digits below that level are zero. All structures are
// measured at the same ticks of the same load.
enum class Cascade : Tick {
  none = 1,               // ticks that are no multiple of 64
  level_1 = 64,           // multiples of 64, but not of 64^2
  level_2 = 64 * 64,      // multiples of 64^2, but not of 64^3
  level_3 = 64 * 64 * 64, // multiples of 64^3; one in a pass
};

constexpr bool is_at(Tick tick, Cascade cascade) noexcept {
  const auto unit = static_cast<Tick>(cascade);
  return tick % unit == 0 && (cascade == Cascade::level_3 || tick % (64 * unit) != 0);
}

// n timers have random timeouts up to kRequestTimeout, and time moves on tick by tick until all
// have run. A sample is what a tick takes: advance(), and handing out what is due. The time of a
// pass is that of all its ticks.
template <class Backend> class TailTick : public Workload {
public:
  TailTick(std::size_t n, Cascade measured)
      : measured_(measured), timers_(n), timeouts_(n), watch_(kRequestTimeout),
        backend_(make_backend<Backend>(kRequestTimeout)) {
    std::mt19937_64 random(6);
    for (Ticks& timeout : timeouts_) {
      timeout = 1 + random() % kRequestTimeout;
    }
  }

  Timed pass() override {
    set_out();
    RunLog expected;
    for (std::size_t id = 0; id < timers_.size(); ++id) {
      expected.add(now_ + timeouts_[id], id);
    }
    foresee();
    for (std::size_t id = 0; id < timers_.size(); ++id) {
      backend_.arm(timers_[id], now_ + timeouts_[id], timeouts_[id]);
    }
    log_ = {};
    const auto elapsed = stopwatch([this] { walk(); });
    wrong_ |= log_ != expected;
    watch_.finish(1);
    return {elapsed, kRequestTimeout};
  }

  std::string_view check() override {
    return wrong_ ? "not every timer ran once, at its tick"
                  : check_contents(backend_, timers_, std::vector<Tick>(timers_.size(), kNever));
  }

  std::vector<Figure> figures() const override { return watch_.figures(); }

private:
  // Moves on, with nothing armed, so that the next cascade of level 3 comes midway.
  void set_out() {
    constexpr auto kUnit = static_cast<Tick>(Cascade::level_3);
    now_ = (now_ / kUnit + 1) * kUnit - kRequestTimeout / 2;
    let_run(backend_, now_, [this](auto& /*owner*/) { wrong_ = true; });
  }

  void walk() {
    for (const Tick last = now_ + kRequestTimeout; now_ < last;) {
      if (is_at(++now_, measured_)) {
        watch_.start();
        tick();
        watch_.lap();
      } else {
        tick();
      }
    }
  }

  void tick() {
    let_run(backend_, now_, [this](auto& owner) { log_.add(now_, owner.id); });
  }

  // Tells the floor in which order the timers will run.
  void foresee() {
    if constexpr (std::is_same_v<Backend, Floor>) {
      std::vector<std::uint32_t> ids(timers_.size());
      std::iota(ids.begin(), ids.end(), 0U);
      std::stable_sort(ids.begin(), ids.end(), [this](std::uint32_t a, std::uint32_t b) {
        return timeouts_[a] < timeouts_[b];
      });
      std::vector<Floor::Node*> order;
      for (const std::uint32_t id : ids) {
        order.push_back(&timers_[id]);
      }
      backend_.foresee(std::move(order));
    }
  }

  const Cascade measured_;
  ScatteredTimers<Backend> timers_;
  std::vector<Ticks> timeouts_;
  LapWatch watch_;
  Tick now_ = 0;
  bool wrong_ = false;
  RunLog log_;
  Backend backend_;
  [[no_unique_address]] Introduced<Backend> introduced_{backend_, timers_};
};

// The budget of TailPass for as many timers as are due.
inline constexpr std::size_t kWholeBurst = 0;

// A burst through a TimerService whose passes have a budget. An I/O handler that becomes ready
// during a pass waits for the end of that pass at most, which is a sample. The time of a pass of
// this workload is how long it takes until all timers have run. So long waits a timer that is due
// after them.
template <class Service> class TailPass : public Workload {
public:
  TailPass(std::size_t n, std::size_t budget)
      : budget_(budget == kWholeBurst ? 2 * n : budget), watch_(n / budget_ + 2),
        service_({.rearm = timers::Rearm::eager}, time_.clock()) {
    for (std::size_t i = 0; i < n; ++i) {
      owners_.emplace_back(*this);
    }
    for (const std::uint32_t i : permutation(n, 1)) {
      order_.push_back(&owners_[i]);
    }
  }

  Timed pass() override {
    const Tick due = time_.tick() + 1;
    RunLog expected;
    for (Owner* owner : order_) {
      // A timer that a wrong structure has lost still counts as armed, and may only be re-armed.
      if constexpr (requires { service_.next_deadline(); }) {
        owner->timer.rearm(1, time_.now());
      } else {
        owner->timer.arm(1, time_.now());
      }
      expected.add(due, owner->address());
    }
    time_.set(due);
    log_ = {};
    run_all();
    wrong_ |= log_ != expected;
    Timed timed = watch_.finish(1);
    timed.operations = order_.size();
    return timed;
  }

  std::string_view check() override {
    return wrong_ ? "not every timer ran once, at its tick" : "";
  }

  std::vector<Figure> figures() const override { return watch_.figures(); }

private:
  struct alignas(64) Owner {
    explicit Owner(TailPass& of)
        : timer(of.service_, [this] { workload->log_.add(workload->time_.tick(), address()); }),
          workload(&of) {}
    std::uint64_t address() const noexcept { return reinterpret_cast<std::uintptr_t>(this); }
    typename Service::Timer timer;
    TailPass* workload;
  };

  // A pass that finds nothing due ends the burst, but no structure needs more passes than these.
  void run_all() {
    watch_.start();
    for (std::size_t left = order_.size() / budget_ + 2; left > 0; --left) {
      const timers::Pass end = service_.run_due(budget_);
      watch_.lap();
      if (end == timers::Pass::done) {
        return;
      }
    }
    wrong_ = true;
  }

  const std::size_t budget_;
  VirtualTime time_;
  RunLog log_;
  LapWatch watch_;
  bool wrong_ = false;
  Service service_;
  std::deque<Owner> owners_; // a deque never moves its elements
  std::vector<Owner*> order_;
};

} // namespace bench
