// An echo server on bare epoll that closes a connection on which nothing came for ten seconds.
//   loop_epoll [PORT] [IDLE_TIMEOUT_MS]      (default: 7777, on loopback, and 10000)
#include "echo.hpp"

#include <timers/hierarchical_wheel.hpp>
#include <timers/loops/timerfd.hpp>

#include <sys/epoll.h>

class EpollLoop {
public:
  using Timers = timers::TimerfdDriver<timers::HierarchicalWheel>;

  class Watch {
  public:
    Watch(EpollLoop& loop, int descriptor, timers::Action action)
        : loop_(loop), descriptor_(descriptor), action_(action) {
      epoll_event wanted{};
      wanted.events = EPOLLIN;
      wanted.data.ptr = this;
      echo::checked(epoll_ctl(loop_.epoll_, EPOLL_CTL_ADD, descriptor, &wanted), "epoll_ctl");
    }
    ~Watch() { epoll_ctl(loop_.epoll_, EPOLL_CTL_DEL, descriptor_, nullptr); }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

    timers::Action action() const { return action_; }

  private:
    EpollLoop& loop_;
    const int descriptor_;
    const timers::Action action_;
  };

  Timers& timers() { return timers_; }

  // Takes one event at a time: an action may destroy the watch of the next.
  void run() {
    while (!stopped_) {
      epoll_event event{};
      if (epoll_wait(epoll_, &event, 1, -1) == 1) {
        timers::Action action = static_cast<Watch*>(event.data.ptr)->action();
        action();
      }
    }
  }
  void stop() { stopped_ = true; }

private:
  const echo::Descriptor epoll_{echo::checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")};
  Timers timers_;
  Watch due_{*this, timers_.descriptor(), [this] { timers_.on_readable(); }};
  bool stopped_ = false;
};

int main(int argc, char** argv) { return echo::run<EpollLoop>(argc, argv, "loop_epoll"); }
