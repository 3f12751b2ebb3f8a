// Rate policies: Beast's and users' own.
#include "timers/asio/basic_stream.hpp"

#include "timers/testing/streams.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/rate_policy.hpp>

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace timers::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
namespace asio = boost::asio;
namespace beast = boost::beast;

// A user's policy, with private functions for Beast alone. It counts, and permits what it is told.
class CountingPolicy {
public:
  CountingPolicy() = default;
  explicit CountingPolicy(std::size_t permitted) : most(permitted) {}

  std::size_t most = std::size_t(-1);
  std::size_t in_a_slice = 3;
  std::size_t read = 0;
  std::size_t written = 0;
  int slices = 0;

private:
  friend class beast::rate_policy_access;

  std::size_t available_read_bytes() const noexcept { return most; }
  std::size_t available_write_bytes() const noexcept { return most; }
  void transfer_read_bytes(std::size_t bytes) noexcept { read += bytes; }
  void transfer_write_bytes(std::size_t bytes) noexcept { written += bytes; }
  void on_timer() noexcept {
    ++slices;
    most = in_a_slice;
  }
};

// One that can only be made with an argument.
class NamedPolicy : public beast::unlimited_rate_policy {
public:
  explicit NamedPolicy(std::string name) : name_(std::move(name)) {}
  const std::string& name() const { return name_; }

private:
  friend class beast::rate_policy_access;
  std::string name_;
};

template <class Policy> using Stream = basic_stream<Unix, asio::any_io_executor, Policy>;

template <class Policy> class Rated : public testing::Test {
protected:
  Rated() { asio::local::connect_pair(stream.socket(), peer); }

  void run_until(const Operation& operation) {
    const auto end = Clock::now() + kPatience;
    while (!operation.ended() && Clock::now() < end) {
      io.restart();
      io.run_one_until(end);
    }
    ASSERT_TRUE(operation.ended());
  }

  void send(std::string_view text) { asio::write(peer, asio::buffer(text)); }

  asio::io_context io{1};
  Stream<Policy> stream{io};
  Unix::socket peer{io};
  std::array<char, 16> input{};
};

using Counted = Rated<CountingPolicy>;
using Limited = Rated<beast::simple_rate_policy>;

TEST_F(Counted, APolicyIsToldOfEachTransfer) {
  Operation read;
  Operation write;
  send("four");
  stream.expires_after(kNever);
  stream.async_read_some(asio::buffer(input), read.note());
  run_until(read);
  stream.async_write_some(asio::buffer("abc", 3), write.note());
  run_until(write);
  EXPECT_EQ(read.result(), success(4));
  EXPECT_EQ(write.result(), success(3));
  EXPECT_EQ(stream.rate_policy().read, 4U);
  EXPECT_EQ(std::as_const(stream).rate_policy().written, 3U);
  EXPECT_EQ(stream.rate_policy().slices, 0);
}

TEST_F(Counted, APolicyLimitsEachTransfer) {
  Operation read;
  Operation write;
  send("sixteen bytes...");
  stream.rate_policy().most = 2;
  stream.async_read_some(asio::buffer(input), read.note());
  run_until(read);
  stream.async_write_some(asio::buffer("abc", 3), write.note());
  run_until(write);
  EXPECT_EQ(read.result(), success(2));
  EXPECT_EQ(write.result(), success(2));
}

TEST_F(Counted, TheFirstSliceBeginsWhenNothingIsPermitted) {
  Operation read;
  send("sixteen bytes...");
  stream.rate_policy().most = 0;
  stream.async_read_some(asio::buffer(input), read.note());
  run_until(read);
  EXPECT_EQ(read.result(), success(3));
  EXPECT_EQ(stream.rate_policy().slices, 1);
}

// No bytes would mean the end of the stream.
TEST_F(Counted, ASliceInWhichNothingIsPermittedLetsOneByteThrough) {
  Operation read;
  send("sixteen bytes...");
  stream.rate_policy().most = 0;
  stream.rate_policy().in_a_slice = 0;
  stream.async_read_some(asio::buffer(input), read.note());
  run_until(read);
  EXPECT_EQ(read.result(), success(1));
}

