// Performs a list of operations on a service and a few timers, and judges each step by a simple
// model. The lists come from rapidcheck, from an enumeration of all short ones, and from a fuzzer.
#pragma once

#include "timers/testing/testing.hpp"

#include <bit>
#include <stdexcept>

namespace timers::test {

using namespace std::chrono_literals;

inline constexpr nanoseconds kJudgedTick = 1ms;
inline constexpr std::size_t kJudgedTimers = 5;

enum class Op { rearm, change_timeout, disarm, destroy, move_clock, pass, nested_pass, fail };

struct Step {
  Op op;
  std::size_t timer;  // for the first four
  std::int64_t ns;    // a timeout, or how far the clock moves
  std::size_t budget; // of a pass
  Ticks slack = 0;    // of a rearm
};

// The judge works out what must happen from nanoseconds alone, without any timer structure. It
// notes the first fault that it sees.
class Judge {
public:
  Judge(const ServiceKind& kind, Rig& rig) : kind_(kind), rig_(rig) {}

  const std::string& fault() const { return fault_; }
  bool in_pass() const { return pass_tick_.has_value(); }
  bool is_armed(std::size_t timer) const { return entries_[timer].deadline != kNever; }
  std::size_t armed() const {
    return static_cast<std::size_t>(std::count_if(
        entries_.begin(), entries_.end(), [](const Entry& e) { return e.deadline != kNever; }));
  }
  Tick earliest() const {
    const auto earlier = [](const Entry& a, const Entry& b) { return a.deadline < b.deadline; };
    return std::min_element(entries_.begin(), entries_.end(), earlier)->deadline;
  }

  // To be called when the service reads the clock. The service goes by the latest of all readings.
  Tick read_clock() {
    latest_ = std::max(latest_, rig_.elapsed());
    return static_cast<Tick>(latest_ / kJudgedTick);
  }

  void rearmed(std::size_t timer, nanoseconds timeout, Ticks slack) {
    read_clock();
    const Tick start = ticks_up(latest_);
    const Tick first = allowed(start + ticks_up(std::max(timeout, nanoseconds(0))));
    entries_[timer].timeout = ticks_up(std::max(timeout, nanoseconds(0)));
    file(timer, roundest(first, first + slack));
  }
  void timeout_changed(std::size_t timer, nanoseconds timeout) {
    const Tick now = read_clock();
    Entry& entry = entries_[timer];
    if (entry.deadline != kNever) {
      // After a pass has put it off or slack has, it may have begun earlier than that says.
      const Tick start = entry.deadline - std::min(entry.deadline, entry.timeout);
      const bool unknown = entry.timeout > entry.deadline;
      entry.timeout = ticks_up(std::max(timeout, nanoseconds(0)));
      file(timer, allowed((unknown ? ticks_up(latest_) : start) + entry.timeout));
      entry.as_filed = entry.as_filed && entry.deadline > now; // a tick already passed: any place
    }
  }
  void disarmed(std::size_t timer) { entries_[timer].deadline = kNever; }
  void destroyed(std::size_t timer) { entries_[timer] = Entry(); }

  void pass_begins(std::size_t budget) {
    pass_tick_ = read_clock();
    budget_left_ = budget;
    actions_left_ = armed();
  }
  void ran(std::size_t timer) {
    const Entry entry = entries_[timer];
    entries_[timer] = Entry();
    if (entry.deadline == kNever) {
      blame("a disarmed timer ran", timer);
    } else if (!in_pass()) {
      blame("an action ran outside a pass", timer);
    } else if (entry.deadline > *pass_tick_) {
      blame("a timer ran early", timer);
    } else if (budget_left_-- == 0) {
      blame("the budget was exceeded", timer);
    } else if (actions_left_-- == 0) {
      blame("more actions than timers pending when the pass began", timer);
    } else if (entry.as_filed && overtakes(entry)) {
      blame("a timer ran before one that was due earlier", timer);
    }
  }
  void pass_ends(Pass outcome) {
    if (outcome == Pass::done && earliest() <= *pass_tick_) {
      blame("a due timer did not run", 0);
    }
    pass_tick_.reset();
  }

private:
  struct Entry {
    Tick deadline = kNever;
    Ticks timeout = 0;
    std::uint64_t order = 0; // of the last (re)arming
    bool moved = false;      // re-armed since it was armed
    bool filed = false;      // may have a node in the backend
    bool as_filed = false;   // the node is filed at the deadline: never moved lazily
  };

