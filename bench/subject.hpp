// Whose timers a benchmark measures.
#pragma once

#include <cstddef>
#include <string>

namespace bench {

enum class Side { floor, ours, peer };

struct Subject {
  std::string name;
  Side side;
  std::size_t (*bytes_per_timer)(); // the node and what grows with their number
};

} // namespace bench
