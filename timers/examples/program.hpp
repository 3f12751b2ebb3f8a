// What all examples share beside what they are about: arguments, and one clear line about what went
// wrong.
#pragma once

#include <charconv>
#include <chrono>
#include <csignal>
#include <exception>
#include <iostream>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

namespace serving {

// The arguments of a program, by their position: the first is at 0. What is missing has a default.
class Arguments {
public:
  // Throws std::invalid_argument with the usage, unless there are `least` to `most` arguments.
  Arguments(int argc, char** argv, const char* usage, std::size_t least, std::size_t most)
      : given_(argv + 1, argv + argc) {
    if (given_.size() < least || given_.size() > most) {
      throw std::invalid_argument(std::string("usage: ") + usage);
    }
  }

  bool has(std::size_t at) const { return at < given_.size(); }
  std::string text(std::size_t at, const char* missing = "") const {
    return has(at) ? given_[at] : missing;
  }

  // 0 is any free port.
  unsigned short port(std::size_t at) const {
    return static_cast<unsigned short>(number(at, 7777, 0, 65535, "port"));
  }
  unsigned threads(std::size_t at, unsigned missing) const {
    return static_cast<unsigned>(number(at, missing, 1, 256, "number of threads"));
  }
  std::chrono::milliseconds duration(std::size_t at, std::chrono::milliseconds missing) const {
    return std::chrono::milliseconds(
        number(at, missing.count(), 1, 1'000'000'000, "number of milliseconds"));
  }

private:
  long number(std::size_t at, long missing, long least, long most, const char* what) const {
    if (!has(at)) {
      return missing;
    }
    const std::string text = given_[at];
    const char* const end = text.data() + text.size();
    long value = 0;
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || rest != end || value < least || value > most) {
      throw std::invalid_argument("'" + text + "' is not a " + what + " (" + std::to_string(least) +
                                  " to " + std::to_string(most) + ")");
    }
    return value;
  }

  std::span<char*> given_;
};

// When accepting fails, as it does while there is no descriptor left, a server says so once and
// pauses. To try again at once would take a whole core, and free no descriptor.
class AcceptFailures {
public:
  static constexpr std::chrono::milliseconds kPause{100};

  void say(const std::string& error) {
    if (!std::exchange(said_, true)) {
      std::cerr << "cannot accept a connection: " << error << "; trying again every "
                << kPause.count() << " ms" << std::endl;
    }
  }

private:
  bool said_ = false;
};

// Runs the main part of a program and returns its exit code. What it throws becomes one line on
// standard error, and the code 2 for a bad argument, else 1.
template <class Program> int run_program(Program program) {
  std::signal(SIGPIPE, SIG_IGN); // whoever reads our output may go
  try {
    program();
    return 0;
  } catch (const std::invalid_argument& error) {
    std::cerr << error.what() << std::endl;
    return 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return 1;
  }
}

} // namespace serving
