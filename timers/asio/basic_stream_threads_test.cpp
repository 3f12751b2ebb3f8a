// basic_stream where several threads run the context: with a strand for each stream, and with
// handlers that are bound to strands. The thread sanitizer judges (CONTRACT.md, lines 34 and 36).
#include "timers/asio/basic_stream.hpp"

#include "timers/testing/streams.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/asio/thread_pool.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

namespace timers::test {
namespace {

using namespace std::chrono_literals;
namespace asio = boost::asio;
namespace beast = boost::beast;

constexpr int kThreads = 4;
constexpr int kSessions = 16;
constexpr int kRounds = 40;

template <class Executor> using Strand = asio::strand<Executor>;

// Reads again and again, with short deadlines and long ones, from a peer that sends only sometimes.
// When a read times out, there is a new connection. All of it happens on one strand.
template <class Executor> class Session : public std::enable_shared_from_this<Session<Executor>> {
public:
  // `stream_executor` is what the stream has: the strand, or what the strand runs on.
  template <class StreamExecutor>
  Session(Strand<Executor> strand, const StreamExecutor& stream_executor, unsigned seed)
      : strand_(std::move(strand)), random_(seed),
        pair_(std::make_unique<Pair>(asio::any_io_executor(stream_executor))) {}

  void start() {
    asio::post(strand_, [self = this->shared_from_this()] { self->next(); });
  }

  static inline std::atomic<int> timeouts = 0;
  static inline std::atomic<int> reads = 0;
  static inline std::atomic<int> finished = 0;

private:
  using Pair = Connected<unix_stream>;

  void next() {
    if (round_++ == kRounds) {
      ++finished;
      return;
    }
    const auto short_time = std::chrono::microseconds(random_() % 3000);
    pair_->stream.expires_after(random_() % 2 == 0 ? std::chrono::nanoseconds(short_time) : 1h);
    const bool sends = round_ % 2 == 0;
    if (sends) {
      beast::error_code ignored; // a timeout may have closed the stream just now
      asio::write(pair_->peer, asio::buffer("x", 1), ignored);
    } else if (pair_->stream.socket().is_open()) {
      pair_->stream.rearm_after(short_time);
    }
    pair_->read(asio::bind_executor(
        strand_, [self = this->shared_from_this()](beast::error_code error, std::size_t) {
          self->done(error);
        }));
    if (!sends) {
      pair_->stream.rearm_after(short_time);
    }
    touch();
  }

  // What a close off the strand races with.
  void touch() {
    asio::post(strand_, [self = this->shared_from_this()] {
      for (int i = 0; i < 100; ++i) {
        self->open_ += self->pair_->stream.socket().is_open() ? 1 : 0;
      }
      if (self->pair_->stream.socket().is_open()) {
        self->pair_->stream.idle_after(1h);
        self->touch_again();
      }
    });
  }

  void touch_again() {
    if (++touches_ % 8 != 0) {
      touch();
    }
  }

  void done(beast::error_code error) {
    if (error == beast::error::timeout) {
      ++timeouts;
      const asio::any_io_executor executor = pair_->stream.get_executor();
      pair_ = std::make_unique<Pair>(executor);
    } else {
      EXPECT_FALSE(error);
      ++reads;
    }
    next();
  }

  Strand<Executor> strand_;
  std::minstd_rand random_;
  std::unique_ptr<Pair> pair_;
  int round_ = 0;
  int touches_ = 0;
  int open_ = 0;
};

template <class Executor, class Run>
void sessions_time_out(const Executor& executor, bool streams_on_strands, Run run) {
  using OneSession = Session<Executor>;
  OneSession::timeouts = OneSession::reads = OneSession::finished = 0;
  for (unsigned i = 0; i < kSessions; ++i) {
    auto strand = asio::make_strand(executor);
    if (streams_on_strands) {
      std::make_shared<OneSession>(strand, strand, i + 1)->start();
    } else {
      std::make_shared<OneSession>(strand, executor, i + 1)->start();
    }
  }
  run();
  EXPECT_EQ(OneSession::finished, kSessions);
  EXPECT_GT(OneSession::timeouts, kSessions);
  EXPECT_GT(OneSession::reads, kSessions);
  EXPECT_EQ(OneSession::timeouts + OneSession::reads, kSessions * kRounds);
}

void run_by_threads(asio::io_context& io) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] { io.run_for(60s); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

TEST(StreamThreads, AStrandForEachStream) {
  asio::io_context io{kThreads};
  sessions_time_out(io.get_executor(), true, [&] { run_by_threads(io); });
}

// The stream's own executor is no strand: only the handlers say where things are safe.
TEST(StreamThreads, HandlersBoundToStrands) {
  asio::io_context io{kThreads};
  sessions_time_out(io.get_executor(), false, [&] { run_by_threads(io); });
}

TEST(StreamThreads, AThreadPool) {
  asio::thread_pool pool(kThreads);
  sessions_time_out(pool.get_executor(), true, [&] { pool.join(); });
}

TEST(StreamThreads, TheSystemExecutor) {
  Connected<unix_stream> pair(asio::make_strand(asio::system_executor()));
  std::promise<beast::error_code> ended;
  asio::post(pair.stream.get_executor(), [&] {
    pair.stream.expires_after(10ms);
    pair.read([&](beast::error_code error, std::size_t) { ended.set_value(error); });
  });
  EXPECT_EQ(ended.get_future().get(), beast::error::timeout);
}

// Streams come and go on all threads while others time out.
TEST(StreamThreads, StreamsThatAreMadeAndDestroyedAllTheTime) {
  asio::io_context io{kThreads};
  std::atomic<int> aborted = 0;
  std::atomic<int> timed_out = 0;
  std::function<void(int)> make = [&](int left) {
    if (left == 0) {
      return;
    }
    auto pair = std::make_shared<Connected<unix_stream>>(asio::make_strand(io));
    const auto executor = pair->stream.get_executor();
    asio::dispatch(executor, [&, pair = std::move(pair), left]() mutable {
      const bool waits = left % 4 == 0;
      pair->stream.expires_after(waits ? 2ms : 1ms);
      pair->read([&, kept = waits ? pair : nullptr](beast::error_code error, std::size_t) {
        ++(error == beast::error::timeout ? timed_out : aborted);
      });
      pair.reset();
      asio::post(io, [&, left] { make(left - 1); });
    });
  };
  constexpr int kStreams = 200;
  for (int i = 0; i < kThreads; ++i) {
    asio::post(io, [&] { make(kStreams); });
  }
  run_by_threads(io);
  EXPECT_EQ(timed_out + aborted, kThreads * kStreams);
  EXPECT_GE(timed_out, kThreads * kStreams / 4);
}

} // namespace
} // namespace timers::test
