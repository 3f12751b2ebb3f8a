// Reads the file that --config names. Each line has a flag without its dashes: `name = value`.
#pragma once

#include <string>
#include <vector>

namespace server {

struct ConfigEntry {
  std::string key;
  std::string value;
};

// Returns the entries in the order of the file. Comments, empty lines and quotes are those of TOML,
// as CLI11 reads it. Keys are not checked. Throws std::runtime_error with one line that names the
// file and what is wrong: it cannot be read, a line is not `name = value`, or it has a section, a
// list or a value of several lines.
std::vector<ConfigEntry> read_config_file(const std::string& path);

} // namespace server
