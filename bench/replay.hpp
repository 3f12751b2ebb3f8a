// A trace that a service recorded (timers/trace.hpp), played back on any structure.
//
// What a trace says happened depended on when the recording loop woke up. Played back, time moves
// from tick to tick as the records say, and every timer runs at its deadline; so what has to happen
// is plain arithmetic, the same for all, and each structure is judged by it.
#pragma once

#include "bench/floor.hpp"
#include "bench/workload.hpp"
#include "timers/trace.hpp"

#include <deque>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace bench {

// Ready to be played: without what cannot happen (a disarm of what has run already).
struct Script {
  struct Step {
    Tick tick;   // as of which it happens
    Ticks ahead; // to the tick that the timeout counts from: 0 or 1
    Ticks timeout;
    std::uint32_t timer;
    timers::TraceOperation operation; // none of them expire
  };

  std::vector<Step> steps;
  std::size_t timers = 0;
  Ticks longest_timeout = 0;
  Tick end = 0;                // no expiry after this
  RunLog expiries;             // that must happen until then
  std::vector<Tick> deadlines; // by timer, at the end; kNever: disarmed
};

// Throws what TraceReader does, and std::runtime_error for a trace of nothing.
inline Script read_script(const std::filesystem::path& path) {
  timers::TraceReader reader(path);
  Script script;
  const auto expire_until = [&script](std::uint32_t timer, Tick tick) {
    Tick& deadline = script.deadlines[timer];
    if (deadline <= tick) {
      script.expiries.add(deadline, timer);
      deadline = kNever;
    }
  };
  while (const auto record = reader.next()) {
    if (record->timer > script.deadlines.size()) {
      throw std::runtime_error(path.string() + ": its timers are not numbered in order");
    }
    if (record->timer == script.deadlines.size()) {
      script.deadlines.push_back(kNever);
    }
    Tick& deadline = script.deadlines[record->timer];
    script.end = std::max(script.end, record->tick);
    expire_until(record->timer, record->tick);
    using Operation = timers::TraceOperation;
    if (record->operation == Operation::expire) {
      continue; // it has
    }
    if (record->operation == Operation::disarm) {
      if (deadline == kNever) {
        continue;
      }
      deadline = kNever;
      script.steps.push_back({record->tick, 0, 0, record->timer, Operation::disarm});
      continue;
    }
    const Ticks timeout = record->deadline - std::min(record->ceil(), record->deadline);
    const Operation operation = deadline == kNever ? Operation::arm : Operation::rearm;
    // Within a pass it could not have run before the next tick.
    const Ticks ahead = std::max(record->ceil() - record->tick, timeout == 0 ? Ticks{1} : 0);
    deadline = record->tick + ahead + timeout;
    script.longest_timeout = std::max(script.longest_timeout, timeout + 1);
    script.steps.push_back({record->tick, ahead, timeout, record->timer, operation});
  }
  if (script.steps.empty()) {
    throw std::runtime_error(path.string() + " has no operation in it");
  }
  script.timers = script.deadlines.size();
  for (std::uint32_t timer = 0; timer < script.timers; ++timer) {
    expire_until(timer, script.end);
  }
  return script;
}

