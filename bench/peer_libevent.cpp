// libevent, in two rows. `libevent` is a binary heap of pointers; event_add() of a pending event
// moves it in place. `libevent-common` has common timeouts, which the manual recommends where many
// timers share a few timeouts: each has a list, whose first timer is in the heap.
//
// event_add() reads the clock unless a callback calls it, as most callers in a server are. Reading
// it costs about 2 ns here, where the clock is a variable.
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

class Libevent : public PeerLoop<LibeventNode> {
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
  // Some workloads arm timers as if a later tick had come, so each call sets the time.
  void add(Node& node, Tick now, const timeval* timeout) {
    time_.set(now);
    event_add(&node, timeout);
  }

  event_base* base() const { return base_; }

private:
  static void on_due(evutil_socket_t /*descriptor*/, short /*events*/, void* node) {
    running_->run(*static_cast<Node*>(node));
  }

  void turn(Tick now) override {
    time_.set(now);
    running_ = this;
    event_base_loop(base_, EVLOOP_ONCE | EVLOOP_NONBLOCK);
  }

  static inline Libevent* running_ = nullptr; // a callback gets only the timer
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
  // A server would keep each of its few common timeouts in a variable.
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
    return; // a trace may have too many different timeouts, see below
  }

  // At most 256 timeouts can be common, so only workloads with few timeouts are measured.
  const Subject common = peer_subject<LibeventCommon>();
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
