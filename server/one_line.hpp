// What goes to standard error is one line, whatever a user has typed.
#pragma once

#include <algorithm>
#include <cctype>
#include <string>

namespace server {

// Replaces control characters, because what a user typed may hold line ends and escape sequences.
inline std::string on_one_line(std::string text) {
  std::ranges::replace_if(
      text, [](unsigned char c) { return std::iscntrl(c) != 0; }, '?');
  return text;
}

} // namespace server
