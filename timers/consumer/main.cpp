// Every backend, as somebody who installed the library would use one.
#include <timers/asio_driver.hpp>
#include <timers/backends.hpp>

#include <boost/asio/io_context.hpp>

#include <chrono>

namespace {

template <class Backend> bool runs_in_time() {
  using namespace std::chrono_literals;
  boost::asio::io_context io{1};
  timers::AsioDriver<Backend> timers{io.get_executor()};
  bool early = true;
  bool ran = false;
  typename timers::AsioDriver<Backend>::Timer timer{timers, [&ran] { ran = true; }};
  const auto armed = std::chrono::steady_clock::now();
  timer.arm(timers.timeout(5ms), timers.now());
  while (!ran && io.run_one() > 0) {
  }
  early = std::chrono::steady_clock::now() - armed < 5ms;
  return ran && !early;
}

} // namespace

int main() {
  bool all = true;
  timers::for_each_backend(timers::AllBackends{},
                           [&]<class Backend>() { all = all && runs_in_time<Backend>(); });
  return all ? 0 : 1;
}
