// William Ahern's timeout.c (github.com/wahern/timeout): a tickless wheel of four levels of 64
// slots, with a bitmap for each. timeouts_add() moves an armed timer. Measured by those who have
// its source: -DIDLEWHEEL_TIMEOUT=FOLDER.
#include "bench/peers.hpp"

extern "C" {
#include <timeout.h>
}

namespace bench {
namespace {

struct TimeoutNode : timeout {};

class WahernTimeout final : public PeerLoop<TimeoutNode> {
public:
  static constexpr const char* kName = "timeout";

  WahernTimeout() {
    int error = 0;
    wheel_ = timeouts_open(0, &error);
  }
  ~WahernTimeout() override { timeouts_close(wheel_); }

  void introduce(Node& node) { timeout_init(&node, TIMEOUT_ABS); }
  void retire(Node& node) { disarm(node); }

  void arm(Node& node, Tick deadline, Ticks /*timeout*/) { timeouts_add(wheel_, &node, deadline); }
  void rearm(Node& node, Tick deadline, Ticks timeout) { arm(node, deadline, timeout); }
  void disarm(Node& node) { timeouts_del(wheel_, &node); }

private:
  void turn(Tick now) override {
    timeouts_update(wheel_, now);
    while (timeout* const due = timeouts_get(wheel_)) {
      run(static_cast<Node&>(*due));
    }
  }

  timeouts* wheel_;
};

} // namespace

void add_timeout(std::vector<Benchmark>& all, const Replayed* replayed) {
  add_peer<WahernTimeout>(all, replayed);
}

} // namespace bench
