// The process: workers, admin listener, signals.
#pragma once

#include "server/options.hpp"

namespace server {

// Serves until SIGTERM or SIGINT (a second one cuts what is left at once) and returns the exit
// code. A failure is reported in one line on stderr.
ExitCode serve(const Options& options);

} // namespace server
