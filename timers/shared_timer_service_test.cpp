// The protocol of two-phase expiry, step by step and on threads (CONTRACT.md, lines 33 and 35).
#include "timers/shared_timer_service.hpp"

#include "timers/hierarchical_wheel.hpp"
#include "timers/testing/testing.hpp"

#include <deque>
#include <functional>
#include <new>
#include <optional>
#include <vector>

namespace timers::test {
namespace {

using namespace std::chrono_literals;

// Every way in which the steps of an owner and of passes can follow each other, or come between the
// parts of each other, is a list of choices. This goes through all lists up to a number of choices.
class Choices {
public:
  explicit Choices(std::size_t most) : most_(most) {}

  // A number below `options`; 0 when no choice is left.
  std::size_t choose(std::size_t options) {
    if (at_ == most_) {
      return 0;
    }
    if (at_ == made_.size()) {
      made_.push_back({0, options});
    }
    return made_[at_++].chosen;
  }

  bool any_left() const { return at_ < most_; }

  // Begins the next list, if there is one.
  bool next() {
    made_.resize(at_);
    at_ = 0;
    while (!made_.empty() && ++made_.back().chosen == made_.back().options) {
      made_.pop_back();
    }
    return !made_.empty();
  }

  std::string text() const {
    std::string text;
    for (const Choice& choice : made_) {
      text += std::to_string(choice.chosen) + " ";
    }
    return text;
  }

private:
  struct Choice {
    std::size_t chosen;
    std::size_t options;
  };
  const std::size_t most_;
  std::size_t at_ = 0;
  std::vector<Choice> made_;
};

// Called wherever another thread may come in between: before a lock is taken and before a check is
// posted.
thread_local std::function<void()>* interposed = nullptr;

void let_others_in() {
  if (interposed != nullptr) {
    (*interposed)();
  }
}

struct InterposedMutex {
  void lock() {
    let_others_in();
    EXPECT_FALSE(locked) << "a lock is taken that is held";
    locked = true;
  }
  void unlock() { locked = false; }
  bool locked = false;
};

struct TestOwner;
template <class Mutex>
using ServiceWith = SharedTimerService<HierarchicalWheel, TestOwner, Mutex, VirtualClock>;

// Where checks wait until the owner comes to them.
struct Mailbox {
  std::deque<std::function<void()>> checks;
  std::size_t fail_posts = 0; // so many are refused

  bool run_one() {
    if (checks.empty()) {
      return false;
    }
    const auto check = std::move(checks.front());
    checks.pop_front();
    check();
    return true;
  }
};

struct TestOwner {
  Mailbox* mailbox = nullptr;

  template <class Check> void post(Check check) const {
    let_others_in();
    if (mailbox->fail_posts > 0) {
      --mailbox->fail_posts;
      throw std::bad_alloc();
    }
    mailbox->checks.push_back(
        [shared = std::make_shared<Check>(std::move(check))] { (*shared)(); });
  }
};

template <class Mutex> class Expiring : public ServiceWith<Mutex>::Timer {
public:
  using Service = ServiceWith<Mutex>;

  Expiring(std::shared_ptr<Service> service, Mailbox& mailbox)
      : Service::Timer(std::move(service), TestOwner{&mailbox}) {
    ++alive;
  }
  ~Expiring() override { --alive; }

  static inline int alive = 0;
  std::function<void()> on_expired = [] {};

private:
  void expired() override { on_expired(); }
};

// A service, a clock that stands still until it is moved, and an owner's place.
template <class Mutex> struct Setting {
  explicit Setting(SharedConfig config = {})
      : service(std::make_shared<ServiceWith<Mutex>>(config, VirtualClock{&ns})) {
    service->on_wake_time([this] { ++programmed; });
  }

  nanoseconds now() const { return nanoseconds(static_cast<std::int64_t>(ns)); }
  bool pass_is_due() const { return service->wake_time() <= now(); }
  void advance(nanoseconds by) { ns += static_cast<std::uint64_t>(by.count()); }

  // What a driver does when time goes on: passes while they are due, and all checks.
  void run_until_idle() {
    bool busy = true;
    while (busy) {
      busy = pass_is_due();
      if (busy) {
        while (service->run_pass() == Pass::backlog) {
        }
      }
      while (mailbox.run_one()) {
        busy = true;
      }
    }
  }

  std::uint64_t ns = 1'000'000'000;
  std::size_t programmed = 0;
  Mailbox mailbox;
  std::shared_ptr<ServiceWith<Mutex>> service;
};

using Plain = Setting<NullMutex>;
using PlainTimer = Expiring<NullMutex>;

// One timer whose owner and passes do all that they can do in every order. What must happen is
// worked out beside it from the deadlines alone.
class Explorer {
public:
  explicit Explorer(Choices& choices) : choices_(choices) {
    timer_ = new Expiring<InterposedMutex>(setting_.service, setting_.mailbox);
    timer_->on_expired = [this] {
      ASSERT_TRUE(deadline_) << "expired although it is not watched";
      EXPECT_GE(setting_.now(), *deadline_) << "early";
      deadline_.reset();
    };
  }