template <class Service> class Replay : public Workload {
public:
  Replay(std::size_t /*timers*/, const Script& script, timers::Rearm rearm, double limit_s)
      : script_(script), rearm_(rearm), limit_(limit_s) {}

  Timed pass() override {
    Life life(script_, rearm_);
    finished_ = true;
    const auto elapsed = stopwatch([&] { finished_ = play(life); });
    if (finished_ && wrong_.empty()) {
      wrong_ = life.judge();
    }
    if constexpr (kOurs) {
      const auto& counters = life.service.counters();
      moved_ = counters.moved;
      late_ticks_ = counters.late.max() / std::chrono::milliseconds(1);
    }
    wakes_ = life.wakes;
    return {elapsed, script_.steps.size()};
  }

  std::string_view check() override { return wrong_; }
  bool gave_up() const override { return !finished_; }

  std::vector<Figure> figures() const override {
    if constexpr (kOurs) {
      return {
          {"moved_per_op", static_cast<double>(moved_) / static_cast<double>(script_.steps.size())},
          {"wake_ups", static_cast<double>(wakes_)},
          {"latest_ticks", static_cast<double>(late_ticks_)}};
    }
    return {};
  }

private:
  static constexpr bool kFloor = std::is_same_v<Service, FloorService>;
  // Ours say what comes next; a floor does nothing, and peers look in every tick.
  static constexpr bool kOurs = requires(Service & service) { service.next_deadline(); };

  struct Life {
    struct alignas(64) Owner {
      Owner(Life& of, std::uint32_t number)
          : timer(of.service, [this] { life->log.add(life->time.tick(), id); }), life(&of),
            id(number) {}
      typename Service::Timer timer;
      Life* life;
      std::uint32_t id;
    };

    Life(const Script& played, timers::Rearm rearm)
        : script(played),
          service({.rearm = rearm,
                   .longest_timeout = std::chrono::milliseconds(played.longest_timeout)},
                  time.clock()) {
      by_id.resize(script.timers);
      for (const std::uint32_t id : permutation(script.timers, 1)) {
        by_id[id] = &owners.emplace_back(*this, id);
      }
    }

    std::string_view judge() {
      if constexpr (kFloor) {
        for (std::size_t id = 0; id < by_id.size(); ++id) {
          const Tick deadline = by_id[id]->timer.deadline();
          const Tick expected = script.deadlines[id];
          // Its timers do not run: what was to run until the end keeps its deadline.
          if (deadline != expected && (expected != kNever || deadline > script.end)) {
            return "a stored deadline is wrong";
          }
        }
        return "";
      } else {
        return log == script.expiries ? "" : "not every timer ran once, at its deadline";
      }
    }

    const Script& script;
    VirtualTime time;
    RunLog log;
    std::uint64_t wakes = 0;
    Service service;
    std::deque<Owner> owners; // never moves them
    std::vector<Owner*> by_id;
  };

  // Runs what is due until then.
  void move_to(Life& life, Tick tick) {
    if constexpr (kOurs) {
      Tick last = kNever;
      for (Tick next; (next = life.service.next_deadline()) <= tick && next != last; last = next) {
        life.time.set(std::max(life.time.tick(), next));
        if (!run_due(life.service, script_.timers)) {
          wrong_ = "a pass does not come to an end";
          return;
        }
        ++life.wakes;
      }
      life.time.set(tick);
    } else {
      while (life.time.tick() < tick) {
        life.time.set(life.time.tick() + 1);
        life.service.run_due(0);
      }
    }
  }

  // False when it takes too long.
  bool play(Life& life) {
    constexpr std::size_t kLook = 1024;
    const auto began = std::chrono::steady_clock::now();
    std::size_t played = 0;
    for (const Script::Step& step : script_.steps) {
      if (++played % kLook == 0 && std::chrono::steady_clock::now() - began > limit_) {
        return false;
      }
      if (!wrong_.empty()) {
        return true;
      }
      if (step.tick != life.time.tick()) {
        move_to(life, step.tick);
      }
      auto& timer = life.by_id[step.timer]->timer;
      const timers::Instant now{step.tick, step.tick + step.ahead};
      switch (step.operation) {
      case timers::TraceOperation::arm:
        if constexpr (!kOurs) { // a structure of ours that has lost it believes it armed
          timer.arm(step.timeout, now);
          break;
        }
        [[fallthrough]];
      case timers::TraceOperation::rearm:
        timer.rearm(step.timeout, now);
        break;
      default:
        timer.disarm();
      }
    }
    move_to(life, script_.end);
    return true;
  }

  const Script& script_;
  const timers::Rearm rearm_;
  const std::chrono::duration<double> limit_;
  bool finished_ = true;
  std::string_view wrong_;
  std::uint64_t moved_ = 0;
  std::uint64_t wakes_ = 0;
  std::int64_t late_ticks_ = 0;
};

} // namespace bench
