// An echo server on libuv that closes a connection on which nothing came for ten seconds.
//   loop_libuv [PORT] [IDLE_TIMEOUT_MS]      (default: 7777, on loopback, and 10000)
#include "echo.hpp"

#include <timers/hierarchical_wheel.hpp>
#include <timers/loops/libuv.hpp>

#include <uv.h>

class LibuvLoop {
public:
  using Timers = timers::LibuvDriver<timers::HierarchicalWheel>;

  class Watch {
  public:
    Watch(LibuvLoop& loop, int descriptor, timers::Action action)
        : handle_(new Handle{{}, action}) {
      uv_poll_init(&loop.uv_.loop, &handle_->poll, descriptor);
      handle_->poll.data = handle_;
      uv_poll_start(&handle_->poll, UV_READABLE,
                    [](uv_poll_t* poll, int, int) { static_cast<Handle*>(poll->data)->action(); });
    }
    ~Watch() {
      uv_close(reinterpret_cast<uv_handle_t*>(&handle_->poll),
               [](uv_handle_t* handle) { delete static_cast<Handle*>(handle->data); });
    }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

  private:
    // It outlives the watch, until libuv has closed it.
    struct Handle {
      uv_poll_t poll;
      timers::Action action;
    };
    Handle* const handle_;
  };

  Timers& timers() { return timers_; }
  void run() { uv_run(&uv_.loop, UV_RUN_DEFAULT); }
  void stop() { uv_stop(&uv_.loop); }

private:
  struct Uv {
    Uv() { uv_loop_init(&loop); }
    ~Uv() {
      uv_run(&loop, UV_RUN_DEFAULT); // handles that were closed go
      uv_loop_close(&loop);
    }
    uv_loop_t loop;
  } uv_;
  Timers timers_{&uv_.loop};
};

int main(int argc, char** argv) { return echo::run<LibuvLoop>(argc, argv, "loop_libuv"); }