  void run() {
    std::function<void()> between = [this] { come_between(); };
    interposed = &between;
    while (choices_.any_left()) {
      step(choices_.choose(7));
    }
    interposed = nullptr;
    for (int ms = 0; ms < 10; ++ms) { // from here on nothing holds up passes and checks
      setting_.run_until_idle();
      EXPECT_FALSE(deadline_ && *deadline_ <= setting_.now()) << "late";
      setting_.advance(1ms);
    }
    EXPECT_FALSE(deadline_) << "a deadline was missed";
    EXPECT_EQ(setting_.service->check(), "");
    if (timer_ != nullptr) {
      timer_->release();
    }
    EXPECT_EQ(Expiring<InterposedMutex>::alive, 0);
  }

private:
  enum class At { nobody, owner, pass };

  void step(std::size_t which) {
    switch (which) {
    case 0:
      return setting_.advance(3ms);
    case 1:
      return as(At::pass, [this] { pass(); });
    case 2:
      return as(At::owner, [this] { setting_.mailbox.run_one(); });
    case 3:
      return as(At::owner, [this] { watch(7ms); });
    case 4:
      return as(At::owner, [this] { watch(2ms); });
    case 5:
      return as(At::owner, [this] { unwatch(); });
    default:
      return as(At::owner, [this] { destroy(); });
    }
  }

  // Where one side takes the lock or posts, the other side may come in, as a whole.
  void come_between() {
    if (inside_.size() != 1 || !choices_.any_left()) {
      return;
    }
    if (inside_.front() == At::owner) {
      if (choices_.choose(2) == 1) {
        as(At::pass, [this] { pass(); });
      }
    } else if (const auto which = choices_.choose(5); which > 0) {
      step(which + 1);
    }
  }

  template <class Work> void as(At who, Work work) {
    inside_.push_back(who);
    work();
    inside_.pop_back();
  }

  void pass() {
    if (setting_.pass_is_due()) {
      setting_.service->run_pass();
      EXPECT_LE(setting_.mailbox.checks.size(), 1U) << "two checks of one timer";
    }
  }
  void watch(nanoseconds in) {
    if (timer_ != nullptr) {
      deadline_ = setting_.now() + in;
      timer_->watch(*deadline_);
    }
  }
  void unwatch() {
    if (timer_ != nullptr) {
      deadline_.reset();
      timer_->unwatch();
    }
  }
  void destroy() {
    if (timer_ != nullptr) {
      deadline_.reset();
      timer_->unwatch(); // as the end of an I/O object does
      std::exchange(timer_, nullptr)->release();
    }
  }

