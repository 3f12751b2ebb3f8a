// What instruction_counts_release.py has callgrind count: timer operations on every backend, and
// requests on their way through the server. See README.md.
//
// The workloads are those of timer-bench, except that a timed section is counted in place of being
// timed: callgrind writes down how many instructions it took, under the workload's name. Standard
// output says how many operations that were. Exit codes: 0 done, 1 a wrong answer.
#define BENCH_COUNT_INSTRUCTIONS
#include "bench/operations.hpp"
#include "bench/server_life.hpp"
#include "server/exchange.hpp"
#include "timers/backends.hpp"

#include <valgrind/callgrind.h>

#include <iostream>
#include <string>
#include <string_view>
#include <utility>

namespace bench {
namespace {

// Under which name the next section is counted; null: not at all.
const char* counted_as = nullptr;

// A function of its own, so that nothing moves in or out.
template <class Section> [[gnu::noinline]] void run(Section& section) { section(); }

// Instrumenting only what is counted keeps setting up and checking fast.
template <class Section> void count(Section& section) {
  CALLGRIND_START_INSTRUMENTATION;
  CALLGRIND_ZERO_STATS;
  run(section);
  CALLGRIND_DUMP_STATS_AT(counted_as);
  CALLGRIND_STOP_INSTRUMENTATION;
}

} // namespace

template <class Section> std::chrono::nanoseconds stopwatch(Section&& section) {
  counted_as != nullptr ? count(section) : run(section);
  return {};
}

namespace {

// A client that sends `pipelined` requests at a time, each as wrk writes it, to the server's own
// Exchange: what a request costs but for its socket and its timers.
class Requests : public Workload {
public:
  explicit Requests(std::size_t pipelined) {
    for (std::size_t i = 0; i < pipelined; ++i) {
      input_ += "GET / HTTP/1.1\r\nHost: 127.0.0.1:4242\r\n\r\n";
    }
  }

  Timed pass() override {
    const std::uint64_t before = counters_.requests;
    const auto elapsed = stopwatch([this] {
      for (int turn = 0; turn < kTurns; ++turn) {
        serve([this](std::string_view piece) { bytes_ += piece.size(); });
      }
    });
    turns_ += kTurns;
    return {elapsed, counters_.requests - before};
  }

  std::string_view check() override {
    std::string output;
    serve([&output](std::string_view piece) { output += piece; });
    if (bytes_ != turns_ * output.size()) {
      return "not every turn wrote as much";
    }
    std::uint64_t responses = 0;
    for (std::string_view rest = output; !rest.empty(); ++responses) {
      const std::size_t end = rest.find("\r\n\r\n");
      if (!rest.starts_with("HTTP/1.1 200 OK\r\nServer: idlewheel\r\nDate: ") ||
          !rest.substr(0, end).ends_with("\r\nContent-Length: 0")) {
        return "a response is not what it should be";
      }
      rest.remove_prefix(end + 4);
    }
    return counters_.requests == (turns_ + 1) * responses ? "" : "not every request was answered";
  }

private:
  static constexpr int kTurns = 500;

  // A connection's turn (server/connection.hpp).
  template <class Write> void serve(Write write) {
    auto exchange = pool_.borrow();
    exchange->receive(input_);
    server::Outcome outcome = server::Outcome::window_full;
    while (outcome == server::Outcome::window_full) {
      outcome = exchange->answer(false);
      server::WriteQueue& output = exchange->output();
      while (!output.empty()) {
        const auto pieces = output.front();
        write(pieces[0]);
        write(pieces[1]);
        output.consume(pieces[0].size() + pieces[1].size());
      }
    }
    pool_.give_back(std::move(exchange));
  }

  std::string input_;
  server::Counters counters_;
  server::ExchangePool pool_{
      {.limits = {.max_header_bytes = 8192, .max_headers = 100, .max_body_bytes = 1024 * 1024},
       .window = {},
       .scenario = {server::Scenario::respond, 1},
       .counters = counters_}};
  std::uint64_t turns_ = 0;
  std::uint64_t bytes_ = 0;
};

bool all_right = true;

// The first pass fills caches, tables and buffers; the second is counted.
template <class W, class... Arguments>
void measure(const std::string& name, const Arguments&... arguments) {
  W workload(arguments...);
  workload.pass();
  counted_as = name.c_str();
  const Timed counted = workload.pass();
  counted_as = nullptr;
  std::cout << name << ' ' << counted.operations << '\n';
  if (const auto wrong = workload.check(); !wrong.empty()) {
    std::cerr << "wrong answer: " << name << ": " << wrong << '\n';
    all_right = false;
  }
}

template <class Backend, class Service> void measure_timers() {
  constexpr std::size_t kTimers = 1000;
  const std::string name(Backend::kInfo.name);
  measure<Rearm<Backend>>(name + "/rearm", kTimers, Timeouts::fixed);
  measure<RearmThroughService<Service>>(name + "/rearm-lazy", kTimers, timers::Rearm::lazy);
  measure<RearmThroughService<Service>>(name + "/rearm-eager", kTimers, timers::Rearm::eager);
  measure<Arm<Backend>>(name + "/arm", kTimers, Timeouts::fixed);
  measure<Disarm<Backend>>(name + "/disarm", kTimers);
  measure<AdvanceNothingDue<Backend>>(name + "/advance-nothing-due", kTimers);
}

int run_main() {
  measure_timers<Floor, FloorService>();
  timers::for_each_backend(timers::AllBackends{}, []<class Backend>() {
    measure_timers<Backend, timers::TimerService<Backend, VirtualTime::Clock>>();
  });
  measure<Requests>("server/request", std::size_t{1});
  measure<Requests>("server/request-pipelined", std::size_t{16});
  return all_right ? 0 : 1;
}

} // namespace
} // namespace bench

int main() { return bench::run_main(); }
