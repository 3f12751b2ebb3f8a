// A workload for each structural operation of a backend.
#pragma once

#include "bench/floor.hpp"
#include "bench/workload.hpp"

#include <array>

namespace bench {

// Which timeouts the timers of a workload have.
enum class Timeouts {
  fixed,  // all equal, so each deadline is no earlier than the one before
  mixed,  // one of seven, from a second to two minutes
  random, // any, from a tick to two minutes
};

inline std::vector<Ticks> draw(Timeouts kind, std::size_t n) {
  static constexpr std::array<Ticks, 7> kMixed{1'000,  2'000,  5'000,       10'000,
                                               30'000, 60'000, kIdleTimeout};
  std::mt19937_64 random(3);
  std::vector<Ticks> timeouts(n, kIdleTimeout);
  for (Ticks& timeout : timeouts) {
    if (kind == Timeouts::mixed) {
      timeout = kMixed[random() % kMixed.size()];
    } else if (kind == Timeouts::random) {
      timeout = 1 + random() % kIdleTimeout;
    }
  }
  return timeouts;
}

// Fills an empty structure. Fixed timeouts give deadlines that ascend as if time went on by a tick
// every operations_per_tick(n) timers, but the structure is not advanced meanwhile.
template <class Backend> class Arm : public Workload {
public:
  Arm(std::size_t n, Timeouts kind) : timers_(n), timeouts_(draw(kind, n)), deadlines_(timeouts_) {
    for (std::size_t id = 0; id < n; ++id) {
      deadlines_[id] += kind == Timeouts::random ? 0 : id / operations_per_tick(n);
    }
  }

  Timed pass() override {
    empty();
    const auto elapsed = stopwatch([this] {
      for (std::size_t id = 0; id < timers_.size(); ++id) {
        backend_.arm(timers_[id], deadlines_[id], timeouts_[id]);
      }
    });
    full_ = true;
    return {elapsed, timers_.size()};
  }

  std::string_view check() override { return check_contents(backend_, timers_, deadlines_); }

protected: // for tails.hpp
  void empty() {
    for (std::size_t id = 0; full_ && id < timers_.size(); ++id) {
      backend_.disarm(timers_[id]);
    }
    finish_disarms(backend_);
  }

  ScatteredTimers<Backend> timers_;
  std::vector<Ticks> timeouts_;
  std::vector<Tick> deadlines_;
  Backend backend_;
  [[no_unique_address]] Introduced<Backend> introduced_{backend_, timers_};
  bool full_ = false;
};

// Disarms timers in random order. One in 16 stays armed, so that the structure never becomes empty.
template <class Backend> class Disarm : public Workload {
public:
  explicit Disarm(std::size_t n) : timers_(n), deadlines_(draw(Timeouts::random, n)) {
    for (const std::uint32_t id : permutation(n, 2)) {
      (id % 16 == 0 ? staying_ : leaving_).push_back(id);
    }
    arm(staying_);
  }

  Timed pass() override {
    arm(leaving_);
    const auto elapsed = stopwatch([this] {
      for (const std::uint32_t id : leaving_) {
        backend_.disarm(timers_[id]);
      }
      finish_disarms(backend_);
    });
    return {elapsed, leaving_.size()};
  }

  std::string_view check() override {
    for (const std::uint32_t id : leaving_) {
      deadlines_[id] = kNever;
    }
    return check_contents(backend_, timers_, deadlines_);
  }

private:
  void arm(const std::vector<std::uint32_t>& ids) {
    for (const std::uint32_t id : ids) {
      backend_.arm(timers_[id], deadlines_[id], deadlines_[id]);
    }
  }

  ScatteredTimers<Backend> timers_;
  std::vector<Tick> deadlines_;
  std::vector<std::uint32_t> staying_;
  std::vector<std::uint32_t> leaving_;
  Backend backend_;
  [[no_unique_address]] Introduced<Backend> introduced_{backend_, timers_};
};

// The hot operation of a server: an idle timer moves to its timeout from now. Every pass moves
// every timer once. Time goes on meanwhile, but nothing comes due. Two random orders take turns, so
// that the order of the deadlines is not the order in which timers move.
template <class Backend> class Rearm : public Workload {
public:
  Rearm(std::size_t n, Timeouts kind) : timers_(n), timeouts_(draw(kind, n)) {
    for (std::size_t which = 0; which < orders_.size(); ++which) {
      for (const std::uint32_t id : permutation(n, 4 + which)) {
        orders_[which].push_back(&timers_[id]);
      }
    }
    sweep([this](auto& owner, Tick deadline, Ticks timeout) {
      backend_.arm(owner, deadline, timeout);
    });
  }

  Timed pass() override {
    const auto elapsed = stopwatch([this] {
      sweep([this](auto& owner, Tick deadline, Ticks timeout) {
        backend_.rearm(owner, deadline, timeout);
      });
    });
    return {elapsed, timers_.size()};
  }

  std::string_view check() override {
    std::vector<Tick> deadlines(timers_.size());
    for (std::size_t i = 0; i < timers_.size(); ++i) {
      const Tick turn = sweep_start_ + 1 + i / operations_per_tick(timers_.size());
      deadlines[orders_[(sweeps_ - 1) % 2][i]->id] = turn + timeouts_[i];
    }
    return check_contents(backend_, timers_, deadlines);
  }

protected: // for tails.hpp
  template <class Operation> void sweep(Operation operation) {
    const auto& order = orders_[sweeps_++ % 2];
    const std::size_t per_tick = operations_per_tick(order.size());
    sweep_start_ = now_;
    for (std::size_t i = 0; i < order.size();) {
      backend_.advance(++now_);
      for (const std::size_t end = std::min(i + per_tick, order.size()); i < end; ++i) {
        operation(*order[i], now_ + timeouts_[i], timeouts_[i]);
      }
    }
  }

  ScatteredTimers<Backend> timers_;
  std::vector<Ticks> timeouts_; // by place in the order, so a timer's timeout changes
  std::array<std::vector<typename ScatteredTimers<Backend>::Owner*>, 2> orders_;
  std::size_t sweeps_ = 0;
  Tick sweep_start_ = 0;
  Tick now_ = 0;
  Backend backend_;
  [[no_unique_address]] Introduced<Backend> introduced_{backend_, timers_};
};

// Time moves on tick by tick while nothing is due: all deadlines are years away, or as far away as
// the structure reaches.
template <class Backend> class AdvanceNothingDue : public Workload {
public:
  explicit AdvanceNothingDue(std::size_t n)
      : timers_(n), timeouts_(draw(Timeouts::random, n)), deadlines_(n) {
    arm([this](auto& owner, Tick deadline, Ticks timeout) {
      backend_.arm(owner, deadline, timeout);
    });
  }

  Timed pass() override {
    if (now_ + kAdvances > armed_at_ + kAway) {
      arm([this](auto& owner, Tick deadline, Ticks timeout) {
        backend_.rearm(owner, deadline, timeout);
      });
    }
    const auto elapsed = stopwatch([this] {
      for (std::uint64_t i = 0; i < kAdvances; ++i) {
        backend_.advance(++now_);
      }
    });
    early_ |= backend_.pop_expired() != nullptr;
    return {elapsed, kAdvances};
  }

  std::string_view check() override {
    return early_ ? "a timer came early" : check_contents(backend_, timers_, deadlines_);
  }

private:
  static constexpr std::uint64_t kAdvances = 4096;
  static constexpr Ticks kReach = (Ticks{1} << 22) - 1;
  static constexpr Ticks kAway =
      timers::BackendWithReach<Backend> ? kReach - kIdleTimeout : Ticks{1} << 40;

  template <class Operation> void arm(Operation operation) {
    armed_at_ = now_;
    for (std::size_t id = 0; id < timers_.size(); ++id) {
      deadlines_[id] = now_ + kAway + timeouts_[id];
      operation(timers_[id], deadlines_[id], kAway + timeouts_[id]);
    }
  }

  ScatteredTimers<Backend> timers_;
  std::vector<Ticks> timeouts_;
  std::vector<Tick> deadlines_;
  Tick now_ = 0;
  Tick armed_at_ = 0;
  bool early_ = false;
  Backend backend_ = make_backend<Backend>(kReach);
  [[no_unique_address]] Introduced<Backend> introduced_{backend_, timers_};
};

enum class SlideOrder { arm_first, disarm_first };

// A delay that is put off by a new timer: the next timer is armed and the last one disarmed, in
// either order. Few timers share a timeout. So the order decides whether a backend with a list per
// timeout destroys that list and makes it again each time. (Node.js tells its users to arm first.)
template <class Backend> class Slide : public Workload {
public:
  Slide(std::size_t n, SlideOrder order)
      : order_(order), timers_(2 * n), deadlines_(2 * n, kNever) {
    for (std::size_t id = 0; id < n; ++id) {
      arm(id);
    }
  }

  Timed pass() override {
    const std::size_t n = timers_.size() / 2;
    const auto elapsed = stopwatch([&] {
      for (std::size_t id = 0; id < n; ++id) {
        if (id % operations_per_tick(n) == 0) {
          backend_.advance(++now_);
        }
        const std::size_t last = id + (flipped_ ? n : 0);
        const std::size_t next = id + (flipped_ ? 0 : n);
        if (order_ == SlideOrder::arm_first) {
          arm(next);
          disarm(last);
        } else {
          disarm(last);
          arm(next);
        }
      }
    });
    flipped_ = !flipped_;
    return {elapsed, n};
  }

  std::string_view check() override { return check_contents(backend_, timers_, deadlines_); }

private:
  void arm(std::size_t id) {
    const Ticks timeout = 1000 + id % (timers_.size() / 2) % 100'000;
    deadlines_[id] = now_ + timeout;
    backend_.arm(timers_[id], deadlines_[id], timeout);
  }
  void disarm(std::size_t id) {
    deadlines_[id] = kNever;
    backend_.disarm(timers_[id]);
  }

  const SlideOrder order_;
  ScatteredTimers<Backend> timers_;
  std::vector<Tick> deadlines_;
  bool flipped_ = false; // true: the second half of the timers is armed
  Tick now_ = 0;
  Backend backend_;
  [[no_unique_address]] Introduced<Backend> introduced_{backend_, timers_};
};

enum class Expiry {
  one_by_one,   // timer i is due at tick i, and time moves tick by tick
  start_to_end, // the same, arming included: M1 of the 2014 study
  all_at_once,  // all timers are due in one tick
  scattered, // at random over 300 s at a tick of 20 us, and time moves by 0.3 s. After bench-expire
             // of William Ahern's timing wheel (github.com/wahern/timeout)
};

// Arms all timers and lets them run. One operation is one timer.
template <class Backend> class Expire : public Workload {
public:
  Expire(std::size_t n, Expiry kind)
      : timers_(n), kind_(kind), after_(delays(n, kind)),
        longest_(*std::max_element(after_.begin(), after_.end())),
        step_(kind == Expiry::scattered ? kScatteredStep : 1),
        backend_(make_backend<Backend>(longest_ + step_)) {}

  Timed pass() override {
    const Tick last = now_ + whole_steps(longest_);
    RunLog expected;
    for (std::size_t id = 0; id < timers_.size(); ++id) {
      expected.add(now_ + whole_steps(after_[id]), id);
    }
    foresee();
    const auto arming = stopwatch([&] { arm(); });
    log_ = {};
    const auto firing = stopwatch([&] { fire(last); });
    wrong_ |= log_ != expected;
    return {kind_ == Expiry::start_to_end ? arming + firing : firing, timers_.size()};
  }

  std::string_view check() override {
    return wrong_ ? "not every timer ran once, at its tick"
                  : check_contents(backend_, timers_, std::vector<Tick>(timers_.size(), kNever));
  }

private:
  static constexpr Ticks kScattered = 15'000'000;
  static constexpr Ticks kScatteredStep = kScattered / 1000;

  // How long after the start of a pass each timer is due, by id.
  static std::vector<Ticks> delays(std::size_t n, Expiry kind) {
    std::mt19937_64 random(8);
    std::vector<Ticks> after(n, 1);
    for (std::size_t id = 0; id < n && kind != Expiry::all_at_once; ++id) {
      after[id] = kind == Expiry::scattered ? 1 + random() % kScattered : 1 + id;
    }
    return after;
  }

  Ticks whole_steps(Ticks after) const { return (after + step_ - 1) / step_ * step_; }

protected: // for tails.hpp
  void arm() {
    for (std::size_t id = 0; id < timers_.size(); ++id) {
      backend_.arm(timers_[id], now_ + after_[id], after_[id]);
    }
  }

  void fire(Tick last) {
    while (now_ < last) {
      now_ += step_;
      let_run(backend_, now_, [this](auto& owner) { log_.add(now_, owner.id); });
    }
  }

  // Tells the floor in which order the timers will run. Those of one tick may run in any order, so
  // they run by address, which is fastest.
  void foresee() {
    if constexpr (std::is_same_v<Backend, Floor>) {
      std::vector<Floor::Node*> order;
      for (auto& owner : timers_.by_address()) {
        order.push_back(&owner);
      }
      std::stable_sort(order.begin(), order.end(), [this](Floor::Node* a, Floor::Node* b) {
        using Owner = ScatteredTimers<Floor>::Owner;
        return after_[static_cast<Owner*>(a)->id] < after_[static_cast<Owner*>(b)->id];
      });
      backend_.foresee(std::move(order));
    }
  }

  ScatteredTimers<Backend> timers_;
  const Expiry kind_;
  const std::vector<Ticks> after_;
  const Ticks longest_;
  const Ticks step_; // by which time moves
  Tick now_ = 0;
  bool wrong_ = false;
  RunLog log_;
  Backend backend_;
  [[no_unique_address]] Introduced<Backend> introduced_{backend_, timers_};
};

} // namespace bench
