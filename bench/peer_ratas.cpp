// Juho Snellman's timer wheel (github.com/jsnell/ratas): eight levels of 256 slots. schedule()
// moves an armed timer, and leaves it alone if its slot stays the same. Measured by those who have
// its source: -DIDLEWHEEL_RATAS=FOLDER.
#include "bench/peers.hpp"

#include <timer-wheel.h>

namespace bench {
namespace {

class Ratas;

struct RatasNode : TimerEventInterface {
  void execute() override;
  Ratas* owner = nullptr;
};

class Ratas final : public PeerLoop<RatasNode> {
public:
  static constexpr const char* kName = "ratas";

  void introduce(Node& node) noexcept { node.owner = this; }
  void retire(Node& node) { disarm(node); }

  void arm(Node& node, Tick deadline, Ticks /*timeout*/) {
    wheel_.schedule(&node, deadline - wheel_.now());
  }
  void rearm(Node& node, Tick deadline, Ticks timeout) { arm(node, deadline, timeout); }
  void disarm(Node& node) { node.cancel(); }

  // advance() goes tick by tick. This is farther than any timer of the workloads that runs.
  Tick latest_tick() const { return wheel_.now() + (Tick{1} << 24); }

private:
  friend RatasNode;
  void turn(Tick now) override {
    if (now > wheel_.now()) {
      wheel_.advance(now - wheel_.now());
    }
  }

  TimerWheel wheel_;
};

void RatasNode::execute() { owner->run(*this); }

} // namespace

void add_ratas(std::vector<Benchmark>& all, const Replayed* replayed) {
  add_peer<Ratas>(all, replayed);
}

} // namespace bench
