// Random lives of timers, judged step by step: lines 1-16 of the timer contract together, with
// operations inside actions (13), passes of any budget (15), clocks that step back (4), and check()
// after every step (20, 21). rapidcheck prints the shortest life that fails, and the RC_PARAMS that
// reproduce it.
#include "timers/testing.hpp"

#include <rapidcheck.h>

#include <iterator>
#include <stdexcept>

namespace timers::test {
namespace {

using namespace std::chrono_literals;

constexpr nanoseconds kTick = 1ms;
constexpr std::size_t kTimers = 5;

enum class Op { rearm, disarm, destroy, move_clock, pass, nested_pass, fail };

struct Step {
  Op op;
  std::size_t timer;  // for the first three
  std::int64_t ns;    // a timeout, or how far the clock moves
  std::size_t budget; // of a pass
};

void showValue(const Step& step, std::ostream& out) {
  constexpr const char* kNames[] = {"rearm", "disarm",      "destroy", "move_clock",
                                    "pass",  "nested_pass", "fail"};
  out << '{' << kNames[static_cast<int>(step.op)] << " timer " << step.timer << ", " << step.ns
      << " ns, budget " << step.budget << '}';
}

// The dumb judge: what must be, worked out anew from nanoseconds. Notes the first fault it sees.
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

  // The service reads the clock now, and goes by the latest reading.
  Tick read_clock() {
    latest_ = std::max(latest_, rig_.elapsed());
    return static_cast<Tick>(latest_ / kTick);
  }

  void rearmed(std::size_t timer, nanoseconds timeout) {
    read_clock();
    Tick deadline = ticks_up(latest_) + ticks_up(std::max(timeout, nanoseconds(0)));
    if (in_pass()) {
      deadline = std::max(deadline, *pass_tick_ + 1);
    }
    Entry& entry = entries_[timer];
    // Filed where it is now unless a node of it lies about from before, which it would share.
    entry.as_filed = !kind_.lazy() || !entry.filed;
    entry.filed = true;
    entry.deadline = deadline;
    entry.order = ++clock_of_arms_;
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
    std::uint64_t order = 0; // of the last (re)arming
    bool filed = false;      // may have a node in the backend
    bool as_filed = false;   // the node is filed at the deadline: never moved lazily
  };

  static Tick ticks_up(nanoseconds duration) {
    return static_cast<Tick>(duration / kTick) + (duration % kTick != 0ns ? 1 : 0);
  }

  // Whether one that should have come first is still armed. What an eager timer was armed for at
  // an instant already past may come anywhere, but no test step uses a stale instant.
  bool overtakes(const Entry& ran) const {
    return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& other) {
      if (!other.as_filed || other.deadline == kNever) {
        return false;
      }
      const bool earlier_peer = other.deadline == ran.deadline && other.order < ran.order;
      return other.deadline < ran.deadline || (earlier_peer && kind_.info.fifo && !kind_.lazy());
    });
  }

  void blame(const std::string& what, std::size_t timer) {
    if (fault_.empty()) {
      fault_ = what + ": timer " + std::to_string(timer) + " after " +
               std::to_string(rig_.elapsed().count()) + " ns";
    }
  }

  const ServiceKind& kind_;
  Rig& rig_;
  std::vector<Entry> entries_ = std::vector<Entry>(kTimers);
  nanoseconds latest_{0};
  std::uint64_t clock_of_arms_ = 0;
  std::optional<Tick> pass_tick_;
  std::size_t budget_left_ = 0;
  std::size_t actions_left_ = 0;
  std::string fault_;
};

// Lives one life. Each action that runs takes its steps from `inside`, round and round.
class Life {
public:
  Life(const ServiceKind& kind, const std::vector<Step>& inside)
      : kind_(kind), inside_(inside), rig_(kind), judge_(kind, rig_), timers_(kTimers) {
    for (std::size_t timer = 0; timer < kTimers; ++timer) {
      make(timer);
    }
  }

