// The trace: what a service does is what a file gives back.
#include "timers/trace.hpp"

#include "timers/hierarchical_wheel.hpp"
#include "timers/timer_service.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>

#include <fstream>
#include <vector>

namespace timers {
namespace {

using namespace std::chrono_literals;

// A path that is gone with the test.
class Trace : public ::testing::Test {
protected:
  void TearDown() override { std::filesystem::remove(path_); }

  std::vector<TraceRecord> read() const {
    std::vector<TraceRecord> records;
    TraceReader reader(path_);
    while (const auto record = reader.next()) {
      records.push_back(*record);
    }
    return records;
  }

  const std::filesystem::path path_ =
      std::filesystem::temp_directory_path() /
      ("idlewheel-trace-" + std::to_string(::getpid()) + "-" +
       ::testing::UnitTest::GetInstance()->current_test_info()->name());
};

TEST_F(Trace, RecordsComeBackAsWritten) {
  const std::vector<TraceRecord> records = {
      {TraceOperation::arm, 0, 0, 0},
      {TraceOperation::rearm, 1, 5, 125, true},
      {TraceOperation::disarm, 0xfffffffe, (Tick{1} << 60) - 1, (Tick{1} << 60) + 7},
      {TraceOperation::expire, 3, 100, 100},
  };
  {
    TraceFile file(path_, 1ms);
    for (const TraceRecord& record : records) {
      file.write(record);
    }
    EXPECT_TRUE(file.flush());
  }
  EXPECT_EQ(read(), records);
  EXPECT_EQ(TraceReader(path_).tick(), 1ms);
  EXPECT_EQ(std::filesystem::file_size(path_), 16U * (1 + records.size()));
}

TEST_F(Trace, ADeadlineTooFarAwayIsTheFurthestThereIs) {
  TraceFile(path_, 1ms).write({TraceOperation::arm, 0, 10, kLatest});
  EXPECT_EQ(read().front().deadline, Tick{10} + 0xffffffffU);
}

struct HandClock {
  const std::chrono::steady_clock::time_point* time;
  std::chrono::steady_clock::time_point now() const noexcept { return *time; }
};

TEST_F(Trace, SeesWhatAServiceDoes) {
  std::chrono::steady_clock::time_point time{};
  {
    TraceFile file(path_, 1ms);
    using Service = TimerService<HierarchicalWheel, HandClock, ToFile>;
    Service service({}, HandClock{&time}, ToFile(file));
    Service::Timer first(service, [] {});
    Service::Timer second(service, [] {});
    second.arm(20, service.now());
    first.arm(10, service.now());
    time += 5ms;
    second.rearm(20, service.now());
    first.disarm();
    first.disarm();
    time += 20ms;
    service.run_due();
  }
  EXPECT_EQ(read(), (std::vector<TraceRecord>{{TraceOperation::arm, 0, 0, 20},
                                              {TraceOperation::arm, 1, 0, 10},
                                              {TraceOperation::rearm, 0, 5, 25},
                                              {TraceOperation::disarm, 1, 5, 10},
                                              {TraceOperation::expire, 0, 25, 25}}));
}

TEST_F(Trace, WhatIsNoTraceIsRefused) {
  EXPECT_THROW(TraceReader{path_}, std::system_error);
  std::ofstream(path_) << "GET / HTTP/1.1\r\n\r\n";
  EXPECT_THROW(TraceReader{path_}, std::runtime_error);
}

TEST_F(Trace, APipeThatNobodyReadsIsRefusedWithoutAWait) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_THROW(TraceFile(path_, 1ms), std::system_error);
}

TEST_F(Trace, ATornLastRecordIsTheEnd) {
  TraceFile(path_, 1ms).write({TraceOperation::arm, 0, 0, 0});
  std::ofstream(path_, std::ios::app) << "torn";
  EXPECT_EQ(read().size(), 1U);
}

TEST_F(Trace, AFullDiskEndsTheTraceOnly) {
  TraceFile file("/dev/full", 1ms);
  file.write({TraceOperation::arm, 0, 0, 0});
  EXPECT_FALSE(file.flush());
}

// Without a trace a service and its timers are no larger.
static_assert(sizeof(TimerService<HierarchicalWheel>::Timer) ==
              sizeof(HierarchicalWheel::Node) + 4 * sizeof(Tick) + sizeof(Action));

// Files a timer once.
struct FilesOnce : HierarchicalWheel {
  bool used = false;
  void arm(Node& node, Tick deadline, Ticks timeout) {
    if (std::exchange(used, true)) {
      throw std::bad_alloc();
    }
    HierarchicalWheel::arm(node, deadline, timeout);
  }
};

TEST_F(Trace, SeesThatATimerThatCannotBeFiledAgainIsDisarmed) {
  std::chrono::steady_clock::time_point time{};
  {
    TraceFile file(path_, 1ms);
    using Service = TimerService<FilesOnce, HandClock, ToFile>;
    Service service({}, HandClock{&time}, ToFile(file));
    Service::Timer timer(service, [] {});
    timer.arm(10, service.now());
    timer.rearm(20, service.now());
    time += 10ms;
    EXPECT_THROW(service.run_due(), std::bad_alloc);
  }
  EXPECT_EQ(read(), (std::vector<TraceRecord>{{TraceOperation::arm, 0, 0, 10},
                                              {TraceOperation::rearm, 0, 0, 20},
                                              {TraceOperation::disarm, 0, 10, 20}}));
}

} // namespace
} // namespace timers
