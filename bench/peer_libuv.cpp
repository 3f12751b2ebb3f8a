// libuv: a binary heap of linked nodes. uv_timer_start() of a running timer takes it out and puts
// it in again. uv_timer_again() does the same, with the timeout left as it is.
#include "bench/peers.hpp"

#include <uv.h>

namespace bench {
namespace {

struct LibuvNode : uv_timer_t {};

class Libuv final : public PeerLoop<LibuvNode> {
public:
  static constexpr const char* kName = "libuv";

  Libuv() {
    uv_loop_init(&loop_);
    loop_.data = this;
  }
  ~Libuv() override { uv_loop_close(&loop_); }

  void introduce(Node& node) { uv_timer_init(&loop_, &node); }
  void retire(Node& node) {
    uv_close(reinterpret_cast<uv_handle_t*>(static_cast<uv_timer_t*>(&node)), nullptr);
    uv_run(&loop_, UV_RUN_NOWAIT); // the loop refers to the handle until this turn
  }

  void arm(Node& node, Tick deadline, Ticks /*timeout*/) {
    uv_timer_start(&node, on_due, deadline - now_, 0);
  }
  void rearm(Node& node, Tick deadline, Ticks timeout) { arm(node, deadline, timeout); }
  void disarm(Node& node) { uv_timer_stop(&node); }

private:
  static void on_due(uv_timer_t* handle) {
    static_cast<Libuv*>(handle->loop->data)->run(static_cast<Node&>(*handle));
  }

  void turn(Tick now) override {
    now_ = now;
    time_.set(now);
    uv_run(&loop_, UV_RUN_NOWAIT);
  }

  LoopTime time_;
  Tick now_ = 0;
  uv_loop_t loop_{};
};

} // namespace

void add_libuv(std::vector<Benchmark>& all, const Replayed* replayed) {
  add_peer<Libuv>(all, replayed);
}

} // namespace bench
