// The list of peers: timers that people use today, measured beside ours.
#pragma once

#include "bench/catalogue.hpp"

#include <vector>

namespace bench {

void add_libuv(std::vector<Benchmark>& all);
void add_libev(std::vector<Benchmark>& all);
void add_libevent(std::vector<Benchmark>& all); // two rows: without and with common timeouts
void add_asio(std::vector<Benchmark>& all);

inline void add_peers(std::vector<Benchmark>& all) {
  add_libuv(all);
  add_libev(all);
  add_libevent(all);
  add_asio(all);
}

} // namespace bench
