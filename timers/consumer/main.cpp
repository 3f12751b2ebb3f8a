// What somebody does who takes the library: one timer, which must not run early.
#include <timers/asio/driver.hpp>
#include <timers/hierarchical_wheel.hpp>

#include <boost/asio/io_context.hpp>

#include <chrono>

namespace {

using Timers = timers::AsioDriver<timers::HierarchicalWheel>;

bool runs_in_time() {
  using namespace std::chrono_literals;
  boost::asio::io_context io{1};
  Timers timers{io.get_executor()};
  bool ran = false;
  Timers::Timer timer{timers, [&ran] { ran = true; }};
  const auto armed = std::chrono::steady_clock::now();
  timer.arm(timers.timeout(5ms), timers.now());
  while (!ran && io.run_one() > 0) {
  }
  return ran && std::chrono::steady_clock::now() - armed >= 5ms;
}

} // namespace

int main() { return runs_in_time() ? 0 : 1; }