  Choices& choices_;
  Setting<InterposedMutex> setting_;
  Expiring<InterposedMutex>* timer_;
  std::optional<nanoseconds> deadline_;
  std::vector<At> inside_;
};

TEST(TwoPhaseExpiry, HoldsInEveryOrderOfItsSteps) {
  Choices choices(7);
  std::size_t lists = 0;
  do {
    Explorer(choices).run();
    ++lists;
    ASSERT_FALSE(HasFailure()) << "choices: " << choices.text();
  } while (choices.next());
  EXPECT_GT(lists, 100'000U);
}

// One timer on a service for one thread.
class SharedTimerServiceTest : public testing::Test {
protected:
  ~SharedTimerServiceTest() override {
    if (timer != nullptr) {
      timer->release();
    }
    EXPECT_EQ(PlainTimer::alive, 0);
  }

  PlainTimer* make() {
    timer = new PlainTimer(setting.service, setting.mailbox);
    timer->on_expired = [this] { ++expired; };
    return timer;
  }
  void run_for(nanoseconds time) {
    setting.advance(time);
    setting.run_until_idle();
  }
  std::uint64_t filings() const { return setting.service->counters().moved; }

  Plain setting;
  PlainTimer* timer = nullptr;
  int expired = 0;
};

TEST_F(SharedTimerServiceTest, ExpiresOnceAndNotEarly) {
  make()->watch(setting.now() + 5ms);
  run_for(5ms - 1ns);
  EXPECT_EQ(expired, 0);
  run_for(1ns);
  EXPECT_EQ(expired, 1);
  EXPECT_FALSE(timer->watched());
  run_for(1h);
  EXPECT_EQ(expired, 1);
}

TEST_F(SharedTimerServiceTest, IsLateByLessThanATickForADeadlineWithinOne) {
  make()->watch(setting.now() + 4100us);
  run_for(4900us);
  EXPECT_EQ(expired, 0);
  run_for(100us);
  EXPECT_EQ(expired, 1);
}

TEST_F(SharedTimerServiceTest, AMoveLaterTouchesNeitherStructureNorWakeUp) {
  make()->watch(setting.now() + 30s);
  const auto programmed = setting.programmed;
  for (int i = 0; i < 29; ++i) {
    setting.advance(1s);
    timer->watch(setting.now() + 30s);
  }
  EXPECT_EQ(filings(), 1U);
  EXPECT_EQ(setting.programmed, programmed);
  run_for(1s); // the deadline under which it is filed: filed again
  EXPECT_EQ(filings(), 2U);
  EXPECT_EQ(expired, 0);
  run_for(29s);
  EXPECT_EQ(expired, 1);
}

TEST_F(SharedTimerServiceTest, AMoveWithinItsTickIsNotFiledAgain) {
  make()->watch(setting.now() + 4900us);
  timer->watch(setting.now() + 4100us);
  EXPECT_EQ(filings(), 1U);
  timer->watch(setting.now() + 3900us);
  EXPECT_EQ(filings(), 2U);
}

TEST_F(SharedTimerServiceTest, UnwatchedDoesNotExpireAndIsFoundFiledWhenWatchedAgain) {
  make()->watch(setting.now() + 1s);
  timer->unwatch();
  setting.advance(500ms);
  timer->watch(setting.now() + 1s);
  EXPECT_EQ(filings(), 1U);
  timer->unwatch();
  run_for(1h);
  EXPECT_EQ(expired, 0);
}

TEST_F(SharedTimerServiceTest, NeverAndTheRemotestDeadlinesDoNotExpire) {
  make()->watch(kForever);
  EXPECT_FALSE(timer->watched());
  timer->watch(kForever - 1ns);
  run_for(24h * 3650);
  EXPECT_EQ(expired, 0);
  EXPECT_TRUE(timer->watched());
}

TEST_F(SharedTimerServiceTest, ADeadlineThatIsOverExpiresInTheNextPass) {
  make()->watch(setting.now() - 1h);
  EXPECT_EQ(expired, 0);
  setting.run_until_idle();
  EXPECT_EQ(expired, 1);
}

TEST_F(SharedTimerServiceTest, MayBeWatchedAgainOrDestroyedFromItsOwnExpiry) {
  make()->on_expired = [this] {
    if (++expired < 3) {
      timer->watch(setting.now());
    } else {
      std::exchange(timer, nullptr)->release();
    }
  };
  timer->watch(setting.now());
  run_for(10ms);
  EXPECT_EQ(expired, 3);
  EXPECT_EQ(timer, nullptr);
}

TEST_F(SharedTimerServiceTest, ACheckKeepsItsObjectAlive) {
  make()->watch(setting.now());
  setting.service->run_pass();
  timer->unwatch();
  std::exchange(timer, nullptr)->release();
  EXPECT_EQ(PlainTimer::alive, 1);
  setting.run_until_idle();
  EXPECT_EQ(PlainTimer::alive, 0);
  EXPECT_EQ(expired, 0);
}

TEST_F(SharedTimerServiceTest, AtMostOneCheckIsOnItsWay) {
  make()->watch(setting.now());
  setting.service->run_pass();
  timer->watch(setting.now()); // filed anew, while its check waits
  EXPECT_EQ(filings(), 2U);
  setting.service->run_pass();
  EXPECT_EQ(setting.mailbox.checks.size(), 1U);
  setting.run_until_idle();
  EXPECT_EQ(expired, 1);
}

TEST_F(SharedTimerServiceTest, AnOwnerThatMovedGetsTheCheckWhereItIsNow) {
  Mailbox elsewhere;
  make()->watch(setting.now());
  setting.service->run_pass();
  timer->change_owner({&elsewhere});
  setting.run_until_idle();
  EXPECT_EQ(expired, 0);
  EXPECT_TRUE(elsewhere.run_one());
  EXPECT_EQ(expired, 1);
  timer->watch(setting.now());
  run_for(1ms);
  EXPECT_TRUE(elsewhere.run_one());
  EXPECT_EQ(expired, 2);
}

TEST_F(SharedTimerServiceTest, ACheckThatCannotBePostedIsTriedAgain) {
  setting.mailbox.fail_posts = 2;
  make()->watch(setting.now() + 1ms);
  run_for(1ms);
  EXPECT_EQ(expired, 0);
  run_for(1s);
  EXPECT_EQ(expired, 0);
  run_for(1s);
  EXPECT_EQ(expired, 1);
}

TEST_F(SharedTimerServiceTest, ACheckThatIsDroppedIsTriedAgain) {
  make()->watch(setting.now());
  setting.service->run_pass();
  setting.mailbox.checks.clear();
  run_for(1s);
  EXPECT_EQ(expired, 1);
}

TEST_F(SharedTimerServiceTest, ADroppedCheckDoesNotPutOffWhatItsOwnerHasFiled) {
  make()->watch(setting.now());
  setting.service->run_pass();
  timer->watch(setting.now() + 1ms);
  setting.mailbox.checks.clear();
  run_for(1ms);
  EXPECT_EQ(expired, 1);
}

TEST_F(SharedTimerServiceTest, APassHandlesItsBudgetAndSaysThatMoreIsDue) {
  std::vector<PlainTimer*> timers;
  for (int i = 0; i < 150; ++i) {
    timers.push_back(new PlainTimer(setting.service, setting.mailbox));
    timers.back()->on_expired = [this] { ++expired; };
    timers.back()->watch(setting.now());
  }
  EXPECT_EQ(setting.service->run_pass(), Pass::backlog);
  EXPECT_EQ(setting.mailbox.checks.size(), 64U);
  EXPECT_EQ(setting.service->run_pass(), Pass::backlog);
  EXPECT_EQ(setting.service->run_pass(), Pass::done);
  setting.run_until_idle();
  EXPECT_EQ(expired, 150);
  for (PlainTimer* each : timers) {
    each->release();
  }
}

TEST_F(SharedTimerServiceTest, ABacklogThatCouldNotGoOnIsTakenUpByTheNextFiling) {
  make()->watch(setting.now());
  setting.service->pass_failed();
  const auto programmed = setting.programmed;
  auto* other = new PlainTimer(setting.service, setting.mailbox);
  other->watch(setting.now() + 1h);
  EXPECT_GT(setting.programmed, programmed);
  setting.run_until_idle();
  EXPECT_EQ(expired, 1);
  other->release();
}

TEST_F(SharedTimerServiceTest, GivesUpItsWakeUpSoonAfterNothingIsWatched) {
  make()->watch(setting.now() + 1h);
  EXPECT_GT(setting.service->wake_time(), setting.now() + 1min);
  EXPECT_LE(setting.service->wake_time(), setting.now() + 1h);
  timer->unwatch();
  EXPECT_LE(setting.service->wake_time(), setting.now() + 20ms);
  run_for(21ms);
  EXPECT_EQ(setting.service->wake_time(), kForever);
  timer->watch(setting.now() + 1h); // the wake-up for where it is filed still
  EXPECT_LE(setting.service->wake_time(), setting.now() + 1h);
  timer->unwatch(); // and so a second time
  run_for(21ms);
  EXPECT_EQ(setting.service->wake_time(), kForever);
  timer->watch(setting.now() + 1h);
  run_for(1h);
  EXPECT_EQ(expired, 1);
}

TEST_F(SharedTimerServiceTest, HasNoWakeUpAfterItsOnlyTimerExpired) {
  make()->watch(setting.now() + 1ms);
  run_for(1ms);
  EXPECT_EQ(expired, 1);
  EXPECT_EQ(setting.service->wake_time(), kForever);
}

TEST_F(SharedTimerServiceTest, KeepsItsWakeUpWhenItIsWatchedAgainInTime) {
  make()->watch(setting.now() + 1h);
  for (int i = 0; i < 1000; ++i) { // a lone owner with 100 operations a millisecond
    timer->unwatch();
    setting.advance(10us);
    timer->watch(setting.now() + 1h);
  }
  EXPECT_LE(setting.programmed, 4U);
  run_for(21ms);
  EXPECT_GT(setting.service->wake_time(), setting.now() + 1min);
  EXPECT_LE(setting.service->wake_time(), setting.now() + 1h);
}

TEST_F(SharedTimerServiceTest, NothingExpiresAfterStop) {
  make()->watch(setting.now() + 1ms);
  const auto programmed = setting.programmed;
  setting.service->stop();
  timer->watch(setting.now());
  setting.advance(1h);
  EXPECT_EQ(setting.service->run_pass(), Pass::done);
  EXPECT_TRUE(setting.mailbox.checks.empty());
  EXPECT_EQ(setting.programmed, programmed);
}

TEST_F(SharedTimerServiceTest, OutlivesWhoeverMadeIt) {
  make()->watch(setting.now() + 1s);
  setting.service->stop();
  setting.service.reset();
  timer->watch(setting.now() + 1ms);
  timer->unwatch();
}

TEST_F(SharedTimerServiceTest, SlackLetsTimersMeet) {
  Plain lazy({.tick = 1ms, .slack = 16ms});
  std::vector<PlainTimer*> timers;
  for (int i = 0; i < 16; ++i) {
    timers.push_back(new PlainTimer(lazy.service, lazy.mailbox));
    timers.back()->on_expired = [this] { ++expired; };
    timers.back()->watch(lazy.now() + 100ms + i * 1ms);
  }
  int wake_ups = 0;
  for (int ms = 0; ms < 140; ++ms) {
    const int before = expired;
    lazy.advance(1ms);
    lazy.run_until_idle();
    EXPECT_TRUE(expired == 0 || ms >= 99);
    wake_ups += expired != before ? 1 : 0;
  }
  EXPECT_EQ(expired, 16);
  EXPECT_LE(wake_ups, 2);
  for (PlainTimer* each : timers) {
    each->release();
  }
}

TEST(SharedTimerServiceConfig, RefusesWhatCannotWork) {
  EXPECT_THROW(Plain({.tick = 0ms}), std::invalid_argument);
  EXPECT_THROW(Plain({.budget = 0}), std::invalid_argument);
  EXPECT_THROW(Plain({.budget = 65}), std::invalid_argument);
}

TEST(SharedTimerServiceFailure, OfTheWakeUpReachesWhoWatchesAndIsMadeGood) {
  Plain setting;
  bool fail = true;
  setting.service->on_wake_time([&fail] {
    if (fail) {
      throw std::bad_alloc();
    }
  });
  auto* timer = new PlainTimer(setting.service, setting.mailbox);
  int expired = 0;
  timer->on_expired = [&expired] { ++expired; };
  EXPECT_THROW(timer->watch(setting.now() + 1ms), std::bad_alloc);
  EXPECT_FALSE(timer->watched());
  fail = false;
  timer->watch(setting.now() + 1ms);
  setting.advance(1ms);
  setting.run_until_idle();
  EXPECT_EQ(expired, 1);
  timer->release();
}

} // namespace
} // namespace timers::test
