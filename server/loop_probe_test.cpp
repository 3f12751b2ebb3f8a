// The probe must not change the cost of what it measures.
#include "server/loop_probe.hpp"

#include "server/listener.hpp"

#include <gtest/gtest.h>

#include <sys/syscall.h>

namespace {
int programmed = 0;
}

extern "C" int timerfd_settime(int descriptor, int flags, const itimerspec* next,
                               itimerspec* previous) noexcept {
  ++programmed;
  return static_cast<int>(syscall(SYS_timerfd_settime, descriptor, flags, next, previous));
}

namespace server {
namespace {

using namespace std::chrono_literals;

// How often the kernel's timer is programmed while a timer of Asio's moves to a later time `moves`
// times.
int asked_by(int moves, bool probed) {
  boost::asio::io_context io;
  LoopProbe probe(io, probed);
  OsTimer timer(io);
  probe.note_activity();
  const int before = programmed;
  for (int i = 0; i < moves; ++i) {
    timer.expires_after(std::chrono::hours(1 + i));
    timer.async_wait([](Error) {});
  }
  return programmed - before;
}

TEST(LoopProbe, SparesAsiosTimersNoSystemCall) {
  EXPECT_GE(asked_by(10, false), 10);
  EXPECT_EQ(asked_by(10, true), asked_by(10, false));
}

TEST(LoopProbe, RecordsWhileThereIsActivityAndThenRests) {
  boost::asio::io_context io;
  LoopProbe probe(io, true);
  probe.note_activity();
  io.run(); // returns, because without activity the probe waits for nothing
  EXPECT_EQ(probe.stalls().count(), 1U);
}

} // namespace
} // namespace server
