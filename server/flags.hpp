// Flags of a command line, by the kind of their value: durations, sizes, numbers, choices, texts.
// CLI11 does the parsing. Values that its own checks would accept (1.5 for a whole number, an
// overflow) are refused here.
#pragma once

#include "server/quantity.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace server {

// Each flag's default, as --help shows it, is the value that its target has when the flag is added.
// A bad value throws CLI::ValidationError from the application's parse(), with one line that names
// the flag, the value and what it should be. Targets must outlive the application.
class Flags {
public:
  explicit Flags(CLI::App& app) : app_(app) {}

  // Puts the flags that are added next in this group of --help.
  void group(const char* name) { app_.option_defaults()->group(name); }

  // A time with its unit; zero is refused unless `zero_allowed`.
  void duration(const std::string& flag, std::chrono::nanoseconds& target, const std::string& help,
                bool zero_allowed = true) {
    add(flag, help, "DURATION", format_duration(target),
        [&target, zero_allowed](const std::string& text) {
          const auto value = parse_duration(text);
          if (!value || (value->count() == 0 && !zero_allowed)) {
            return std::string("is not a duration ") + (zero_allowed ? "" : "above zero ") +
                   "(a whole number and a unit: ns us ms s min h, e.g. 500ms)";
          }
          target = *value;
          return std::string();
        });
  }

  // A size from `min` to `max` bytes.
  template <class Integer>
  void bytes(const std::string& flag, Integer& target, std::uint64_t min, std::uint64_t max,
             const std::string& help) {
    add(flag, help, "BYTES", format_bytes(target), [&target, min, max](const std::string& text) {
      const auto value = parse_bytes(text, max);
      if (!value || *value < min) {
        return "is not a size (a whole number, with KiB, MiB or GiB if you like) from " +
               std::to_string(min) + " to " + std::to_string(max) + " bytes";
      }
      target = static_cast<Integer>(*value);
      return std::string();
    });
  }

  // A whole number from `min` to `max`.
  template <class Integer>
  void integer(const std::string& flag, Integer& target, std::uint64_t min, std::uint64_t max,
               const std::string& help) {
    add_integer(flag, target, min, max, help, std::to_string(target));
  }

  // The same, but without the flag there is no value.
  template <class Integer>
  void integer(const std::string& flag, std::optional<Integer>& target, std::uint64_t min,
               std::uint64_t max, const std::string& help) {
    add_integer(flag, target, min, max, help, "none");
  }

  // One of the choices, by the names that to_string() gives them.
  template <class Choice>
  void choice(const std::string& flag, Choice& target, const std::vector<Choice>& choices,
              const std::string& help) {
    std::string names;
    for (const Choice value : choices) {
      names += (names.empty() ? "" : "|") + std::string(to_string(value));
    }
    add(flag, help, names, std::string(to_string(target)),
        [&target, choices, names](const std::string& text) {
          const auto named = [&text](Choice value) { return to_string(value) == text; };
          const auto at = std::ranges::find_if(choices, named);
          if (at == choices.end()) {
            return "is not one of " + names;
          }
          target = *at;
          return std::string();
        });
  }

  // A text. `check` returns what is wrong with it, or an empty text; without `check` any text is
  // good.
  void text(const std::string& flag, std::string& target, const std::string& type,
            const std::string& help, std::string (*check)(const std::string&) = nullptr) {
    add(flag, help, type, target, [&target, check](const std::string& text) {
      std::string wrong = check != nullptr ? check(text) : std::string();
      if (wrong.empty()) {
        target = text;
      }
      return wrong;
    });
  }

  // A flag without a value: given, it sets the target to true.
  void yes(const std::string& flag, bool& target, const std::string& help) {
    app_.add_flag(flag, target, help);
  }

  // A value of any other kind. `store` keeps it and returns an empty text, or says what is wrong
  // with it: "is not ...".
  void add(const std::string& flag, const std::string& help, const std::string& type,
           const std::string& default_text, std::function<std::string(const std::string&)> store) {
    app_.add_option_function<std::string>(
            flag,
            [flag, store = std::move(store)](const std::string& text) {
              if (text.empty()) {
                throw CLI::ValidationError(flag, "it needs a value");
              }
              if (const std::string wrong = store(text); !wrong.empty()) {
                throw CLI::ValidationError(flag, "'" + text + "' " + wrong);
              }
            },
            help)
        ->type_name(type)
        ->default_str(default_text);
  }

private:
  template <class Target>
  void add_integer(const std::string& flag, Target& target, std::uint64_t min, std::uint64_t max,
                   const std::string& help, const std::string& default_text) {
    add(flag, help, "N", default_text, [&target, min, max](const std::string& text) {
      const auto value = parse_integer(text, max);
      if (!value || *value < min) {
        return "is not a whole number from " + std::to_string(min) + " to " + std::to_string(max);
      }
      assign(target, *value);
      return std::string();
    });
  }

  template <class Integer> static void assign(Integer& target, std::uint64_t value) {
    target = static_cast<Integer>(value);
  }
  template <class Integer> static void assign(std::optional<Integer>& target, std::uint64_t value) {
    target = static_cast<Integer>(value);
  }

  CLI::App& app_;
};

} // namespace server