  static Tick ticks_up(nanoseconds duration) {
    return static_cast<Tick>(duration / kJudgedTick) + (duration % kJudgedTick != 0ns ? 1 : 0);
  }

  // The deadline itself; within a pass, no earlier than the tick after it.
  Tick allowed(Tick deadline) const {
    return in_pass() ? std::max(deadline, *pass_tick_ + 1) : deadline;
  }

  // The tick from first to last that the highest power of two divides.
  static Tick roundest(Tick first, Tick last) {
    const auto zeros = [](Tick tick) { return tick == 0 ? 64 : std::countr_zero(tick); };
    Tick best = first;
    for (Tick tick = first; tick <= last; ++tick) {
      best = zeros(tick) > zeros(best) ? tick : best;
    }
    return best;
  }

  void file(std::size_t timer, Tick deadline) {
    Entry& entry = entries_[timer];
    // In a pass the structure stands at its tick, though the clock goes on.
    const auto now = in_pass() ? *pass_tick_ : static_cast<Tick>(latest_ / kJudgedTick);
    // A lazy timer may still be filed from an earlier arm, and may keep that place.
    const bool in_reach = deadline < now + kind_.reach;
    entry.as_filed = (!kind_.lazy() || !entry.filed) && (kind_.reach == kNever || in_reach);
    entry.filed = true;
    entry.moved = entry.deadline != kNever;
    entry.deadline = deadline;
    entry.order = ++clock_of_arms_;
  }

  // Whether a timer that should have run first is still armed. (An eager timer that is armed from
  // an old reading of the clock may come at any place, but no step does that.)
  bool overtakes(const Entry& ran) const {
    return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& other) {
      if (!other.as_filed || other.deadline == kNever) {
        return false;
      }
      const bool earlier_peer = other.deadline == ran.deadline && other.order < ran.order;
      return other.deadline < ran.deadline ||
             (earlier_peer && has_its_place(other) && has_its_place(ran));
    });
  }

  // Whether its place among the timers of its deadline is promised.
  bool has_its_place(const Entry& entry) const {
    const PeerOrder order = kind_.info.peer_order;
    return !kind_.lazy() &&
           (order == PeerOrder::moved || (order == PeerOrder::armed && !entry.moved));
  }

  void blame(const std::string& what, std::size_t timer) {
    if (fault_.empty()) {
      fault_ = what + ": timer " + std::to_string(timer) + " after " +
               std::to_string(rig_.elapsed().count()) + " ns";
    }
  }

  const ServiceKind& kind_;
  Rig& rig_;
  std::vector<Entry> entries_ = std::vector<Entry>(kJudgedTimers);
  nanoseconds latest_{0};
  std::uint64_t clock_of_arms_ = 0;
  std::optional<Tick> pass_tick_;
  std::size_t budget_left_ = 0;
  std::size_t actions_left_ = 0;
  std::string fault_;
};

// One service with its timers. Each action that runs takes its steps from `inside`, and begins anew
// when it has come to the end of them.
class JudgedOperations {
public:
  JudgedOperations(const ServiceKind& kind, const std::vector<Step>& inside)
      : kind_(kind), inside_(inside), rig_(kind), judge_(kind, rig_), timers_(kJudgedTimers) {
    for (std::size_t timer = 0; timer < kJudgedTimers; ++timer) {
      make(timer);
    }
  }

  // Takes the steps and then lets all timers expire. Returns the first fault; empty when there is
  // none.
  std::string perform(const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      take(step);
      const std::string fault = judge_.fault().empty() ? compare() : judge_.fault();
      if (!fault.empty()) {
        return fault;
      }
    }
    return run_out();
  }

  std::vector<LogEntry> sorted_log() const {
    std::vector<LogEntry> log = rig_.log;
    std::sort(log.begin(), log.end());
    return log;
  }

