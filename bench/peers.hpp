// The list of peers: timers that people use today, measured beside ours.
#pragma once

#include "bench/catalogue.hpp"

#include <vector>

namespace bench {

void add_libuv(std::vector<Benchmark>& all);

inline void add_peers(std::vector<Benchmark>& all) {
  add_libuv(all);
}

} // namespace bench
