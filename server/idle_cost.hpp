// What the chosen timers cost the server while its connections are idle.
#pragma once

#include "server/options.hpp"
#include "timers/backend.hpp"

#include <cstddef>
#include <optional>
#include <string>

namespace server {

// Idle wake-ups per second of one thread above which the server warns: some percent of a core.
inline constexpr double kManyIdleWakeUps = 2000;

// How many idle connections a thread is assumed to have when --max-connections does not say.
inline constexpr std::size_t kAssumedConnections = 1000;

// One line that says how often idle connections will wake a thread, and what to change. Nothing
// when that is at most kManyIdleWakeUps a second. `backend` is that of options.timer_backend.
std::optional<std::string> idle_cost_warning(const Options& options,
                                             const timers::BackendInfo& backend);

} // namespace server