TEST_F(Counted, TheNextSliceBeginsASecondLaterForBothDirections) {
  Operation first;
  Operation read;
  Operation write;
  send("sixteen bytes...");
  stream.rate_policy().most = 0;
  stream.async_read_some(asio::buffer(input), first.note());
  run_until(first);
  const auto begun = Clock::now();
  stream.rate_policy().most = 0;
  stream.async_read_some(asio::buffer(input), read.note());
  stream.async_write_some(asio::buffer("abcdef", 6), write.note());
  run_until(read);
  run_until(write);
  EXPECT_EQ(read.result(), success(3));
  EXPECT_EQ(write.result(), success(3));
  EXPECT_EQ(stream.rate_policy().slices, 2);
  EXPECT_GE(Clock::now() - begun, 900ms);
}

TEST_F(Counted, ADeadlineEndsTheWaitForASlice) {
  Operation first;
  Operation read;
  send("sixteen bytes...");
  stream.rate_policy().most = 0;
  stream.async_read_some(asio::buffer(input), first.note());
  run_until(first);
  stream.rate_policy().most = 0;
  bool slice_is_over = false;
  asio::steady_timer slice(io, 900ms);
  slice.async_wait([&](beast::error_code) { slice_is_over = true; });
  stream.expires_after(30ms);
  stream.async_read_some(asio::buffer(input), read.note());
  run_until(read);
  EXPECT_EQ(read.result(), kTimedOut);
  EXPECT_FALSE(stream.socket().is_open());
  EXPECT_FALSE(slice_is_over) << "the operation has waited for the end of the slice";
}

TEST_F(Counted, CancelEndsTheWaitForASliceAndTheNextOperationBeginsOne) {
  Operation first;
  Operation read;
  Operation again;
  send("sixteen bytes...");
  stream.rate_policy().most = 0;
  stream.async_read_some(asio::buffer(input), first.note());
  run_until(first);
  stream.rate_policy().most = 0;
  stream.async_read_some(asio::buffer(input), read.note());
  stream.cancel();
  run_until(read);
  EXPECT_EQ(read.result(), kAborted);
  EXPECT_TRUE(stream.socket().is_open());
  stream.async_read_some(asio::buffer(input), again.note());
  run_until(again);
  EXPECT_EQ(again.result(), success(3));
  EXPECT_EQ(stream.rate_policy().slices, 2);
}

// The state would live, and be looked after every second, for ever.
TEST_F(Counted, AStreamThatIsDestroyedAsItsSliceBeginsLetsRunReturn) {
  Operation read;
  {
    Stream<CountingPolicy> other(CountingPolicy(0), io);
    Unix::socket there(io);
    asio::local::connect_pair(other.socket(), there);
    other.async_read_some(asio::buffer(input), read.note());
    io.poll_one(); // the wait is over, its handler is on the way
  }
  io.restart();
  io.run_for(kPatience);
  EXPECT_TRUE(io.stopped());
  EXPECT_TRUE(read.result()->error);
}

TEST_F(Limited, BytesPerSecondAreLimited) {
  Operation all;
  std::string received(7, ' ');
  send("sixteen bytes...");
  stream.rate_policy().read_limit(3);
  const auto start = Clock::now();
  // Three bytes at once, three in the first slice, the last in the second.
  asio::async_read(stream, asio::buffer(received), all.note());
  run_until(all);
  EXPECT_EQ(all.result(), success(7));
  EXPECT_GE(Clock::now() - start, 900ms);
  EXPECT_EQ(received, "sixteen");
}

TEST(RatePolicies, AreGivenToTheConstructorAndGoAlongWithAMove) {
  asio::io_context io;
  Stream<CountingPolicy> stream(CountingPolicy(7), io);
  EXPECT_EQ(stream.rate_policy().most, 7U);
  Stream<CountingPolicy> moved(std::move(stream));
  EXPECT_EQ(moved.rate_policy().most, 7U);
  EXPECT_EQ(stream.rate_policy().most, std::size_t(-1)) << "as new";
}

TEST(RatePolicies, NeedNoDefault) {
  asio::io_context io;
  Stream<NamedPolicy> stream(NamedPolicy("name"), io, Unix());
  Stream<NamedPolicy> moved(std::move(stream));
  EXPECT_EQ(moved.rate_policy().name(), "name");
  EXPECT_EQ(stream.rate_policy().name(), "name");
}

} // namespace
} // namespace timers::test
