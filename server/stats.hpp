// What /stats and /metrics say, as text.
#pragma once

#include "server/counters.hpp"

#include <string>

namespace server {

// One JSON object; cpu_ns and mono_ns are read in here, so take the snapshot just before.
std::string stats_json(const std::string& backend, const std::string& rearm,
                       const Snapshot& snapshot);

// Prometheus text exposition format.
std::string metrics_text(const std::string& backend, const std::string& rearm,
                         const Snapshot& snapshot);

} // namespace server
