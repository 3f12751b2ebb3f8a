// Plays a trace that a service recorded (timers/trace.hpp) on any structure.
//
// When timers ran in the recording depended on when its loop woke up. In a replay, time moves from
// tick to tick as the records say, and every timer runs at its deadline. So plain arithmetic says
// which timers have to run when. That is the same for all structures, and each is checked against
// it.
#pragma once

#include "bench/floor.hpp"
#include "bench/workload.hpp"
#include "timers/trace.hpp"

#include <deque>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace bench {

// A trace made ready to be played. It leaves out what cannot happen in a replay, such as the disarm
// of a timer that has run already.
struct Script {
  struct Step {
    Tick tick;   // when it happens
    Ticks ahead; // 0 or 1: the timeout counts from this many ticks later
    Ticks timeout;
    std::uint32_t timer;
    timers::TraceOperation operation; // arm, rearm or disarm
  };

  std::vector<Step> steps;
  std::size_t timers = 0;
  Ticks longest_timeout = 0;
  Tick end = 0;                // the last tick; later expiries are not played
  RunLog expiries;             // what must run until then
  std::vector<Tick> deadlines; // of each timer at the end; kNever when it is disarmed
};

// Throws what TraceReader throws, and std::runtime_error for a trace that has no operation.
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
      continue; // expire_until() has done it
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
    // A timeout of 0 that was armed within a pass could not run before the next tick.
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
    Playback playback(script_, rearm_);
    finished_ = true;
    const auto elapsed = stopwatch([&] { finished_ = play(playback); });
    if (finished_ && wrong_.empty()) {
      wrong_ = playback.judge();
    }
    if constexpr (kOurs) {
      const auto& counters = playback.service.counters();
      moved_ = counters.moved;
      late_ticks_ = counters.late.max() / std::chrono::milliseconds(1);
    }
    wakes_ = playback.wakes;
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
  // True for our backends, which say when the next timer is due. Floors run nothing, and peers get
  // a turn in every tick.
  static constexpr bool kOurs = requires(Service & service) { service.next_deadline(); };

  // The timers of one time through.
  struct Playback {
    struct alignas(64) Owner {
      Owner(Playback& of, std::uint32_t number)
          : timer(of.service, [this] { playback->log.add(playback->time.tick(), id); }),
            playback(&of), id(number) {}
      typename Service::Timer timer;
      Playback* playback;
      std::uint32_t id;
    };

    Playback(const Script& played, timers::Rearm rearm)
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
          // The floor runs nothing, so a timer that was due until the end keeps its deadline.
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
    std::deque<Owner> owners; // a deque never moves its elements
    std::vector<Owner*> by_id;
  };

  // Moves time on to `tick` and runs what is due until then.
  void move_to(Playback& playback, Tick tick) {
    if constexpr (kOurs) {
      Tick last = kNever;
      for (Tick next; (next = playback.service.next_deadline()) <= tick && next != last;
           last = next) {
        playback.time.set(std::max(playback.time.tick(), next));
        if (!run_due(playback.service, script_.timers)) {
          wrong_ = "a pass does not come to an end";
          return;
        }
        ++playback.wakes;
      }
      playback.time.set(tick);
    } else {
      while (playback.time.tick() < tick) {
        playback.time.set(playback.time.tick() + 1);
        playback.service.run_due(0);
      }
    }
  }

  // Returns false when it takes too long.
  bool play(Playback& playback) {
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
      if (step.tick != playback.time.tick()) {
        move_to(playback, step.tick);
      }
      auto& timer = playback.by_id[step.timer]->timer;
      const timers::Instant now{step.tick, step.tick + step.ahead};
      switch (step.operation) {
      case timers::TraceOperation::arm:
        // A timer that one of our structures has lost still counts as armed there, and may only be
        // re-armed.
        if constexpr (!kOurs) {
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
    move_to(playback, script_.end);
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
