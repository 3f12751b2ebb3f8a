// The list of peers: timers that people use today, measured beside ours. `replayed`: a trace to
// play in place of everything else, or none.
#pragma once

#include "bench/catalogue.hpp"

#include <vector>

namespace bench {

void add_libuv(std::vector<Benchmark>& all, const Replayed* replayed);
void add_libev(std::vector<Benchmark>& all, const Replayed* replayed);
void add_libevent(std::vector<Benchmark>& all,
                  const Replayed* replayed); // two rows: without and with common timeouts
void add_asio(std::vector<Benchmark>& all, const Replayed* replayed);

inline void add_peers(std::vector<Benchmark>& all, const Replayed* replayed) {
  add_libuv(all, replayed);
  add_libev(all, replayed);
  add_libevent(all, replayed);
  add_asio(all, replayed);
}

} // namespace bench
