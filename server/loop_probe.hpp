// How long a worker's loop keeps events waiting. While there is traffic a timer of the kernel's
// runs every 100 ms, and how late its handler runs is how long something that became ready then had
// to wait. Without traffic nothing runs.
#pragma once

#include "server/listener.hpp"
#include "timers/histogram.hpp"

#include <chrono>

namespace server {

class LoopProbe {
public:
  // One that is not enabled does nothing.
  LoopProbe(boost::asio::io_context& io, bool enabled) : timer_(io), idle_(enabled) {}

  // To be called when the loop has done something. A branch, mostly.
  void note_activity() {
    active_ = true;
    if (idle_) {
      idle_ = false;
      probe();
    }
  }

  const timers::Histogram& stalls() const noexcept { return stalls_; }

private:
  static constexpr auto kPeriod = std::chrono::milliseconds(100);

  void probe() {
    active_ = false;
    timer_.expires_after(kPeriod);
    timer_.async_wait([this](Error cancelled) {
      if (cancelled) {
        return;
      }
      stalls_.record(std::chrono::steady_clock::now() - timer_.expiry());
      if (active_) {
        probe();
      } else {
        idle_ = true;
      }
    });
  }

  OsTimer timer_;
  timers::Histogram stalls_;
  bool active_ = false;
  bool idle_; // and enabled: the next activity starts the probe
};

} // namespace server
