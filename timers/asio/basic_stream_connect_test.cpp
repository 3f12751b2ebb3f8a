// Connecting with a basic_stream, in all forms.
#include "timers/asio/basic_stream.hpp"

#include "timers/testing/streams.hpp"

#include <boost/asio/deferred.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/write.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>
#include <type_traits>
#include <vector>

namespace timers::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;
using beast::error_code;

struct AnyEndpoint {
  bool operator()(const error_code&, const tcp::endpoint&) const { return true; }
};
struct NoEndpoint {
  bool operator()(const error_code&, const tcp::endpoint&) const { return false; }
};

bool any_endpoint(const error_code&, const tcp::endpoint&) { return true; }

class Connecting : public testing::Test {
protected:
  Connecting() {
    // Nobody listens there: the port was given away a moment ago.
    tcp::acceptor closed(io, {asio::ip::address_v4::loopback(), 0});
    endpoints = {closed.local_endpoint(), acceptor.local_endpoint()};
  }

  void run() {
    io.restart();
    io.run_for(kPatience);
    EXPECT_TRUE(io.stopped()) << "an operation is pending that should have ended";
  }

  // Connections that nobody accepts, until the system takes no more of them.
  void fill_backlog() {
    acceptor.listen(0);
    for (int i = 0; i < 8; ++i) {
      waiting.push_back(std::make_unique<tcp::socket>(io, tcp::v4()));
      waiting.back()->async_connect(acceptor.local_endpoint(), [](error_code) {});
    }
    io.poll();
  }

  void drop_backlog() { waiting.clear(); }

  asio::io_context io{1};
  tcp::acceptor acceptor{io, {asio::ip::address_v4::loopback(), 0}};
  std::vector<tcp::endpoint> endpoints; // refused, accepted
  std::vector<std::unique_ptr<tcp::socket>> waiting;
  tcp_stream stream{io};
};

TEST_F(Connecting, BlockingFormsConnect) {
  const auto begin = endpoints.begin();
  const auto end = endpoints.end();
  error_code error;
  const auto connected = [&](auto&& connect) {
    connect();
    EXPECT_FALSE(error);
    EXPECT_EQ(stream.socket().remote_endpoint(), endpoints[1]);
    stream.socket().close();
  };
  connected([&] { stream.connect(endpoints[1]); });
  connected([&] { stream.connect(endpoints[1], error); });
  connected([&] { EXPECT_EQ(stream.connect(endpoints), endpoints[1]); });
  connected([&] { EXPECT_EQ(stream.connect(endpoints, error), endpoints[1]); });
  connected([&] { EXPECT_EQ(stream.connect(endpoints, AnyEndpoint()), endpoints[1]); });
  connected([&] { EXPECT_EQ(stream.connect(endpoints, AnyEndpoint(), error), endpoints[1]); });
  connected([&] { EXPECT_EQ(*stream.connect(begin, end), endpoints[1]); });
  connected([&] { EXPECT_EQ(*stream.connect(begin, end, error), endpoints[1]); });
  connected([&] { EXPECT_EQ(*stream.connect(begin, end, AnyEndpoint()), endpoints[1]); });
  connected([&] { EXPECT_EQ(*stream.connect(begin, end, AnyEndpoint(), error), endpoints[1]); });
}

TEST_F(Connecting, BlockingFormsReportAndThrow) {
  error_code error;
  stream.connect(endpoints[0], error);
  EXPECT_EQ(error, asio::error::connection_refused);
  stream.socket().close();
  EXPECT_THROW(stream.connect(endpoints[0]), boost::system::system_error);
  stream.connect(endpoints, NoEndpoint(), error);
  EXPECT_EQ(error, asio::error::not_found);
}

TEST_F(Connecting, AsynchronousFormsConnectWithDeadlineAndWithout) {
  const auto begin = endpoints.begin();
  const auto end = endpoints.end();
  for (const bool deadline : {false, true}) {
    if (deadline) {
      stream.expires_after(kNever);
    }
    std::optional<error_code> one;
    stream.async_connect(endpoints[1], [&](error_code error) { one = error; });
    EXPECT_FALSE(one);
    run();
    EXPECT_EQ(one, error_code());
    stream.socket().close();

    const auto connected = [&](auto&& connect) {
      int calls = 0;
      connect([&](error_code error, auto where) {
        ++calls;
        EXPECT_EQ(error, error_code());
        if constexpr (std::is_same_v<decltype(where), tcp::endpoint>) {
          EXPECT_EQ(where, endpoints[1]);
        } else {
          EXPECT_EQ(where, begin + 1);
        }
      });
      run();
      EXPECT_EQ(calls, 1);
      EXPECT_EQ(stream.socket().remote_endpoint(), endpoints[1]);
      stream.socket().close();
    };
    connected([&](auto handler) { stream.async_connect(endpoints, handler); });
    connected([&](auto handler) { stream.async_connect(endpoints, AnyEndpoint(), handler); });
    connected([&](auto handler) { stream.async_connect(begin, end, handler); });
    connected([&](auto handler) { stream.async_connect(begin, end, AnyEndpoint(), handler); });
  }
}

