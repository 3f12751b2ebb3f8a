// The benchmarks of tails, for the floor and for all backends.

#include "bench/catalogue.hpp"
#include "timers/backends.hpp"

namespace bench {

void add_own_tails(std::vector<Benchmark>& all) {
  add_tails<Floor>(all, subject<Floor>(Side::floor));
  add_tail_passes<timers::TimerService<ArrayFloor, VirtualTime::Clock>>(
      all, subject<Floor>(Side::floor));
  timers::for_each_backend(timers::AllBackends{}, [&]<class Backend>() {
    add_tails<Backend>(all, subject<Backend>(Side::ours));
    add_tail_passes<timers::TimerService<Backend, VirtualTime::Clock>>(
        all, subject<Backend>(Side::ours));
  });
}

} // namespace bench
