// Every backend without Boost.Asio. consumer_test.py compiles it without exceptions, and without
// run-time type information. With an argument it asks for what the library refuses.
#include <timers/backends.hpp>
#include <timers/timer_service.hpp>
#include <timers/trace.hpp>

#include <chrono>
#include <cstddef>

namespace {

template <class Backend> std::size_t runs(std::chrono::nanoseconds tick) {
  timers::TimerService<Backend> service{{.tick = tick}};
  std::size_t ran = 0;
  typename timers::TimerService<Backend>::Timer timer{service, [&ran] { ++ran; }};
  timer.rearm(service.timeout(std::chrono::microseconds(100)), service.now());
  while (ran == 0) {
    service.run_due();
  }
  return ran;
}

} // namespace

int main(int argc, char** /*argv*/) {
  const std::chrono::nanoseconds tick(argc > 1 ? 0 : 1000);
  std::size_t ran = 0;
  std::size_t backends = 0;
  timers::for_each_backend(timers::AllBackends{}, [&]<class Backend>() {
    ran += runs<Backend>(tick);
    ++backends;
  });
  return ran == backends ? 0 : 1;
}
