// The peers: timers of other libraries' event loops, measured beside ours. A peer has the shape
// that the workloads drive:
//
//   kName                          its name in the tables
//   struct Node                    the handle of one timer, embedded as its documentation says
//   introduce(node), retire(node)  called before the first use of a timer and after its last; not
//                                  timed
//   arm, rearm, disarm             as those of a backend, each by the fastest way that the public
//                                  interface has. They are inlined into the workload, so that they
//                                  add no call.
//   turn(now)                      one turn of the loop at that tick
//
// Callbacks go straight to the workload. Each peer has a file of its own, peer_NAME.cpp, because
// one file cannot include the headers of both libev and libevent.
#pragma once

#include "bench/catalogue.hpp"
#include "bench/loop_time.hpp"

#include <malloc.h>

#include <vector>

namespace bench {

// The part that all peers share: handing each timer that runs to the workload.
template <class PeerNode> class PeerLoop {
public:
  using Node = PeerNode;

  PeerLoop() = default;
  PeerLoop(const PeerLoop&) = delete;
  PeerLoop& operator=(const PeerLoop&) = delete;

  template <class Run> void run_until(Tick now, Run&& run) {
    context_ = &run;
    run_ = [](void* context, Node& node) {
      (*static_cast<std::remove_reference_t<Run>*>(context))(node);
    };
    turn(now);
    run_ = [](void* /*context*/, Node& /*node*/) {};
  }

  // The interface of a backend, for workloads in which nothing should come due.
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
  virtual ~PeerLoop() = default;
  virtual void turn(Tick now) = 0;
  void run(Node& node) const { run_(context_, node); }

private:
  void* context_ = nullptr;
  void (*run_)(void*, Node&) = [](void* /*context*/, Node& /*node*/) {};
  std::vector<Node*> due_;
};

// The service and the handles that ServerLife needs, over a peer. Always eager, because no peer has
// lazy re-arming in its interface.
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

// As run_dry() of workload.hpp. Not all peers say when the next timer is due, so this goes tick by
// tick, as far as the longest timeout reaches.
template <Peer P> bool run_dry(PeerService<P>& service, VirtualTime& time, std::size_t /*timers*/) {
  for (Ticks i = 0; i <= kIdleTimeout; ++i) {
    time.set(time.tick() + 1);
    service.run_due(0);
  }
  return true;
}

// Bytes per timer, measured on 10 000: the handle, and what the peer allocates when it is armed.
template <Peer P> std::size_t bytes_per_timer() {
  constexpr std::size_t kTimers = 10'000;
  ScatteredTimers<P> all(kTimers);
  P peer;
  const Introduced<P> introduced(peer, all);
  const auto allocated = [] {
    const auto info = mallinfo2();
    return info.uordblks + info.hblkhd;
  };
  const std::size_t before = allocated();
  for (std::size_t id = 0; id < kTimers; ++id) {
    peer.arm(all[id], kIdleTimeout, kIdleTimeout);
  }
  return sizeof(typename P::Node) + (allocated() - before) / kTimers;
}

template <Peer P> Subject peer_subject() { return {P::kName, Side::peer, bytes_per_timer<P>}; }

// `replayed`: a trace to play in place of all other benchmarks, or null. The same holds below.
template <Peer P> void add_peer(std::vector<Benchmark>& all, const Replayed* replayed) {
  if (replayed != nullptr) {
    return add_replay<PeerService<P>>(all, peer_subject<P>(), timers::Rearm::eager, *replayed);
  }
  add_operations<P>(all, peer_subject<P>());
  add_eager_lives<PeerService<P>>(all, peer_subject<P>());
  add_tails<P>(all, peer_subject<P>());
  add_tail_pass<PeerService<P>>(all, peer_subject<P>(), kWholeBurst); // peers have no budget
}

void add_libuv(std::vector<Benchmark>& all, const Replayed* replayed);
void add_libev(std::vector<Benchmark>& all, const Replayed* replayed);
// Adds two rows: without and with common timeouts.
void add_libevent(std::vector<Benchmark>& all, const Replayed* replayed);
void add_asio(std::vector<Benchmark>& all, const Replayed* replayed);
// These two have no Debian package. CMakeLists.txt says how to have them measured.
void add_ratas(std::vector<Benchmark>& all, const Replayed* replayed);
void add_timeout(std::vector<Benchmark>& all, const Replayed* replayed);

inline void add_peers(std::vector<Benchmark>& all, const Replayed* replayed) {
  add_libuv(all, replayed);
  add_libev(all, replayed);
  add_libevent(all, replayed);
  add_asio(all, replayed);
#ifdef BENCH_RATAS
  add_ratas(all, replayed);
#endif
#ifdef BENCH_TIMEOUT
  add_timeout(all, replayed);
#endif
}

} // namespace bench
