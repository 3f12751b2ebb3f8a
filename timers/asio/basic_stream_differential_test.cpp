// The same random script runs on a stream of Beast's and on one of ours, at the same time, and each
// operation must end with the same error and the same number of bytes. Beast 1.81 leaves to chance
// what becomes of an operation that begins after its deadline, unless its buffers are empty; the
// scripts do without that.
//
// Scripts take a step every 30 ms, and deadlines lie in the middle between steps. When the machine
// was too busy for that, the scripts run again.
#include "timers/asio/basic_stream.hpp"

#include "timers/testing/streams.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/basic_stream.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace timers::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
namespace asio = boost::asio;
namespace beast = boost::beast;

constexpr int kSteps = 40;
constexpr int kScripts = 48; // they run at the same time
// A try ends when a step is later than a third of its length: then deadlines and steps may have
// changed places. The next one takes longer steps.
constexpr auto kShortestStep = 30ms;
constexpr auto kLongestStep = 1s;

enum class Action {
  expires_after,
  expires_never,
  read,
  write,
  stalled_write,
  read_nothing,
  write_nothing,
  peer_sends,
  peer_takes,
  peer_closes,
  cancel,
  close,
  release,
  move,
  connect,
  count
};

// One of the two streams, and how its operations ended.
template <class Stream> class Subject {
public:
  explicit Subject(asio::io_context& io) : stream_(std::make_unique<Stream>(io)), peer_(io) {
    connect();
  }

  void expires_at(Clock::time_point time) { stream_->expires_at(time); }
  void expires_never() { stream_->expires_never(); }
  void cancel() { stream_->cancel(); }
  void close() { stream_->close(); }
  void move() { stream_ = std::make_unique<Stream>(std::move(*stream_)); }
  void release() { released_.push_back(stream_->release_socket()); }
  bool open() { return stream_->socket().is_open(); }

  void connect() {
    beast::error_code ignored;
    stream_->socket().close(ignored);
    peer_.close(ignored);
    asio::local::connect_pair(stream_->socket(), peer_);
  }

  void read(std::size_t bytes) {
    stream_->async_read_some(asio::buffer(input_, bytes), note(reads, read_pending, bytes));
  }
  void write(std::size_t bytes) {
    stream_->async_write_some(asio::buffer(output_, bytes), note(writes, write_pending, bytes));
  }

  void fill() {
    beast::error_code error;
    stream_->socket().non_blocking(true, error);
    while (!error) {
      stream_->socket().write_some(asio::buffer(output_), error);
    }
  }

  void peer_sends(std::size_t bytes) {
    beast::error_code ignored;
    peer_.non_blocking(true, ignored);
    peer_.write_some(asio::buffer(output_, bytes), ignored);
  }
  void peer_takes() {
    beast::error_code error;
    std::string taken(1 << 16, ' ');
    peer_.non_blocking(true, error);
    while (!error) {
      peer_.read_some(asio::buffer(taken), error);
    }
  }
  void peer_closes() {
    beast::error_code ignored;
    peer_.close(ignored);
  }

  std::vector<Ended> reads;
  std::vector<Ended> writes;
  int read_pending = 0;
  int write_pending = 0;

private:
  auto note(std::vector<Ended>& ended, int& pending, std::size_t bytes) {
    pending += bytes != 0 ? 1 : 0;
    return [&ended, &pending, bytes](beast::error_code error, std::size_t transferred) {
      pending -= bytes != 0 ? 1 : 0;
      ended.push_back({error, transferred});
    };
  }

  std::unique_ptr<Stream> stream_;
  Unix::socket peer_;
  std::vector<Unix::socket> released_;
  std::string input_ = std::string(64, ' ');
  std::string output_ = std::string(1 << 16, 'o');
};

class Script {
public:
  Script(asio::io_context& io, Clock::duration step, unsigned seed)
      : step_(step), random_(seed), beasts_(io), ours_(io) {}

  // Throws nothing; returns whether the two streams have behaved alike so far.
  bool step(Clock::time_point now) {
    const bool same = beasts_.reads == ours_.reads && beasts_.writes == ours_.writes &&
                      beasts_.read_pending == ours_.read_pending &&
                      beasts_.write_pending == ours_.write_pending &&
                      beasts_.open() == ours_.open();
    if (same) {
      act(static_cast<Action>(below(static_cast<unsigned>(Action::count))), now);
    }
    return same;
  }

  void end() {
    both([](auto& subject) { subject.close(); });
  }

  std::string history() const {
    return history_ + "\nreads " + text(beasts_.reads) + "\n ours " + text(ours_.reads) +
           "\nwrites " + text(beasts_.writes) + "\n  ours " + text(ours_.writes);
  }

  std::size_t operations() const { return ours_.reads.size() + ours_.writes.size(); }
  std::size_t timeouts() const {
    std::size_t count = 0;
    for (const auto* ended : {&ours_.reads, &ours_.writes}) {
      for (const Ended& one : *ended) {
        count += one.error == beast::error::timeout ? 1 : 0;
      }
    }
    return count;
  }

private:
  unsigned below(unsigned bound) { return static_cast<unsigned>(random_() % bound); }

  template <class Do> void both(Do act) {
    act(beasts_);
    act(ours_);
  }

  bool reading() const { return ours_.read_pending != 0; }
  bool writing() const { return ours_.write_pending != 0; }
  static bool over(const std::optional<Clock::time_point>& deadline, Clock::time_point now) {
    return deadline && *deadline <= now;
  }

  void set_deadline(std::optional<Clock::time_point> deadline) {
    if (!reading()) {
      read_deadline_ = deadline;
    }
    if (!writing()) {
      write_deadline_ = deadline;
    }
  }

