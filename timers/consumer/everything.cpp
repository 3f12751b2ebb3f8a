// The library in use: each backend behind its service and its drivers, the other facilities, what
// is made of timers, a trace, and the drop-in layer. consumer_test.py compiles it under strict
// warnings.
#include <timers/asio/baseline.hpp>
#include <timers/asio/beast.hpp>
#include <timers/asio/cancel_after.hpp>
#include <timers/asio/driver.hpp>
#include <timers/asio/net.hpp>
#include <timers/asio/remote_timer.hpp>
#include <timers/backends.hpp>
#include <timers/loops/timerfd.hpp>
#include <timers/none.hpp>
#include <timers/periodic_timer.hpp>
#include <timers/rearm_all.hpp>
#include <timers/timer_pool.hpp>
#include <timers/timer_statistics.hpp>
#include <timers/trace.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <array>
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

// A periodic timer that runs once, a timer with an id, two timers that are moved together, and the
// text of what all of them did.
template <class Facility> std::size_t use_what_is_made_of_timers(Facility& facility) {
  timers::PeriodicTimer<Facility> periodic{facility, [] {}};
  periodic.start(std::chrono::microseconds(1500), facility.now());
  periodic.change_period(std::chrono::milliseconds(3));
  timers::TimerPool<Facility> pool{facility};
  const timers::TimerId id =
      pool.arm(facility.timeout(std::chrono::seconds(1)), facility.now(), timers::Action([] {}));
  typename Facility::Timer first{facility, [] {}};
  typename Facility::Timer second{facility, [] {}};
  typename Facility::Timer* const both[] = {&first, &second};
  timers::rearm_all(both, facility.timeout(std::chrono::seconds(2)), facility.now());
  const timers::TimerReading reading = timers::read_timers(facility);
  timers::PrometheusText metrics;
  metrics.add(reading.counters, {{"of", "everything"}});
  const bool four_are_armed = timers::TimerStatistics({}, reading).live == 4;
  return periodic.stop() && pool.disarm(id) && !pool.disarm(id) && four_are_armed &&
                 !metrics.text().empty() && periodic.missed() == 0
             ? 1
             : 0;
}

// A stream to itself whose read times out, a timer, an operation with a timeout, and a timer of all
// threads: each ends once.
std::size_t use_drop_in() {
  using namespace std::chrono_literals;
  namespace beast = timers::beast;
  namespace net = timers::net;
  net::io_context io;
  net::ip::tcp::acceptor acceptor(io, {net::ip::address_v4::loopback(), 0});
  beast::tcp_stream stream(io);
  std::size_t ended = 0;
  std::array<char, 8> bytes{};
  stream.expires_after(10s);
  stream.async_connect(acceptor.local_endpoint(), [&](beast::error_code failed) {
    stream.expires_after(1ms);
    stream.async_read_some(net::buffer(bytes), [&, failed](beast::error_code error, std::size_t) {
      ended += !failed && error == beast::error::timeout ? 1U : 0U;
    });
  });
  net::steady_timer timer(io, 10s);
  timer.rearm_after(1ms);
  timer.async_wait([&](beast::error_code error) { ended += error ? 0U : 1U; });
  net::steady_timer long_timer(io, 10s);
  timers::deadline deadline(io.get_executor());
  long_timer.async_wait(timers::with_timeout(deadline, 1ms, [&](beast::error_code error) {
    ended += error == net::error::timed_out ? 1U : 0U;
  }));
  timers::remote_timer remote(io.get_executor(), [&] { ++ended; });
  remote.rearm_after(1ms);
  const auto end = std::chrono::steady_clock::now() + 30s;
  while (ended != 4 && std::chrono::steady_clock::now() < end) {
    io.run_for(10ms);
    io.restart();
  }
  return ended;
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
    timers::TimerService<Backend> service;
    timers::TimerfdDriver<Backend> on_epoll;
    used += use_what_is_made_of_timers(driver) + use_what_is_made_of_timers(service) +
            use_what_is_made_of_timers(on_epoll);
    used += use(driver) + use(on_epoll) + use_service<Backend>();
    ++backends;
  });
  timers::AsioBaseline baseline{io.get_executor()};
  timers::None none{io.get_executor()};
  timers::TraceFile file("/dev/null", std::chrono::milliseconds(1));
  timers::AsioDriver<timers::DefaultBackend, timers::ToFile> traced{
      io.get_executor(), {}, timers::ToFile(file)};
  used += use(baseline) + use(none) + use(traced);
  return used == 6 * backends + 3 && use_drop_in() == 4 ? 0 : 1;
}
