// asio-bench measures what the timeouts of asio/cancel_after.hpp and asio/remote_timer.hpp cost,
// beside what one does with Asio's own means. It is a Google Benchmark program; `Time` is per
// operation. See README.md.
#include "timers/asio/cancel_after.hpp"
#include "timers/asio/remote_timer.hpp"

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>

namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using ErrorCode = boost::system::error_code;

// A context that a thread of its own runs, and a timer that the measuring threads set.
class OtherThread {
public:
  ~OtherThread() {
    work_.reset();
    io.stop();
    thread_.join();
  }

  asio::io_context io;
  std::atomic<int> runs{0};
  timers::remote_timer timer{io.get_executor(), [this] { ++runs; }};
  timers::remote_timer second{io.get_executor(), [this] { ++runs; }};

private:
  asio::executor_work_guard<asio::io_context::executor_type> work_{io.get_executor()};
  std::thread thread_{[this] { io.run(); }};
};

void check(benchmark::State& state, OtherThread& other) {
  if (!other.timer.disarm() || other.runs != 0) {
    state.SkipWithError("wrong answer: the timer ran, or was not armed");
  }
}

void remote_rearm_after_later(benchmark::State& state) {
  OtherThread other;
  other.timer.rearm_after(1h);
  for (auto _ : state) {
    other.timer.rearm_after(1h);
  }
  check(state, other);
}
BENCHMARK(remote_rearm_after_later);

// Without the reading of the clock.
void remote_rearm_at_later(benchmark::State& state) {
  OtherThread other;
  auto deadline = Clock::now() + 1h;
  other.timer.rearm_at(deadline);
  for (auto _ : state) {
    other.timer.rearm_at(deadline += 10ns);
  }
  check(state, other);
}
BENCHMARK(remote_rearm_at_later);

// Each deadline is a tick earlier than that before. The OS timer is not programmed, for another
// timer comes first.
void remote_rearm_at_earlier(benchmark::State& state) {
  OtherThread other;
  other.second.rearm_after(1h);
  auto deadline = Clock::now() + 100'000h;
  other.timer.rearm_at(deadline);
  for (auto _ : state) {
    other.timer.rearm_at(deadline -= 1ms);
  }
  check(state, other);
}
BENCHMARK(remote_rearm_at_earlier);

// As that, where every deadline is the first of all, so that the OS timer is programmed.
void remote_rearm_at_first(benchmark::State& state) {
  OtherThread other;
  auto deadline = Clock::now() + 100'000h;
  other.timer.rearm_at(deadline);
  for (auto _ : state) {
    other.timer.rearm_at(deadline -= 1ms);
  }
  check(state, other);
}
BENCHMARK(remote_rearm_at_first);

void remote_disarm_and_rearm(benchmark::State& state) {
  OtherThread other;
  other.second.rearm_after(1h);
  other.timer.rearm_after(1h);
  const auto deadline = Clock::now() + 2h;
  for (auto _ : state) {
    benchmark::DoNotOptimize(other.timer.disarm());
    other.timer.rearm_at(deadline);
  }
  check(state, other);
}
BENCHMARK(remote_disarm_and_rearm);

// Two threads move one timer.
void remote_rearm_after_by_two(benchmark::State& state) {
  static std::optional<OtherThread> other;
  if (state.thread_index() == 0) {
    other.emplace();
    other->timer.rearm_after(1h);
  }
  for (auto _ : state) {
    other->timer.rearm_after(1h);
  }
  if (state.thread_index() == 0) {
    check(state, *other);
    other.reset();
  }
}
BENCHMARK(remote_rearm_after_by_two)->Threads(2)->UseRealTime();

// What one does with Asio's timer: have its own thread move it.
void asio_post_and_expires_after(benchmark::State& state) {
  OtherThread other;
  asio::steady_timer timer(other.io);
  std::atomic<std::int64_t> moved{0};
  std::int64_t posted = 0;
  for (auto _ : state) {
    asio::post(other.io, [&] {
      timer.expires_after(1h);
      timer.async_wait([](ErrorCode) {});
      ++moved;
    });
    if (++posted % 1024 == 0) { // or the queue grows without end
      while (moved < posted) {
        std::this_thread::yield();
      }
    }
  }
  while (moved < posted) {
    std::this_thread::yield();
  }
}
BENCHMARK(asio_post_and_expires_after)->UseRealTime();

// An operation that completes in the next turn of the context.
struct InitiateTurn {
  using executor_type = asio::io_context::executor_type;
  executor_type get_executor() const noexcept { return executor; }

  template <class Handler> void operator()(Handler&& handler) const {
    auto slot = asio::get_associated_cancellation_slot(handler);
    if (slot.is_connected()) {
      slot.assign([](asio::cancellation_type_t) {});
    }
    asio::post(executor, [kept = std::decay_t<Handler>(std::forward<Handler>(handler))]() mutable {
      std::move(kept)(ErrorCode());
    });
  }

  executor_type executor;
};

template <class Token> auto async_turn(asio::io_context& io, Token&& token) {
  return asio::async_initiate<Token, void(ErrorCode)>(InitiateTurn{io.get_executor()}, token);
}

// Runs one operation after the other; start(handler) starts one.
template <class Start> struct Next {
  void operator()(ErrorCode error) {
    done += error ? 0 : 1;
    if (state.KeepRunning()) {
      start(*this);
    }
  }

  benchmark::State& state;
  benchmark::IterationCount& done;
  Start& start;
};

template <class Start> void measure(benchmark::State& state, asio::io_context& io, Start start) {
  const asio::steady_timer has_reactor(io); // which every program has that does I/O
  benchmark::IterationCount done = 0;
  asio::post(io, [&] { Next<Start>{state, done, start}(ErrorCode()); });
  io.run();
  if (done != state.iterations() + 1) {
    state.SkipWithError("wrong answer: an operation failed");
  }
}

// What an operation costs without a timeout.
void operation_floor(benchmark::State& state) {
  asio::io_context io(1);
  measure(state, io, [&](auto next) { async_turn(io, next); });
}
BENCHMARK(operation_floor);

void operation_deadline(benchmark::State& state) {
  asio::io_context io(1);
  timers::deadline mine{io};
  measure(state, io, [&](auto next) { async_turn(io, timers::with_timeout(mine, 30s, next)); });
}
BENCHMARK(operation_deadline);

void operation_cancel_after(benchmark::State& state) {
  asio::io_context io(1);
  measure(state, io, [&](auto next) { async_turn(io, timers::with_timeout(30s, next)); });
}
BENCHMARK(operation_cancel_after);

// By hand, with a timer and a signal that are kept from one operation to the next.
void operation_waitable_timer(benchmark::State& state) {
  asio::io_context io(1);
  asio::steady_timer timer(io);
  asio::cancellation_signal signal;
  measure(state, io, [&](auto next) {
    timer.expires_after(30s);
    timer.async_wait([&signal](ErrorCode error) {
      if (!error) {
        signal.emit(asio::cancellation_type::terminal);
      }
    });
    async_turn(io,
               asio::bind_cancellation_slot(signal.slot(), [&timer, next](ErrorCode error) mutable {
                 timer.cancel();
                 next(error);
               }));
  });
}
BENCHMARK(operation_waitable_timer);

} // namespace

BENCHMARK_MAIN();
