#include "server/version.hpp"

#include "commit.hpp" // commit.cmake writes it, in the folder of the build

#include <string>

namespace server {

std::string version() {
  return "idlewheel-server " IDLEWHEEL_VERSION " (commit " IDLEWHEEL_COMMIT ")";
}

} // namespace server
