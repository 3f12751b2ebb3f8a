// Every backend and a loop on poll(), without Boost.Asio. consumer_test.py compiles it without
// exceptions, and without run-time type information. With an argument it asks for what the library
// refuses.
#include <timers/backends.hpp>
#include <timers/loops/timerfd.hpp>
#include <timers/timer_service.hpp>
#include <timers/trace.hpp>

#include <chrono>
#include <cstddef>

#include <poll.h>

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

std::size_t runs_from_a_loop() {
  timers::TimerfdDriver<timers::DefaultBackend> driver;
  std::size_t ran = 0;
  decltype(driver)::Timer timer{driver, [&ran] { ++ran; }};
  timer.rearm(driver.timeout(std::chrono::milliseconds(1)), driver.now());
  pollfd due{driver.descriptor(), POLLIN, 0};
  while (ran == 0 && poll(&due, 1, -1) == 1) {
    driver.on_readable();
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
  return ran == backends && runs_from_a_loop() == 1 ? 0 : 1;
}
