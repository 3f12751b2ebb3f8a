// What --version prints: the release, and the commit that the program was built from.
#pragma once

#include <string>

namespace server {

std::string version();

} // namespace server
