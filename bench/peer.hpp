// What a peer is: timers of someone else's event loop, in the shape that the workloads drive.
//
//   kName                          as in the tables
//   struct Node                    the handle of one timer, embedded as its documentation says
//   introduce(node), retire(node)  before its first use and after its last; not timed
//   arm, rearm, disarm             as of a backend, each by the fastest way that the public
//                                  interface has; inlined into the workload, no call is added
//   pass(now)                      one turn of the loop at that tick
//
// Callbacks go straight to the workload. Each peer has a file of its own, because the headers of
// libev and libevent do not go together.
#pragma once

#include "bench/catalogue.hpp"
#include "bench/loop_time.hpp"

#include <malloc.h>

#include <vector>

namespace bench {

// The half that all peers share.
template <class PeerNode> class CallsBack {
public:
  using Node = PeerNode;

  CallsBack() = default;
  CallsBack(const CallsBack&) = delete;
  CallsBack& operator=(const CallsBack&) = delete;

  template <class Run> void run_until(Tick now, Run&& run) {
    context_ = &run;
    run_ = [](void* context, Node& node) {
      (*static_cast<std::remove_reference_t<Run>*>(context))(node);
    };
    pass(now);
    run_ = [](void* /*context*/, Node& /*node*/) {};
  }

  // As a backend does it, where nothing is expected to come due.
  void advance(Tick now) {
    run_until(now, [this](Node& node) { due_.push_back(&node); });
  }
  Node* pop_expired() {
    if (due_.empty()) {
      return nullptr;
    }
    Node* node = due_.back();
    due_.pop_back();
    return node;
  }

protected:
  virtual ~CallsBack() = default;
  virtual void pass(Tick now) = 0;
  void run(Node& node) const { run_(context_, node); }

private:
  void* context_ = nullptr;
  void (*run_)(void*, Node&) = [](void* /*context*/, Node& /*node*/) {};
  std::vector<Node*> due_;
};

// The handles that ServerLife wants. Eager: lazy re-arming is not in any peer's interface.
template <Peer P> class PeerService {
public:
  class Timer;
  PeerService(timers::ServiceConfig /*config*/, VirtualTime::Clock clock) : clock_(clock) {}

  timers::Pass run_due(std::size_t /*budget*/) {
    peer_.run_until(clock_.time->tick(), [](auto& node) {
      timers::run_action(static_cast<typename Timer::Handle&>(node).action);
    });
    return timers::Pass::done;
  }

private:
  VirtualTime::Clock clock_;
  P peer_;
};

template <Peer P> class PeerService<P>::Timer {
public:
  Timer(PeerService& service, timers::Action action) : peer_(service.peer_), handle_(action) {
    peer_.introduce(handle_);
  }
  ~Timer() { peer_.retire(handle_); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void arm(Ticks timeout, timers::Instant now) { peer_.arm(handle_, now.ceil + timeout, timeout); }
  void rearm(Ticks timeout, timers::Instant now) {
    peer_.rearm(handle_, now.ceil + timeout, timeout);
  }
  void disarm() { peer_.disarm(handle_); }

private:
  friend class PeerService;
  struct Handle : P::Node {
    explicit Handle(timers::Action act) : action(act) {}
    timers::Action action;
  };
  P& peer_;
  Handle handle_;
};

// Peers do not all say what comes next, so tick by tick, as far as any timeout reaches.
template <Peer P> bool run_dry(PeerService<P>& service, VirtualTime& time, std::size_t /*timers*/) {
  for (Ticks i = 0; i <= kIdleTimeout; ++i) {
    time.set(time.tick() + 1);
    service.run_due(0);
  }
  return true;
}

// The handle, and what arming it has the peer allocate, of 10 000.
template <Peer P> std::size_t bytes_per_timer() {
  constexpr std::size_t kTimers = 10'000;
  TimerTable<P> table(kTimers);
  P peer;
  const Introduced<P> introduced(peer, table);
  const auto allocated = [] {
    const auto info = mallinfo2();
    return info.uordblks + info.hblkhd;
  };
  const std::size_t before = allocated();
  for (std::size_t id = 0; id < kTimers; ++id) {
    peer.arm(table[id], kIdleTimeout, kIdleTimeout);
  }
  return sizeof(typename P::Node) + (allocated() - before) / kTimers;
}

template <Peer P> Subject peer() { return {P::kName, Side::peer, bytes_per_timer<P>}; }

template <Peer P> void add_peer(std::vector<Benchmark>& all, const Replayed* replayed) {
  if (replayed != nullptr) {
    return add_replay<PeerService<P>>(all, peer<P>(), timers::Rearm::eager, *replayed);
  }
  add_operations<P>(all, peer<P>());
  add_eager_lives<PeerService<P>>(all, peer<P>());
}

} // namespace bench
