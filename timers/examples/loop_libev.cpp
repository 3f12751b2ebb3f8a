// An echo server on libev that closes a connection on which nothing came for ten seconds.
//   loop_libev [PORT] [IDLE_TIMEOUT_MS]      (default: 7777, on loopback, and 10000)
#include "echo.hpp"

#include <timers/hierarchical_wheel.hpp>
#include <timers/loops/libev.hpp>

#include <ev.h>

class LibevLoop {
public:
  using Timers = timers::LibevDriver<timers::HierarchicalWheel>;

  class Watch {
  public:
    Watch(LibevLoop& loop, int descriptor, timers::Action action)
        : loop_(loop.ev_.loop), action_(action) {
      ev_io_init(&io_, on_readable, descriptor, EV_READ);
      io_.data = this;
      ev_io_start(loop_, &io_);
    }
    ~Watch() { ev_io_stop(loop_, &io_); }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

  private:
    static void on_readable(struct ev_loop*, ev_io* io, int) {
      timers::Action action = static_cast<Watch*>(io->data)->action_; // outlives the watch
      action();
    }

    struct ev_loop* const loop_;
    const timers::Action action_;
    ev_io io_;
  };

  Timers& timers() { return timers_; }
  void run() { ev_run(ev_.loop, 0); }
  void stop() { ev_break(ev_.loop, EVBREAK_ALL); }

private:
  struct Ev {
    ~Ev() { ev_loop_destroy(loop); }
    struct ev_loop* const loop = ev_loop_new(EVFLAG_AUTO);
  } ev_;
  Timers timers_{ev_.loop};
};

int main(int argc, char** argv) { return echo::run<LibevLoop>(argc, argv, "loop_libev"); }
