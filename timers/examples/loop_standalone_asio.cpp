// An echo server on standalone Asio that closes a connection on which nothing came for ten seconds.
//   loop_standalone_asio [PORT] [IDLE_TIMEOUT_MS]      (default: 7777, on loopback, and 10000)
#include "echo.hpp"

#include <timers/hierarchical_wheel.hpp>
#include <timers/loops/asio.hpp>

#include <asio.hpp>

#include <memory>
#include <system_error>

class StandaloneAsioLoop {
public:
  using Timers = timers::StandaloneAsioDriver<timers::HierarchicalWheel>;

  class Watch {
  public:
    Watch(StandaloneAsioLoop& loop, int descriptor, timers::Action action)
        : descriptor_(loop.io_, descriptor), action_(action) {
      wait();
    }
    ~Watch() { descriptor_.release(); } // whoever made it closes it
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

  private:
    void wait() {
      descriptor_.async_wait(descriptor_.wait_read,
                             [this, alive = std::weak_ptr(alive_)](std::error_code error) {
                               if (error || alive.expired()) {
                                 return;
                               }
                               timers::Action action = action_; // outlives the watch
                               action();
                               if (!alive.expired()) {
                                 wait();
                               }
                             });
    }

    asio::posix::stream_descriptor descriptor_;
    const timers::Action action_;
    const std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
  };

  Timers& timers() { return timers_; }
  void run() { io_.run(); }
  void stop() { io_.stop(); }

private:
  asio::io_context io_{1};
  Timers timers_{io_.get_executor()};
};

int main(int argc, char** argv) {
  return echo::run<StandaloneAsioLoop>(argc, argv, "loop_standalone_asio");
}
