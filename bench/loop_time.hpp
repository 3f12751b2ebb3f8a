// The time that event loops of other libraries see.
//
// These loops read the clock of the operating system, and no benchmark can wait for 120 s. So the
// linker redirects clock_gettime() and the like to loop_time.cpp, in everything that is linked into
// this program. While a LoopTime lives, these functions tell its time; otherwise they tell the real
// one. Measuring is not affected: the stop-watch reads the clock inside libstdc++.so, which is not
// redirected, and clocks of processor time always stay real.
//
// The loop's wait is redirected too: while a LoopTime lives, epoll_wait() finds nothing and
// epoll_ctl() does nothing, and neither makes a system call. So a peer is charged for its timers
// and for its own code of a turn of the loop, but not for the kernel.
#pragma once

#include "timers/backend.hpp"

#include <cassert>
#include <cstdint>

namespace bench {

class LoopTime {
public:
  // The clock stands `offset_ns` after the edge of a tick. Requires that no other LoopTime lives.
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
  // Tick 0 lies long after 0 s, because libevent takes 0 s for "no time is known".
  static constexpr std::int64_t kStart_ns = 1'000'000'000'000;
  static inline std::int64_t now_ns_ = kReal; // static: the redirected functions have no object

  const std::int64_t offset_ns_;
};

} // namespace bench
