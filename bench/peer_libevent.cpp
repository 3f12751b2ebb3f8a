// libevent, twice. A binary heap of pointers; event_add() of a pending timeout moves it in place.
// And the same with common timeouts, which its manual recommends where many timers share a few
// timeouts: a list for each, whose first timer is in the heap.
//
// event_add() reads the clock, unless it is called from within a callback, as most are in a server.
// That costs some 2 ns here, where the clock is a variable.
#include "bench/peer.hpp"
#include "bench/peers.hpp"

#include <event2/event.h>
#include <event2/event_struct.h>

#include <vector>

namespace bench {
namespace {

struct LibeventNode : event {};

timeval to_timeval(Ticks timeout) {
  return {static_cast<time_t>(timeout / 1000), static_cast<suseconds_t>(timeout % 1000 * 1000)};
}

class Libevent : public CallsBack<LibeventNode> {
public:
  static constexpr const char* kName = "libevent";

  Libevent() : base_(event_base_new()) {}
  ~Libevent() override { event_base_free(base_); }

  void introduce(Node& node) { event_assign(&node, base_, -1, 0, on_due, &node); }
  void retire(Node& node) { disarm(node); }

  void arm(Node& node, Tick deadline, Ticks timeout) {
    const timeval after = to_timeval(timeout);
    add(node, deadline - timeout, &after);
  }
  void rearm(Node& node, Tick deadline, Ticks timeout) { arm(node, deadline, timeout); }
  void disarm(Node& node) { event_del(&node); }

protected:
  // The workloads arm some timers as of a tick to come.
  void add(Node& node, Tick now, const timeval* timeout) {
    time_.set(now);
    event_add(&node, timeout);
  }

  event_base* base() const { return base_; }

private:
  static void on_due(evutil_socket_t /*descriptor*/, short /*events*/, void* node) {
    running_->run(*static_cast<Node*>(node));
  }

  void pass(Tick now) override {
    time_.set(now);
    running_ = this;
    event_base_loop(base_, EVLOOP_ONCE | EVLOOP_NONBLOCK);
  }

  static inline Libevent* running_ = nullptr; // callbacks are told of the timer only
  LoopTime time_;
  event_base* base_;
};

class LibeventCommon final : public Libevent {
public:
  static constexpr const char* kName = "libevent-common";

  void arm(Node& node, Tick deadline, Ticks timeout) {
    add(node, deadline - timeout, common(timeout));
  }
  void rearm(Node& node, Tick deadline, Ticks timeout) { arm(node, deadline, timeout); }

private:
  // A server would have these at hand, by name.
  const timeval* common(Ticks timeout) {
    const timeval*& known = common_[timeout];
    if (known == nullptr) {
      const timeval duration = to_timeval(timeout);
      known = event_base_init_common_timeout(base(), &duration);
    }
    return known;
  }

  std::vector<const timeval*> common_ = std::vector<const timeval*>(kIdleTimeout + 1);
};

} // namespace

void add_libevent(std::vector<Benchmark>& all, const Replayed* replayed) {
  add_peer<Libevent>(all, replayed);
  if (replayed != nullptr) {
    return; // whose timeouts may be too many, as below
  }

  // At most 256 timeouts can be common, so only where there are few.
  const Subject common = peer<LibeventCommon>();
  const auto add = [&](const char* operation, auto make) {
    all.push_back({common, operation, make});
  };
  add("arm", maker<Arm<LibeventCommon>>(Timeouts::fixed));
  add("rearm", maker<Rearm<LibeventCommon>>(Timeouts::fixed));
  add("rearm-mixed", maker<Rearm<LibeventCommon>>(Timeouts::mixed));
  add("expire-all-at-once", maker<Expire<LibeventCommon>>(Expiry::all_at_once));
  add_eager_lives<PeerService<LibeventCommon>>(all, common);
}

} // namespace bench
