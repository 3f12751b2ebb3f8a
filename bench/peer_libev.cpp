// libev: a 4-ary heap of (deadline, handle) pairs. ev_timer_again() moves a running timer in place.
// The manual recommends it for timeouts of inactivity.
#include "bench/peers.hpp"

#include <ev.h>

namespace bench {
namespace {

struct LibevNode : ev_timer {};

class Libev final : public PeerLoop<LibevNode> {
public:
  static constexpr const char* kName = "libev";

  Libev() : loop_(ev_loop_new(EVFLAG_AUTO)) { ev_set_userdata(loop_, this); }
  ~Libev() override { ev_loop_destroy(loop_); }

  void introduce(Node& node) { ev_timer_init(&node, on_due, 0., 0.); }
  void retire(Node& node) { disarm(node); }

  void arm(Node& node, Tick deadline, Ticks /*timeout*/) {
    ev_timer_set(&node, until(deadline), 0.);
    ev_timer_start(loop_, &node);
  }
  void rearm(Node& node, Tick deadline, Ticks /*timeout*/) {
    node.repeat = until(deadline);
    ev_timer_again(loop_, &node);
  }
  void disarm(Node& node) { ev_timer_stop(loop_, &node); }

private:
  // libev runs a timer once its time has passed, not when it is reached, and calculates in floating
  // point. So the clock that it reads stands in the middle of a tick, and deadlines lie on the
  // edges.
  static constexpr std::int64_t kMiddle_ns = 500'000;
  double until(Tick deadline) const {
    return static_cast<double>(static_cast<std::int64_t>(deadline - now_)) * 1e-3 - 0.5e-3;
  }

  static void on_due(struct ev_loop* loop, ev_timer* timer, int /*events*/) {
    if (timer->repeat != 0) {
      ev_timer_stop(loop, timer); // ev_timer_again() made it repeat
    }
    static_cast<Libev*>(ev_userdata(loop))->run(static_cast<Node&>(*timer));
  }

  void turn(Tick now) override {
    now_ = now;
    time_.set(now);
    ev_run(loop_, EVRUN_NOWAIT);
  }

  LoopTime time_{kMiddle_ns};
  Tick now_ = 0;
  struct ev_loop* loop_;
};

} // namespace

void add_libev(std::vector<Benchmark>& all, const Replayed* replayed) {
  add_peer<Libev>(all, replayed);
}

} // namespace bench
