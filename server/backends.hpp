// The backends by the name users type: the library's list, Asio's timers, and none.
#pragma once

#include "server/options.hpp"
#include "server/worker.hpp"

#include <memory>
#include <string_view>
#include <vector>

namespace server {

std::vector<BackendName> backend_names();

// Requires one of those names. Throws as make_worker() does.
std::unique_ptr<Worker> make_worker(std::string_view backend, WorkerConfig config);

} // namespace server
