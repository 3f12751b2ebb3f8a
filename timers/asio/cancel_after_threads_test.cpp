// The tokens of cancel_after.hpp on strands of a context that several threads run. What the test
// keeps for each strand has no lock, so that the thread sanitizer sees anything that does not run
// there.
#include "timers/asio/cancel_after.hpp"

#include "timers/testing/asio_testing.hpp"

#include <boost/asio.hpp>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace timers::test {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using Strand = asio::strand<asio::io_context::executor_type>;

void run_by_threads(asio::io_context& io) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&io] { io.run(); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

// Reads again and again, with a timeout of 1 to 3 ms. Its peer, which is on the same strand, writes
// about as often as not.
class Reader : public std::enable_shared_from_this<Reader> {
public:
  Reader(asio::io_context& io, unsigned seed, int operations)
      : strand_(asio::make_strand(io)), sockets_(strand_), deadline_(strand_), peer_(strand_),
        random_(seed), left_(operations) {}

  void start() {
    asio::dispatch(strand_, [self = shared_from_this()] { self->next(); });
  }

  int timeouts = 0;
  int successes = 0;
  int others = 0;

private:
  void next() {
    if (left_-- == 0) {
      return;
    }
    peer_.expires_after(std::chrono::microseconds(random_() % 5000));
    peer_.async_wait([self = shared_from_this()](ErrorCode error) {
      if (!error) {
        self->sockets_.far.write_some(asio::buffer("x", 1), error);
      }
    });
    const std::chrono::milliseconds timeout(1 + random_() % 3);
    auto done = [self = shared_from_this()](ErrorCode error, std::size_t) { self->done(error); };
    if (random_() % 2 == 0) {
      sockets_.near.async_read_some(asio::buffer(byte_), with_timeout(deadline_, timeout, done));
    } else {
      asio::async_read(sockets_.near, asio::buffer(byte_), with_timeout(timeout, done));
    }
  }

  void done(ErrorCode error) {
    EXPECT_TRUE(strand_.running_in_this_thread());
    ++(!error ? successes : error == kTimedOut ? timeouts : others);
    peer_.cancel();
    next();
  }

  Strand strand_;
  SocketPair<asio::basic_stream_socket<asio::local::stream_protocol, Strand>> sockets_;
  deadline deadline_;
  asio::basic_waitable_timer<std::chrono::steady_clock,
                             asio::wait_traits<std::chrono::steady_clock>, Strand>
      peer_;
  std::minstd_rand random_;
  int left_;
  std::array<char, 1> byte_{};
};

TEST(CancelAfterThreads, ReadersOnStrands) {
  constexpr int kOperations = 60;
  asio::io_context io;
  std::vector<std::shared_ptr<Reader>> readers;
  for (unsigned i = 1; i <= 20; ++i) {
    readers.push_back(std::make_shared<Reader>(io, i, kOperations));
    readers.back()->start();
  }
  run_by_threads(io);
  int timeouts = 0;
  for (const auto& reader : readers) {
    EXPECT_EQ(reader->others, 0);
    EXPECT_EQ(reader->successes + reader->timeouts, kOperations);
    timeouts += reader->timeouts;
  }
  EXPECT_GT(timeouts, 0);
}

// Operations that only their timeout ends. The socket knows nothing of the strand, which is the
// handler's.
TEST(CancelAfterThreads, EmitsOnTheStrandOfTheHandler) {
  struct Session {
    explicit Session(asio::io_context& io)
        : strand(asio::make_strand(io)), operation(io.get_executor()), mine(io) {
      operation.on_cancel = [this] {
        EXPECT_TRUE(strand.running_in_this_thread());
        asio::post(strand, [this] { operation.complete(asio::error::operation_aborted); });
      };
    }
    void next() {
      if (left-- > 0) {
        auto handler = asio::bind_executor(strand, [this](ErrorCode error) {
          EXPECT_EQ(error, kTimedOut);
          next();
        });
        if (left % 2 == 0) {
          operation.async_run(with_timeout(mine, 1ms, handler));
        } else {
          operation.async_run(with_timeout(1ms, handler));
        }
      }
    }
    Strand strand;
    ManualOperation operation;
    deadline mine;
    int left = 20;
  };
  asio::io_context io;
  std::vector<std::unique_ptr<Session>> sessions;
  for (int i = 0; i < 20; ++i) {
    auto& session = *sessions.emplace_back(std::make_unique<Session>(io));
    asio::post(session.strand, [&session] { session.next(); });
  }
  run_by_threads(io);
  for (const auto& session : sessions) {
    EXPECT_EQ(session->left, -1);
    EXPECT_EQ(session->operation.cancels, 20);
  }
}

TEST(CancelAfterThreads, ContextIsDestroyedWithOperationsPending) {
  const auto alive = std::make_shared<int>();
  {
    asio::io_context io;
    std::vector<std::unique_ptr<SocketPair<>>> pairs;
    std::array<char, 1> byte{};
    for (int i = 0; i < 100; ++i) {
      auto& pair = *pairs.emplace_back(std::make_unique<SocketPair<>>(io));
      pair.near.async_read_some(
          asio::buffer(byte),
          timers::cancel_after(
              std::chrono::milliseconds(i % 10),
              asio::bind_executor(asio::make_strand(io), [alive](ErrorCode, std::size_t) {})));
    }
    std::thread stops([&io] {
      std::this_thread::sleep_for(5ms);
      io.stop();
    });
    run_by_threads(io);
    stops.join();
  }
  EXPECT_EQ(alive.use_count(), 1);
}

} // namespace
} // namespace timers::test
