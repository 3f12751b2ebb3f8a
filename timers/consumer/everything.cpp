// Every header of the library in use: each backend behind its service and its driver, the other
// facilities, and a trace. consumer_test.py compiles it under strict warnings.
#include <timers/asio/baseline.hpp>
#include <timers/asio/driver.hpp>
#include <timers/backends.hpp>
#include <timers/none.hpp>
#include <timers/trace.hpp>

#include <boost/asio/io_context.hpp>

#include <chrono>
#include <cstddef>
#include <ratio>

namespace {

template <class Facility> std::size_t use(Facility& facility) {
  typename Facility::Timer timer{facility, [] {}};
  const auto now = facility.now();
  timer.arm(facility.timeout(std::chrono::hours::max()), now);
  timer.rearm(facility.timeout(std::chrono::duration<float>(0.5F)), now);
  timer.rearm(facility.timeout(std::chrono::duration<double>(0.5)), now);
  timer.rearm(facility.timeout(std::chrono::duration<long double>(0.5L)), now);
  timer.rearm(facility.timeout(std::chrono::duration<unsigned char>(3)), now);
  timer.rearm(facility.timeout(std::chrono::duration<int, std::pico>(3)), now);
  const bool armed = timer.armed();
  facility.stop();
  return timer.disarm() == armed && facility.counters().late.sum().count() == 0 ? 1 : 0;
}

template <class Backend> std::size_t use_service() {
  timers::TimerService<Backend> service;
  std::size_t ran = 0;
  typename timers::TimerService<Backend>::Timer timer{service, [&ran] { ++ran; }};
  timer.rearm(9, service.now(), 2);
  timer.change_timeout(0, service.now());
  while (ran == 0) {
    service.run_due();
  }
  return service.check().empty() && service.next_deadline() == timers::kNever ? ran : 0;
}

} // namespace

int main() {
  boost::asio::io_context io{1};
  std::size_t used = 0;
  std::size_t backends = 0;
  timers::for_each_backend(timers::AllBackends{}, [&]<class Backend>() {
    timers::AsioDriver<Backend> driver{
        io.get_executor(),
        {.service = {.tick = std::chrono::milliseconds(2), .rearm = timers::Rearm::eager}}};
    used += use(driver) + use_service<Backend>();
    ++backends;
  });
  timers::AsioBaseline baseline{io.get_executor()};
  timers::None none{io.get_executor()};
  timers::TraceFile file("/dev/null", std::chrono::milliseconds(1));
  timers::AsioDriver<timers::DefaultBackend, timers::ToFile> traced{
      io.get_executor(), {}, timers::ToFile(file)};
  used += use(baseline) + use(none) + use(traced);
  return used == 2 * backends + 3 ? 0 : 1;
}
