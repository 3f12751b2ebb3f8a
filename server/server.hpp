// The process: workers, admin listener, signals.
#pragma once

#include "server/options.hpp"

namespace server {

// Serves until a signal asks for the end (signals.hpp); a second one cuts what is left at once.
// Returns the exit code. A failure is reported in one line on stderr. To be called after
// prepare_signals().
ExitCode serve(const Options& options);

} // namespace server
