// A random script, run on Asio's timer and on ours. All results must be the same: counts, errors,
// and the order of completions of each timer (CONTRACT.md, line 43).
//
// A script goes in steps. In a step it uses its timers while nothing runs; then it runs whatever is
// due until nothing more is. Expiries are soon, past or out of reach. So it does not matter how
// busy the machine is.
#include "timers/asio/steady_timer.hpp"

#include "timers/testing/steady_timers.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <random>
#include <string>

namespace timers::test {
namespace {

// Runs one script. Everything that can be seen of it is in `text`.
template <class Kind> class Script {
  using Timer = typename Kind::template Timer<>;

public:
  explicit Script(std::uint32_t seed) : random_(seed) {
    for (std::size_t i = 0; i < kTimers; ++i) {
      timers_.push_back(std::make_unique<Timer>(io_));
    }
  }

  void run(int steps) {
    for (int step = 0; step < steps; ++step) {
      for (auto actions = 1 + random_() % 5; actions > 0; --actions) {
        act();
      }
      run_what_is_due();
      for (std::string& text : texts_) {
        text += "|";
      }
    }
    timers_.clear();
    run_out(io_);
  }

  std::string text() const { return texts_[0] + "\n" + texts_[1] + "\n" + texts_[2]; }

private:
  void run_what_is_due() {
    io_.restart();
    const auto end = Clock::now() + kPatience;
    while (any_due()) {
      io_.run_one_until(end);
      ASSERT_LT(Clock::now(), end) << "a wait was lost";
    }
    io_.poll();
  }

  bool any_due() const {
    const auto soon = Clock::now() + 1min;
    for (std::size_t i = 0; i < kTimers; ++i) {
      if (pending_[i] > 0 && timers_[i]->expiry() < soon) {
        return true;
      }
    }
    return false;
  }

  void act() {
    at_ = random_() % timers_.size();
    Timer& timer = *timers_[at_];
    switch (random_() % 14) {
    case 0:
      return count("cancel", timer.cancel());
    case 1:
      return count("one", timer.cancel_one());
    case 2:
      return count("soon", timer.expires_after(std::chrono::milliseconds(random_() % 6)));
    case 3:
      return count("never", timer.expires_at(Clock::time_point::max()));
    case 4:
      return count("past", timer.expires_after(-1ms));
    case 5:
      return count("late", timer.expires_after(kLong));
    case 6:
      return move();
    case 7:
      return emit();
    case 8:
      return timer.async_wait(asio::bind_executor(strand_, handler(at_)));
    case 9:
      return timer.async_wait(
          asio::bind_cancellation_slot(signals_.emplace_back().slot(), handler(at_)));
    default:
      return timer.async_wait(handler(at_));
    }
  }

  void count(const char* what, std::size_t number) {
    texts_[at_] += std::string(what) + "=" + std::to_string(number) + " ";
  }

  struct Handler {
    void operator()(error_code error) const { script->completed(*this, error); }
    Script* script;
    std::size_t timer;
    int number;
  };
  Handler handler(std::size_t timer) {
    ++pending_[timer];
    return {this, timer, ++last_[timer]};
  }

  void completed(const Handler& of, error_code error) {
    --pending_[of.timer];
    texts_[of.timer] += std::to_string(of.number) + (error == kSuccess ? "+ " : "- ");
    if (of.number % 7 == 0 && !timers_.empty()) { // some handlers start more
      timers_[of.timer]->async_wait(handler(of.timer));
    }
  }

  void emit() {
    if (const std::size_t usable = signals_.size() - retired_; usable > 0) {
      signals_[retired_ + random_() % usable].emit(asio::cancellation_type::total);
    }
  }

  // Asio's timer expects one whose wait has a slot to stay where it is, so the slots are not used
  // again. They stay: Asio tells waits apart by an address in the slot, and would take a new slot in
  // the same place for the old one.
  void move() {
    retired_ = signals_.size();
    auto to = std::make_unique<Timer>(std::move(*timers_[at_]));
    count("from", timers_[at_]->cancel());
    timers_[at_] = std::move(to);
  }

  static constexpr std::size_t kTimers = 3;

  std::minstd_rand random_;
  std::array<std::string, kTimers> texts_; // what happened to each timer
  std::array<int, kTimers> last_{};        // the waits of each
  std::array<int, kTimers> pending_{};
  std::size_t at_ = 0;
  asio::io_context io_;
  asio::strand<asio::io_context::executor_type> strand_{io_.get_executor()};
  std::deque<asio::cancellation_signal> signals_;
  std::size_t retired_ = 0; // so many of them are no longer used
  std::vector<std::unique_ptr<Timer>> timers_;
};

template <class Kind> std::string result(std::uint32_t seed) {
  Script<Kind> script(seed);
  script.run(40);
  return script.text();
}

TEST(SteadyTimerDifferential, DoesWhatAsiosTimerDoes) {
  const char* const given = std::getenv("SEED");
  const auto first = given != nullptr ? static_cast<std::uint32_t>(std::atoi(given))
                                      : std::random_device()() % 1'000'000;
  std::printf("SEED=%u\n", first);
  for (std::uint32_t seed = first; seed < first + 10; ++seed) {
    ASSERT_EQ(result<AsioKind>(seed), result<WheelKind>(seed)) << "SEED=" << seed;
  }
}

} // namespace
} // namespace timers::test
