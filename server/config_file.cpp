#include "server/config_file.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string_view>

namespace server {
namespace {

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n\v\f";
  text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
  return text.substr(0, text.find_last_not_of(kBlanks) + 1);
}

// Says what is wrong with a line. Empty when it is an entry, a comment or blank.
std::string complaint(std::string_view line) {
  line = trim(line);
  if (line.empty() || line.front() == '#' || line.front() == ';') {
    return "";
  }
  if (line.front() == '[') {
    return "there are no sections, and it has " + std::string(line);
  }
  const std::size_t equals = line.find('=');
  if (equals == std::string_view::npos || equals == 0 || equals + 1 == line.size()) {
    return "'" + std::string(line) + "' is not of the form key = value";
  }
  const std::string_view value = trim(line.substr(equals + 1));
  if (value.front() == '[' || value.starts_with("\"\"\"") || value.starts_with("'''")) {
    return "'" + std::string(trim(line.substr(0, equals))) + "' takes one value, on the same line";
  }
  return "";
}

// Returns the text of the file after a check of each line, because CLI11 is too lenient: it skips
// very short lines, and accepts a list without its end.
std::string checked_text(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  std::size_t number = 0;
  for (std::string line; std::getline(file, line); text += line + '\n') {
    ++number;
    if (const std::string wrong = complaint(line); !wrong.empty()) {
      throw std::runtime_error(path + ", line " + std::to_string(number) + ": " + wrong);
    }
  }
  if (!file.eof()) {
    throw std::runtime_error(path + ": cannot be read");
  }
  return text;
}

std::vector<CLI::ConfigItem> parse(const std::string& path) {
  std::istringstream text(checked_text(path));
  try {
    return CLI::ConfigTOML().from_config(text);
  } catch (const CLI::Error& error) {
    throw std::runtime_error(path + ": " + error.what());
  }
}

} // namespace

std::vector<ConfigEntry> read_config_file(const std::string& path) {
  std::vector<ConfigEntry> entries;
  for (const CLI::ConfigItem& item : parse(path)) {
    if (item.inputs.size() != 1) {
      throw std::runtime_error(path + ": the key '" + item.fullname() + "' has not one value");
    }
    entries.push_back({item.fullname(), item.inputs.front()});
  }
  return entries;
}

} // namespace server