  void act(Action action, Clock::time_point now) {
    switch (action) {
    case Action::expires_after:
      if (!(reading() && writing())) { // Beast asserts
        const auto deadline = now + step_ * below(4) + step_ / 2;
        did("deadline");
        both([&](auto& subject) { subject.expires_at(deadline); });
        set_deadline(deadline);
      }
      break;
    case Action::expires_never:
      if (!(reading() && writing())) {
        did("never");
        both([](auto& subject) { subject.expires_never(); });
        set_deadline(std::nullopt);
      }
      break;
    case Action::read:
      if (!reading() && !over(read_deadline_, now)) {
        did("read");
        const std::size_t bytes = 1 + below(8);
        both([&](auto& subject) { subject.read(bytes); });
      }
      break;
    case Action::write:
    case Action::stalled_write:
      if (!writing() && !over(write_deadline_, now)) {
        did(action == Action::write ? "write" : "write, stalled");
        both([&](auto& subject) {
          if (action == Action::stalled_write) {
            subject.fill();
          }
          subject.write(100);
        });
      }
      break;
    case Action::read_nothing:
      did("read nothing");
      both([](auto& subject) { subject.read(0); });
      break;
    case Action::write_nothing:
      did("write nothing");
      both([](auto& subject) { subject.write(0); });
      break;
    default:
      act_on_connection(action);
    }
  }

  void act_on_connection(Action action) {
    switch (action) {
    case Action::peer_sends:
      did("peer sends");
      both([bytes = 1 + below(8)](auto& subject) { subject.peer_sends(bytes); });
      break;
    case Action::peer_takes:
      did("peer takes");
      both([](auto& subject) { subject.peer_takes(); });
      break;
    case Action::peer_closes:
      did("peer closes");
      both([](auto& subject) { subject.peer_closes(); });
      break;
    case Action::cancel:
      did("cancel");
      both([](auto& subject) { subject.cancel(); });
      break;
    case Action::close:
      did("close");
      both([](auto& subject) { subject.close(); });
      break;
    case Action::release:
      did("release");
      both([](auto& subject) { subject.release(); });
      break;
    case Action::move:
      if (!reading() && !writing()) { // Beast's operations would stay behind
        did("move");
        both([](auto& subject) { subject.move(); });
      }
      break;
    default:
      if (!reading() && !writing() && !ours_.open()) {
        did("connect");
        both([](auto& subject) { subject.connect(); });
      }
    }
  }

  void did(const char* what) { history_ += std::string(history_.empty() ? "" : ", ") + what; }

  static std::string text(const std::vector<Ended>& all) {
    std::string text;
    for (const Ended& ended : all) {
      text += ended.error.message() + " " + std::to_string(ended.bytes) + "; ";
    }
    return text;
  }

  const Clock::duration step_;
  std::minstd_rand random_;
  Subject<beast::basic_stream<Unix>> beasts_;
  Subject<unix_stream> ours_;
  std::optional<Clock::time_point> read_deadline_;
  std::optional<Clock::time_point> write_deadline_;
  std::string history_;
};

struct Outcome {
  bool in_time = true;
  std::size_t operations = 0;
  std::size_t timeouts = 0;
  std::string difference; // of the first script in which the streams differ
};

class Runner {
public:
  Runner(Clock::duration step, unsigned seed) : step_(step) {
    for (unsigned i = 0; i < kScripts; ++i) {
      scripts_.push_back(std::make_unique<Script>(io_, step, seed * 1000 + i));
    }
  }

  Outcome run() {
    start_ = Clock::now();
    wait_for_step();
    io_.run();
    for (const auto& script : scripts_) {
      outcome_.operations += script->operations();
      outcome_.timeouts += script->timeouts();
    }
    return outcome_;
  }

private:
  void wait_for_step() {
    const auto due = start_ + step_ * (steps_ + 1);
    timer_.expires_at(due);
    timer_.async_wait([this, due](beast::error_code) { step(due); });
  }

  void step(Clock::time_point due) {
    for (std::size_t i = 0; i < scripts_.size(); ++i) {
      if (!scripts_[i]->step(due) && outcome_.difference.empty()) {
        outcome_.difference = "script " + std::to_string(i) + ": " + scripts_[i]->history();
      }
    }
    outcome_.in_time = outcome_.in_time && Clock::now() - due < step_ / 3;
    if (outcome_.in_time && outcome_.difference.empty() && ++steps_ < kSteps) {
      wait_for_step();
    } else {
      for (const auto& script : scripts_) {
        script->end();
      }
    }
  }

  const Clock::duration step_;
  asio::io_context io_{1};
  asio::steady_timer timer_{io_};
  std::vector<std::unique_ptr<Script>> scripts_;
  Clock::time_point start_;
  int steps_ = 0;
  Outcome outcome_;
};

TEST(StreamDifferential, BehavesAsBeasts) {
  const char* chosen = std::getenv("TIMERS_TEST_SEED");
  const unsigned seed = chosen != nullptr ? static_cast<unsigned>(std::atoi(chosen)) : 1;
  SCOPED_TRACE("TIMERS_TEST_SEED=" + std::to_string(seed));
  for (Clock::duration step = kShortestStep; step <= kLongestStep; step *= 2) {
    const Outcome outcome = Runner(step, seed).run();
    if (outcome.in_time) {
      EXPECT_EQ(outcome.difference, "");
      EXPECT_GT(outcome.operations, 300U);
      EXPECT_GT(outcome.timeouts, 30U);
      return;
    }
  }
  FAIL() << "the machine was too busy even for steps of 960 ms";
}

} // namespace
} // namespace timers::test