// Every token may, from the version of Boost on in which any_io_executor has a default.
TEST_F(Connecting, AConditionIsToldFromATokenWhereTokensMayBeLeftOut) {
  asio::deferred_t::as_default_on_t<tcp_stream> other(io);
  const auto begin = endpoints.begin();
  const auto end = endpoints.end();
  const auto connected = [&](auto&& start) {
    Operation connect;
    other.expires_after(kNever);
    start(connect.note());
    run();
    EXPECT_EQ(connect.result(), success(0));
    other.socket().close();
  };
  const auto any = [](const auto&, const auto&) { return true; };
  connected([&](auto handler) { other.async_connect(endpoints[1])(handler); });
  connected([&](auto handler) { other.async_connect(endpoints)(handler); });
  connected([&](auto handler) { other.async_connect(endpoints, handler); });
  connected([&](auto handler) { other.async_connect(endpoints, AnyEndpoint())(handler); });
  connected([&](auto handler) { other.async_connect(endpoints, any)(handler); });
  connected([&](auto handler) { other.async_connect(endpoints, any, handler); });
  connected([&](auto handler) { other.async_connect(begin, end)(handler); });
  connected([&](auto handler) { other.async_connect(begin, end, AnyEndpoint())(handler); });
  connected([&](auto handler) { other.async_connect(begin, end, any)(handler); });
  connected([&](auto handler) { other.async_connect(begin, end, any, handler); });
  // Arrays and functions.
  const tcp::endpoint array[]{endpoints[0], endpoints[1]};
  connected([&](auto handler) { other.async_connect(array, array + 2)(handler); });
  connected([&](auto handler) { other.async_connect(array, array + 2, any_endpoint)(handler); });
  connected([&](auto handler) { other.async_connect(endpoints, any_endpoint, handler); });
  // A handler that could not be called with an iterator.
  connected([&](auto handler) {
    other.async_connect(endpoints, [&](auto error, auto to) { handler(error, to.port()); });
  });
}

TEST_F(Connecting, AnErrorOfTheSocketIsReported) {
  Operation one;
  Operation none;
  stream.expires_after(kNever);
  stream.async_connect(endpoints[0], one.note());
  run();
  EXPECT_EQ(one.result(), (Ended{asio::error::connection_refused, 0}));
  stream.async_connect(endpoints, NoEndpoint(), none.note());
  run();
  EXPECT_EQ(none.result(), (Ended{asio::error::not_found, 0}));
}

TEST_F(Connecting, AFormThatBeginsTooLateTimesOutAndConnectsToNothing) {
  const auto begin = endpoints.begin();
  const auto end = endpoints.end();
  const auto timed_out = [&](auto&& connect) {
    stream.expires_at(Clock::now());
    int calls = 0;
    connect([&](error_code error, auto... where) {
      ++calls;
      EXPECT_EQ(error, beast::error::timeout);
      [[maybe_unused]] const auto nowhere = [&](auto place) {
        if constexpr (std::is_same_v<decltype(place), tcp::endpoint>) {
          EXPECT_EQ(place, tcp::endpoint());
        } else {
          EXPECT_EQ(place, end);
        }
      };
      (nowhere(where), ...);
    });
    EXPECT_EQ(calls, 0);
    run();
    EXPECT_EQ(calls, 1);
    EXPECT_FALSE(stream.socket().is_open());
  };
  timed_out([&](auto handler) { stream.async_connect(endpoints[1], handler); });
  timed_out([&](auto handler) { stream.async_connect(endpoints, handler); });
  timed_out([&](auto handler) { stream.async_connect(endpoints, AnyEndpoint(), handler); });
  timed_out([&](auto handler) { stream.async_connect(begin, end, handler); });
  timed_out([&](auto handler) { stream.async_connect(begin, end, AnyEndpoint(), handler); });
}

TEST_F(Connecting, AConnectThatHangsTimesOut) {
  fill_backlog();
  Operation connect;
  const auto start = Clock::now();
  stream.expires_after(kSoon);
  stream.async_connect(acceptor.local_endpoint(), connect.note());
  while (!connect.ended() && Clock::now() - start < kPatience) {
    io.restart();
    io.run_one_for(kPatience);
  }
  EXPECT_EQ(connect.result(), kTimedOut);
  EXPECT_GE(Clock::now() - start, kSoon);
  EXPECT_FALSE(stream.socket().is_open());
  drop_backlog();
  run();
}