private:
  void make(std::size_t timer) {
    timers_[timer].reset();
    timers_[timer] = rig_.timer([this, timer] { act(timer); });
  }

  void take(const Step& step) {
    switch (step.op) {
    case Op::rearm:
      judge_.rearmed(step.timer, nanoseconds(step.ns), step.slack);
      rig_.rearm(timers_[step.timer], nanoseconds(step.ns), step.slack);
      return;
    case Op::change_timeout:
      judge_.timeout_changed(step.timer, nanoseconds(step.ns));
      rig_.change_timeout(timers_[step.timer], nanoseconds(step.ns));
      return;
    case Op::disarm:
      disarm(step.timer);
      return;
    case Op::destroy:
      judge_.destroyed(step.timer);
      make(step.timer);
      return;
    case Op::move_clock:
      rig_.move_to(std::max(0ns, rig_.elapsed() + nanoseconds(step.ns)));
      return;
    case Op::pass:
    case Op::nested_pass:
    case Op::fail:
      pass(step.budget);
      return;
    }
  }

  void disarm(std::size_t timer) {
    const bool expected = judge_.is_armed(timer);
    judge_.disarmed(timer);
    if (timers_[timer]->disarm() != expected) {
      complaint_ = "disarm() says the wrong thing";
    }
  }

  void pass(std::size_t budget) {
    if (judge_.in_pass()) {
      judge_.read_clock();
      if (rig_.service().run_due(budget) != Pass::backlog) {
        complaint_ = "a pass inside a pass did something";
      }
      return;
    }
    judge_.pass_begins(budget);
    Pass outcome = Pass::backlog;
    try {
      outcome = rig_.service().run_due(budget);
    } catch (const std::runtime_error&) {
    }
    judge_.pass_ends(outcome);
  }

  void act(std::size_t timer) {
    judge_.ran(timer);
    rig_.note(static_cast<int>(timer));
    judge_.read_clock();
    if (!judge_.fault().empty()) {
      return; // arms no more, lest a faulty pass has no end
    }
    for (int count = 0; count < 2 && !inside_.empty(); ++count) {
      const Step& step = inside_[next_inside_++ % inside_.size()];
      take(step);
      if (const std::string broken = rig_.service().check(); !broken.empty()) {
        complaint_ = "inside an action: " + broken;
      }
      if (step.op == Op::fail) {
        throw std::runtime_error("an action");
      }
    }
  }

  // Compares what the service says with what the judge knows. Returns the first difference; empty
  // when there is none.
  std::string compare() {
    if (!complaint_.empty()) {
      return complaint_;
    }
    for (std::size_t timer = 0; timer < kJudgedTimers; ++timer) {
      if (timers_[timer]->armed() != judge_.is_armed(timer)) {
        return "armed() says the wrong thing";
      }
    }
    if (rig_.service().counters().live() != judge_.armed()) {
      return "the counters do not add up";
    }
    const Tick next = rig_.service().next_deadline();
    const Tick now = judge_.read_clock();
    rig_.service().now();
    if (next > judge_.earliest() && next > now) {
      return "next_deadline is late";
    }
    if (kind_.exact_next_deadline() && judge_.earliest() > now && next != judge_.earliest()) {
      return "next_deadline is not exact";
    }
    return rig_.service().check();
  }

  // Lets all armed timers expire, without any more steps inside actions.
  std::string run_out() {
    inside_.clear();
    rig_.move_by(std::chrono::hours(24 * 365));
    pass(kNoBudget);
    const std::string fault = judge_.fault().empty() ? compare() : judge_.fault();
    if (fault.empty() && judge_.armed() != 0) {
      return "a timer never ran";
    }
    return fault;
  }

  const ServiceKind& kind_;
  std::vector<Step> inside_;
  std::size_t next_inside_ = 0;
  Rig rig_;
  Judge judge_;
  std::vector<TimerPtr> timers_;
  std::string complaint_;
};

} // namespace timers::test
