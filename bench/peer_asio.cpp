// Boost.Asio's timer: a binary heap of (deadline, timer) pairs. Re-arming is expires_after() and a
// new async_wait(), as Beast does it; the handler of the cancelled wait runs in the loop's next
// turn.
//
// The server's backend `asio` (timers/asio/baseline.hpp) is the same timer. Here its handler is the
// cheapest there is, and its type differs from that of steady_timer only in that it reads the clock
// of the benchmark.
#include "bench/peers.hpp"

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>
#include <optional>

namespace bench {
namespace {

namespace asio = boost::asio;

struct LoopClock : std::chrono::steady_clock {
  static time_point now() noexcept {
    return time_point(std::chrono::nanoseconds(LoopTime::now_ns()));
  }
};
using AsioTimer = asio::basic_waitable_timer<LoopClock, asio::wait_traits<LoopClock>,
                                             asio::io_context::executor_type>;

struct AsioNode {
  std::optional<AsioTimer> timer;
};

class AsioLoop final : public PeerLoop<AsioNode> {
public:
  static constexpr const char* kName = "asio";

  void introduce(Node& node) { node.timer.emplace(context_.get_executor()); }
  void retire(Node& node) { node.timer.reset(); }

  void arm(Node& node, Tick deadline, Ticks /*timeout*/) {
    node.timer->expires_after(std::chrono::milliseconds(deadline - now_));
    node.timer->async_wait([this, &node](boost::system::error_code error) {
      if (!error) {
        run(node);
      }
    });
  }
  void rearm(Node& node, Tick deadline, Ticks timeout) { arm(node, deadline, timeout); }
  void disarm(Node& node) { node.timer->cancel(); }

  // Runs the handlers of cancelled waits.
  void finish_disarms() { context_.poll(); }

private:
  void turn(Tick now) override {
    now_ = now;
    time_.set(now);
    context_.poll();
  }

  LoopTime time_;
  Tick now_ = 0;
  asio::io_context context_{BOOST_ASIO_CONCURRENCY_HINT_UNSAFE}; // no locks: one thread
  asio::executor_work_guard<asio::io_context::executor_type> work_{context_.get_executor()};
};

} // namespace

void add_asio(std::vector<Benchmark>& all, const Replayed* replayed) {
  add_peer<AsioLoop>(all, replayed);
}

} // namespace bench
