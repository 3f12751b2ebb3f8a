// The file of --config: a flag in each line, `name = value`, without the dashes.
#pragma once

#include <string>
#include <vector>

namespace server {

struct ConfigEntry {
  std::string key;
  std::string value;
};

// The entries in the file's order; comments, empty lines and quotes are CLI11's (TOML). Whether a
// key is a flag is not looked at. Throws std::runtime_error with one line that names the file and
// what is wrong in it: it cannot be read, a line is not `name = value`, a section, a list, a value
// of several lines.
std::vector<ConfigEntry> read_config_file(const std::string& path);

} // namespace server
