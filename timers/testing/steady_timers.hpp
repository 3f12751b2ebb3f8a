// What the tests of timers::steady_timer share. Most run on Asio's timer too, so that a difference
// shows.
#pragma once

#include "timers/asio/steady_timer.hpp"

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace timers::test {

namespace asio = boost::asio;
using boost::system::error_code;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

inline const error_code kSuccess;
inline const error_code kAborted = asio::error::operation_aborted;

// No wait is longer, on however busy a machine.
inline constexpr auto kPatience = 10s;
// An expiry that a test does not reach.
inline constexpr auto kLong = 1h;

// The kinds of timers, each with any executor.
struct AsioKind {
  template <class Executor = asio::any_io_executor>
  using Timer = asio::basic_waitable_timer<Clock, asio::wait_traits<Clock>, Executor>;
};
struct WheelKind {
  template <class Executor = asio::any_io_executor> using Timer = basic_steady_timer<Executor>;
};
// For contexts that one thread runs.
struct OneThreadKind {
  using Service = basic_wheel_service<HierarchicalWheel, NullMutex>;
  template <class Executor = asio::any_io_executor>
  using Timer = basic_steady_timer<Executor, Service>;
};

struct KindName {
  template <class Kind> static std::string GetName(int) {
    return std::is_same_v<Kind, AsioKind>    ? "Asio"
           : std::is_same_v<Kind, WheelKind> ? "Wheel"
                                             : "WheelOfOneThread";
  }
};
using BothKinds = testing::Types<AsioKind, WheelKind>;
using AllKinds = testing::Types<AsioKind, WheelKind, OneThreadKind>;
using WheelKinds = testing::Types<WheelKind, OneThreadKind>;

// What completed, in order: the number of a wait and its result.
struct Log {
  using Entry = std::pair<int, error_code>;

  auto handler(int number) {
    return [this, number](error_code error) { entries.emplace_back(number, error); };
  }
  std::vector<Entry> entries;
};

template <class Kind> class TimerTest : public testing::Test {
protected:
  asio::io_context io_;
  Log log_;
};

// Each typed test begins with this, because it cannot see the names of a base class that is a
// template.
#define TEST_NAMES                                                                                 \
  using Timer [[maybe_unused]] = typename TypeParam::template Timer<>;                             \
  [[maybe_unused]] auto& io = this->io_;                                                           \
  [[maybe_unused]] auto& log = this->log_

// Runs until nothing is left to do, and fails if that takes too long.
inline void run_out(asio::io_context& io) {
  io.restart();
  io.run_for(kPatience);
  EXPECT_TRUE(io.stopped()) << "run() does not return";
}

} // namespace timers::test