  // Says what went wrong, and nothing when all was well.
  std::string live(const std::vector<Step>& steps) {
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
      judge_.rearmed(step.timer, nanoseconds(step.ns));
      rig_.rearm(timers_[step.timer], nanoseconds(step.ns));
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

  // Whether the service knows the same as the judge.
  std::string compare() {
    if (!complaint_.empty()) {
      return complaint_;
    }
    for (std::size_t timer = 0; timer < kTimers; ++timer) {
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
    if (kind_.info.exact_next_deadline && !kind_.lazy() && judge_.earliest() > now &&
        next != judge_.earliest()) {
      return "next_deadline is not exact";
    }
    return rig_.service().check();
  }

  // Lets everything come due that still is armed, with no more steps inside actions.
  std::string run_out() {
    inside_.clear();
    rig_.move_by(1h + 1000s);
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

// Around slot, level and tick edges mostly, else anywhere in a few seconds.
rc::Gen<std::int64_t> some_ns(const rc::Gen<std::int64_t>& off_tick) {
  const auto whole = rc::gen::element<std::int64_t>(0, 1, 2, 3, 62, 63, 64, 65, 128, 4095, 4096);
  const auto edge = rc::gen::map(rc::gen::pair(whole, off_tick),
                                 [](const std::pair<std::int64_t, std::int64_t>& parts) {
                                   return parts.first * 1'000'000 + parts.second;
                                 });
  return rc::gen::weightedOneOf<std::int64_t>(
      {{5, edge}, {1, rc::gen::inRange<std::int64_t>(-1000, 5'000'000'000)}});
}

rc::Gen<std::int64_t> some_timeout() {
  return some_ns(rc::gen::element<std::int64_t>(-1, 0, 0, 0, 1, 500'000));
}

// Mostly on the tick, and at times back.
rc::Gen<std::int64_t> some_clock_step() {
  const auto forth = some_ns(rc::gen::weightedElement<std::int64_t>({{20, 0}, {1, 1}, {1, -1}}));
  return rc::gen::weightedOneOf<std::int64_t>(
      {{8, forth}, {1, rc::gen::inRange<std::int64_t>(-100'000'000, 0)}});
}

rc::Gen<Step> some_step(const std::vector<Op>& ops) {
  return rc::gen::mapcat(rc::gen::elementOf(ops), [](Op op) {
    return rc::gen::build<Step>(
        rc::gen::set(&Step::op, rc::gen::just(op)),
        rc::gen::set(&Step::timer, rc::gen::inRange<std::size_t>(0, kTimers)),
        rc::gen::set(&Step::ns, op == Op::move_clock ? some_clock_step() : some_timeout()),
        rc::gen::set(&Step::budget,
                     rc::gen::weightedElement<std::size_t>({{4, kNoBudget}, {1, 1}, {1, 2}})));
  });
}

rc::Gen<std::vector<Step>> some_steps(const std::vector<Op>& ops) {
  return rc::gen::container<std::vector<Step>>(some_step(ops));
}

const std::vector<Op> kOutside = {Op::rearm,   Op::rearm,      Op::rearm, Op::disarm,
                                  Op::destroy, Op::move_clock, Op::pass,  Op::pass};
const std::vector<Op> kInside = {Op::rearm,   Op::rearm,      Op::disarm,      Op::destroy,
                                 Op::destroy, Op::move_clock, Op::nested_pass, Op::fail};

class RandomLife : public ::testing::TestWithParam<ServiceKind> {
protected:
  const ServiceKind& kind = GetParam();
};
INSTANTIATE_TEST_SUITE_P(, RandomLife, ::testing::ValuesIn(service_kinds()), service_id);

// Lines 1-16
TEST_P(RandomLife, EqualsTheJudgeWithOperationsInsideActions) {
  EXPECT_TRUE(rc::check([&] {
    const auto inside = *some_steps(kInside);
    const auto outside = *some_steps(kOutside);
    Life life(kind, inside);
    RC_ASSERT(life.live(outside) == "");
  }));
}

// Lines 10 and 21: no step inside actions, and no budget, because what they do hangs on the order
// within a tick.
TEST(RandomLives, TheSameTraceOnAllBackendsInBothModesGivesTheSameLog) {
  const std::vector<ServiceKind>& kinds = service_kinds();
  EXPECT_TRUE(rc::check([&] {
    auto steps = *some_steps(kOutside);
    for (Step& step : steps) {
      step.budget = kNoBudget;
    }
    std::vector<LogEntry> expected;
    for (const ServiceKind& kind : kinds) {
      Life life(kind, {});
      RC_ASSERT(life.live(steps) == "");
      if (&kind == &kinds.front()) {
        expected = life.sorted_log();
      }
      RC_ASSERT(life.sorted_log() == expected);
    }
  }));
}

// Line 21: every sequence of four steps over two timers that begins by arming the first: each step
// a way to lengthen, shorten, stop or let time pass.
TEST_P(RandomLife, EverySequenceOfFewStepsEqualsTheJudge) {
  const std::vector<Step> first = {
      {Op::rearm, 0, 0, 0}, {Op::rearm, 0, 1'000'000, 0}, {Op::rearm, 0, 64'000'000, 0}};
  std::vector<Step> alphabet = {{Op::disarm, 0, 0, 0},
                                {Op::destroy, 0, 0, 0},
                                {Op::rearm, 1, 0, 0},
                                {Op::rearm, 1, 64'000'000, 0},
                                {Op::disarm, 1, 0, 0},
                                {Op::pass, 0, 0, kNoBudget},
                                {Op::pass, 0, 0, 1},
                                {Op::move_clock, 0, 1'000'000, 0},
                                {Op::move_clock, 0, 63'500'000, 0}};
  std::copy(first.begin(), first.end(), std::back_inserter(alphabet));
  const std::size_t n = alphabet.size();
  for (std::size_t number = 0; number < first.size() * n * n * n; ++number) {
    std::vector<Step> steps = {first[number % first.size()]};
    for (std::size_t rest = number / first.size(); steps.size() < 4; rest /= n) {
      steps.push_back(alphabet[rest % n]);
    }
    // In its action each timer moves the other.
    Life life(kind, {{Op::rearm, number % 2, 0, 0}});
    ASSERT_EQ(life.live(steps), "") << rc::toString(steps);
  }
}

} // namespace
} // namespace timers::test
