// Time as the event loops of others see it.
//
// They read the operating system's clock; nobody may wait for 120 s here. So the linker redirects
// clock_gettime() and the like, in what is linked into this program, to loop_time.cpp: as long as a
// LoopTime lives they tell its time, and otherwise the real one. Nothing that measures is affected:
// the stop-watch reads the clock from within libstdc++.so, which is not redirected, and clocks of
// processor time stay what they are.
//
// The same goes for a loop's wait: while a LoopTime lives, epoll_wait() finds nothing and
// epoll_ctl() does nothing, neither is a system call. Peers are measured by what their timers cost,
// and are spared what the kernel costs; their own code of a turn of the loop is charged.
#pragma once

#include "timers/backend.hpp"

#include <cassert>
#include <cstdint>

namespace bench {

class LoopTime {
public:
  // `offset_ns` after the edge of a tick: where within the tick the clock is read.
  // One at a time.
  explicit LoopTime(std::int64_t offset_ns = 0) noexcept : offset_ns_(offset_ns) {
    assert(is_real());
    set(0);
  }
  ~LoopTime() { now_ns_ = kReal; }
  LoopTime(const LoopTime&) = delete;
  LoopTime& operator=(const LoopTime&) = delete;

  void set(timers::Tick now) noexcept {
    now_ns_ = kStart_ns + offset_ns_ + static_cast<std::int64_t>(now) * 1'000'000;
  }

  static bool is_real() noexcept { return now_ns_ == kReal; }
  static std::int64_t now_ns() noexcept { return now_ns_; }

private:
  static constexpr std::int64_t kReal = -1;
  // Tick 0 is not 0 s, which libevent takes for "no time at all".
  static constexpr std::int64_t kStart_ns = 1'000'000'000'000;
  static inline std::int64_t now_ns_ = kReal; // there is one loop at a time

  const std::int64_t offset_ns_;
};

} // namespace bench