TEST_F(Connecting, AllEndpointsShareOneDeadline) {
  fill_backlog();
  Operation connect;
  const auto start = Clock::now();
  const std::vector<tcp::endpoint> all(3, acceptor.local_endpoint());
  stream.expires_after(kSoon);
  stream.async_connect(all, connect.note());
  while (!connect.ended() && Clock::now() - start < kPatience) {
    io.restart();
    io.run_one_for(kPatience);
  }
  EXPECT_EQ(connect.result(), kTimedOut);
  drop_backlog();
  run();
}

TEST_F(Connecting, AConnectIsPendingInBothDirectionsAndHasTheDeadlineOfWrites) {
  fill_backlog();
  Operation connect;
  stream.expires_after(kSoon);
  stream.async_connect(acceptor.local_endpoint(), connect.note());
  stream.expires_after(kNever); // of neither direction
  const auto start = Clock::now();
  while (!connect.ended() && Clock::now() - start < kPatience) {
    io.restart();
    io.run_one_for(kPatience);
  }
  EXPECT_EQ(connect.result(), kTimedOut);
  drop_backlog();
  run();
}

TEST_F(Connecting, ADeadlineThatIsSetDuringAConnectIsOfNeitherDirection) {
  Operation connect;
  Operation read;
  char input = 0;
  stream.expires_after(kNever);
  stream.async_connect(acceptor.local_endpoint(), connect.note());
  stream.expires_after(0s);
  run();
  EXPECT_EQ(connect.result(), success(0));
  tcp::socket peer = acceptor.accept();
  asio::write(peer, asio::buffer("x", 1));
  stream.async_read_some(asio::buffer(&input, 1), read.note());
  run();
  EXPECT_EQ(read.result(), success(1));
}

TEST_F(Connecting, TheDeadlineOfReadsDoesNotEndAConnect) {
  // Reads get a deadline of their own while a write is pending.
  Connected<unix_stream> pair(io.get_executor());
  Operation write;
  pair.write_much(write.note());
  pair.stream.expires_after(0s);
  pair.drain();
  run();
  EXPECT_GT(write.result()->bytes, 0U);
  Unix::acceptor listener(io, Unix::endpoint(testing::TempDir() + "timers_connect_test"));
  pair.stream.socket().close();
  Operation connect;
  pair.stream.async_connect(listener.local_endpoint(), connect.note());
  run();
  EXPECT_EQ(connect.result(), success(0));
  Operation read;
  pair.read(read.note());
  run();
  EXPECT_EQ(read.result(), kTimedOut);
  std::remove(listener.local_endpoint().path().c_str());
}

// The read was a success, so the timeout is one that the next operation would get.
TEST_F(Connecting, ANewConnectionDoesNotGetTheTimeoutOfTheOldOne) {
  asio::thread_pool pool(2);
  const auto strand = asio::make_strand(pool.get_executor());
  tcp_stream other(strand);
  other.connect(acceptor.local_endpoint());
  tcp::socket peer = acceptor.accept();
  char input = 0;
  bool was_open = true;
  Operation again;
  asio::post(strand, [&] {
    other.expires_after(kSoon);
    other.async_read_some(asio::buffer(&input, 1), [&](error_code error, std::size_t) {
      EXPECT_FALSE(error);
      was_open = other.socket().is_open();
      other.expires_after(kNever);
      other.async_connect(acceptor.local_endpoint(), again.note());
    });
    std::this_thread::sleep_for(kLater); // the check waits for the strand
    asio::write(peer, asio::buffer("x", 1));
    std::this_thread::sleep_for(kSoon); // and after it what was read
  });
  pool.join();
  EXPECT_FALSE(was_open) << "nothing has timed out";
  EXPECT_EQ(again.result(), success(0));
}

TEST_F(Connecting, ADestroyedStreamAbortsItsConnect) {
  fill_backlog();
  Operation one;
  Operation all;
  for (Operation* connect : {&one, &all}) {
    tcp_stream other(io);
    other.expires_after(kNever);
    if (connect == &one) {
      other.async_connect(acceptor.local_endpoint(), connect->note());
    } else {
      other.async_connect(std::vector<tcp::endpoint>(3, acceptor.local_endpoint()),
                          connect->note());
    }
  }
  drop_backlog();
  run();
  EXPECT_EQ(one.result(), kAborted);
  EXPECT_EQ(all.result(), kAborted);
}

} // namespace
} // namespace timers::test
