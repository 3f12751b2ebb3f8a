#include "server/options.hpp"

#include <CLI/CLI.hpp>
#include <boost/asio/ip/address.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <fstream>
#include <iostream>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

namespace server {
namespace {

using std::chrono::nanoseconds;

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

constexpr std::array<Unit, 6> kTimeUnits{{{"ns", 1},
                                          {"us", 1'000},
                                          {"ms", 1'000'000},
                                          {"s", 1'000'000'000},
                                          {"min", 60'000'000'000},
                                          {"h", 3'600'000'000'000}}};
constexpr std::array<Unit, 5> kByteUnits{
    {{"", 1}, {"B", 1}, {"KiB", 1ULL << 10}, {"MiB", 1ULL << 20}, {"GiB", 1ULL << 30}}};

// A whole number with one of the units behind it, at most `max`; nothing when it is not that.
std::optional<std::uint64_t> parse_quantity(std::string_view text, std::span<const Unit> units,
                                            std::uint64_t max) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{}) {
    return std::nullopt;
  }
  const std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  for (const Unit& known : units) {
    if (known.name == unit && number <= max / known.factor) {
      return number * known.factor;
    }
  }
  // Zero needs no unit.
  return unit.empty() && number == 0 ? std::optional<std::uint64_t>(0) : std::nullopt;
}

constexpr auto kMaxDuration = static_cast<std::uint64_t>(nanoseconds::max().count());

CLI::Option* add_duration(CLI::App& app, const std::string& flag, nanoseconds& target,
                          const std::string& help, const std::string& default_text,
                          bool zero_allowed) {
  return app
      .add_option_function<std::string>(
          flag,
          [&target, flag, zero_allowed](const std::string& text) {
            const auto ns = parse_quantity(text, kTimeUnits, kMaxDuration);
            if (!ns || (*ns == 0 && !zero_allowed)) {
              throw CLI::ValidationError(
                  flag, "'" + text + "' is not a duration " + (zero_allowed ? "" : "above zero ") +
                            "(a whole number and a unit: ns us ms s min h, e.g. 500ms)");
            }
            target = nanoseconds(static_cast<std::int64_t>(*ns));
          },
          help)
      ->type_name("DURATION")
      ->default_str(default_text);
}

template <class Integer>
void add_bytes(CLI::App& app, const std::string& flag, Integer& target, std::uint64_t min,
               std::uint64_t max, const std::string& help, const std::string& default_text) {
  app.add_option_function<std::string>(
         flag,
         [&target, flag, min, max](const std::string& text) {
           const auto bytes = parse_quantity(text, kByteUnits, max);
           if (!bytes || *bytes < min) {
             throw CLI::ValidationError(flag, "'" + text +
                                                  "' is not a size (a whole number, with KiB, MiB "
                                                  "or GiB if you like) from " +
                                                  std::to_string(min) + " to " +
                                                  std::to_string(max) + " bytes");
           }
           target = static_cast<Integer>(*bytes);
         },
         help)
      ->type_name("BYTES")
      ->default_str(default_text);
}

// A whole number in [min, max]; CLI11's own range check would take 1.5 or overflow silently.
template <class Integer>
void add_integer(CLI::App& app, const std::string& flag, Integer& target, std::uint64_t min,
                 std::uint64_t max, const std::string& help, const std::string& default_text) {
  app.add_option_function<std::string>(
         flag,
         [&target, flag, min, max](const std::string& text) {
           std::uint64_t value = 0;
           const char* const end = text.data() + text.size();
           const auto [rest, error] = std::from_chars(text.data(), end, value);
           if (error != std::errc{} || rest != end || value < min || value > max) {
             throw CLI::ValidationError(flag, "'" + text + "' is not a whole number from " +
                                                  std::to_string(min) + " to " +
                                                  std::to_string(max));
           }
           target = static_cast<Integer>(value);
         },
         help)
      ->type_name("N")
      ->default_str(default_text);
}

template <class Choice>
using Choices = std::vector<std::pair<std::string, Choice>>; // the first is the default

template <class Choice>
void add_choice(CLI::App& app, const char* flag, Choice& target, const Choices<Choice>& choices,
                const char* help) {
  std::string names;
  for (const auto& [name, value] : choices) {
    names += (names.empty() ? "" : "|") + name;
  }
  app.add_option_function<std::string>(
         flag,
         [&target, flag, choices, names](const std::string& text) {
           const auto at = std::ranges::find(choices, text, &Choices<Choice>::value_type::first);
           if (at == choices.end()) {
             throw CLI::ValidationError(flag, "'" + text + "' is not one of " + names);
           }
           target = at->second;
         },
         help)
      ->type_name(names)
      ->default_str(choices.front().first);
}

std::string default_backend(std::span<const BackendName> backends) {
  return std::ranges::find_if(backends, &BackendName::is_default)->name;
}

std::string one_of(std::span<const BackendName> backends) {
  std::string names;
  for (const BackendName& backend : backends) {
    names += (names.empty() ? "" : ", ") + backend.name;
  }
  return names;
}

std::function<std::string(std::string&)> is_address() {
  return [](std::string& text) {
    boost::system::error_code error;
    boost::asio::ip::make_address(text, error);
    return error ? "'" + text + "' is not an IP address" : std::string();
  };
}

void add_listener_flags(CLI::App& app, Options& options) {
  constexpr auto kGroup = "Listening";
  app.add_option("--address", options.address, "IPv4 or IPv6 address to listen on")
      ->check(CLI::Validator(is_address(), "", ""))
      ->capture_default_str()
      ->group(kGroup);
  add_integer(app, "--port", options.port, 0, 65535, "port to listen on; 0: any free one", "4242");
  app.add_flag("--reuse-port", options.reuse_port,
               "share the port with other processes that do the same (SO_REUSEPORT)");
  add_integer(app, "--threads", options.threads, 1, 1024,
              "threads, each with its own listener and timers; they share nothing", "1");
  add_integer(app, "--backlog", options.backlog, 1, std::numeric_limits<int>::max(),
              "connections the kernel holds until they are accepted", "4096");
  for (const char* flag : {"--port", "--reuse-port", "--threads", "--backlog"}) {
    app.get_option(flag)->group(kGroup);
  }
}

void add_timer_flags(CLI::App& app, Options& options, std::span<const BackendName> backends) {
  constexpr auto kGroup = "Timers";
  app.add_option_function<std::string>(
         "--timer-backend",
         [&options, backends](const std::string& name) {
           for (const BackendName& backend : backends) {
             if (backend.name == name) {
               options.timer_backend = name;
               return;
             }
           }
           throw CLI::ValidationError("--timer-backend", "there is no timer backend '" + name +
                                                             "'; there are " + one_of(backends));
         },
         "which structure keeps the timers; see --list-timer-backends")
      ->type_name("NAME")
      ->default_str(options.timer_backend);
  add_choice(app, "--rearm", options.rearm,
             {{"lazy", timers::Rearm::lazy}, {"eager", timers::Rearm::eager}},
             "lazy: a timer that moves later is only noted; eager: it moves every time");
  add_duration(app, "--tick", options.tick, "granularity of the timers", "1ms", false);
  add_duration(app, "--idle-timeout", options.idle_timeout,
               "close a connection on which no byte has moved for so long; 0: never", "120s", true);
  add_duration(app, "--request-timeout", options.request_timeout,
               "close a connection whose request is not answered in full so long after its first "
               "byte; long downloads to slow readers need a larger one; 0: never",
               "30s", true);
  add_duration(app, "--linger-timeout", options.linger_timeout,
               "how long a closing connection waits for its peer to read the last response and "
               "close; 0: not at all",
               "2s", true);
  add_duration(app, "--drain-timeout", options.drain_timeout,
               "after SIGTERM, how long requests that were received may take", "10s", true);
  for (const char* flag : {"--timer-backend", "--rearm", "--tick", "--idle-timeout",
                           "--request-timeout", "--linger-timeout", "--drain-timeout"}) {
    app.get_option(flag)->group(kGroup);
  }
}

void add_behaviour_flags(CLI::App& app, Options& options) {
  constexpr auto kGroup = "Behaviour and limits";
  add_choice(
      app, "--scenario", options.scenario,
      {{"respond", Scenario::respond},
       {"increasing-timeout", Scenario::increasing_timeout},
       {"mixed", Scenario::mixed}},
      "respond: answer at once; increasing-timeout: never answer, request k times out after "
      "k ms; mixed: one request in --mixed-period is never answered, the j-th of these times "
      "out after j ms (k and j count per thread)");
  constexpr auto kMaxCount = std::numeric_limits<std::uint32_t>::max();
  add_integer(app, "--mixed-period", options.mixed_period, 1, kMaxCount, "see --scenario mixed",
              "10");
  add_bytes(app, "--write-window-bytes", options.write_window_bytes, 0, 1 << 30,
            "write pipelined responses together up to so many bytes; 0: a write per response",
            "8KiB");
  add_integer(app, "--write-window-responses", options.write_window_responses, 0, kMaxCount,
              "write so many pipelined responses together at most; 0: no limit", "0");
  add_duration(app, "--write-window-time", options.write_window_time,
               "hold a response back so long for others to share its write; 0: not at all", "0us",
               true);
  add_integer(app, "--max-connections", options.max_connections, 0, kMaxCount,
              "per thread; one more is answered 503 and closed; 0: no limit but descriptors", "0");
  add_bytes(app, "--max-header-bytes", options.max_header_bytes, 64, 1 << 30,
            "request line and header fields together; more is answered 431 (or 414)", "8KiB");
  add_integer(app, "--max-headers", options.max_headers, 1, kMaxCount,
              "header fields of a request; more is answered 431", "100");
  add_bytes(app, "--max-body-bytes", options.max_body_bytes, 0, 1ULL << 40,
            "body of a request; more is answered 413", "1MiB");
  for (const char* flag : {"--scenario", "--mixed-period", "--write-window-bytes",
                           "--write-window-responses", "--write-window-time", "--max-connections",
                           "--max-header-bytes", "--max-headers", "--max-body-bytes"}) {
    app.get_option(flag)->group(kGroup);
  }
}

void add_admin_flags(CLI::App& app, Options& options) {
  constexpr auto kGroup = "Observing";
  app.add_option("--admin-address", options.admin_address,
                 "IP address for /healthz, /readyz, /stats and /metrics")
      ->check(CLI::Validator(is_address(), "", ""))
      ->capture_default_str();
  add_integer(app, "--admin-port", options.admin_port, 0, 65535,
              "their port; 0: any free one; without it there is no such listener", "none");
  app.add_option("--log-level", options.log_level, "logs go to stderr")
      ->check(CLI::Validator(
          [](std::string& level) {
            const bool known =
                level == "off" || spdlog::level::from_str(level) != spdlog::level::off;
            return known ? std::string()
                         : "'" + level +
                               "' is none of trace, debug, info, warning, error, critical, off";
          },
          "", ""))
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--access-log",
         [&options](const std::string& file) { options.access_log = file == "off" ? "" : file; },
         "append a line for each response to this file; off: none")
      ->type_name("FILE")
      ->default_str("off");
  app.add_option("--timer-trace", options.timer_trace,
                 "record what is asked of the timers in this file, for timer-bench --replay; with "
                 "one thread and the default backend")
      ->type_name("FILE");
  for (const char* flag :
       {"--admin-address", "--admin-port", "--log-level", "--access-log", "--timer-trace"}) {
    app.get_option(flag)->group(kGroup);
  }
}

// What a user typed may hold line ends and escape sequences.
std::string on_one_line(std::string text) {
  std::ranges::replace_if(
      text, [](unsigned char c) { return std::iscntrl(c) != 0; }, '?');
  return text;
}

void list_backends(std::span<const BackendName> backends) {
  for (const BackendName& backend : backends) {
    std::cout << backend.name << '\t' << backend.scheme << '\t' << backend.summary << '\n';
  }
}

// What no flag can check by itself.
std::optional<std::string> contradiction(const Options& options,
                                         std::span<const BackendName> backends) {
  if (options.timer_backend == "none" && options.scenario != Scenario::respond) {
    return "--scenario " + to_string(options.scenario) +
           ": its requests end by timing out, and --timer-backend none has no timeouts";
  }
  if (!options.timer_trace.empty() && options.threads != 1) {
    return "--timer-trace: a trace is of one thread";
  }
  const std::string recorded = default_backend(backends);
  if (!options.timer_trace.empty() && options.timer_backend != recorded) {
    return "--timer-trace: only " + recorded +
           " is recorded; what is asked of the timers is the same with each";
  }
  return std::nullopt;
}

} // namespace

std::string to_string(Scenario scenario) {
  switch (scenario) {
  case Scenario::respond:
    return "respond";
  case Scenario::increasing_timeout:
    return "increasing-timeout";
  case Scenario::mixed:
    return "mixed";
  }
  return "";
}

namespace {

// The flags and where their values go. Not to be moved: the flags point into it.
class CommandLine {
public:
  explicit CommandLine(std::span<const BackendName> backends) : backends_(backends) {
    options_.timer_backend = default_backend(backends);
    app_.name("idlewheel-server");
    app_.set_version_flag("--version", "idlewheel-server " IDLEWHEEL_VERSION);
    app_.add_flag("--list-timer-backends", list_,
                  "name, scheme and description of each, then exit");
    app_.add_option(
            "--config", config_,
            "a file of the flags below, one 'name = value' a line without the dashes; a flag "
            "that is given here, too, counts")
        ->check(CLI::Validator(
            [](std::string& file) { return file.empty() ? "it needs a file's name" : ""; }, "", ""))
        ->type_name("FILE");
    app_.allow_extras(); // to name the first of them, instead of all in reverse
    app_.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    add_listener_flags(app_, options_);
    add_timer_flags(app_, options_, backends);
    add_behaviour_flags(app_, options_);
    add_admin_flags(app_, options_);
  }
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  // What is wrong with the arguments; nothing when they are fine. Throws CLI::Success for --help
  // and --version.
  std::optional<std::string> parse(const std::vector<std::string>& arguments) {
    try {
      app_.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    } catch (const CLI::Success&) {
      throw;
    } catch (const CLI::ParseError& error) {
      return error.what();
    }
    if (const auto extras = app_.remaining(); !extras.empty()) {
      return "unknown argument '" + extras.front() + "'; see --help";
    }
    return std::nullopt;
  }

  void explain(const CLI::Success& success) { app_.exit(success); }
  const Options& options() const { return options_; }
  bool list() const { return list_; }
  const std::string& config() const { return config_; }

  // The flags that the file gives, as they would be typed. Throws std::runtime_error that names the
  // file, and the key, that is bad.
  std::vector<std::string> read_config() const {
    std::vector<std::string> flags;
    for (const CLI::ConfigItem& item : items()) {
      const std::string flag = "--" + item.fullname();
      const bool is_one = item.inputs.size() == 1 && app_.get_option_no_throw(flag) != nullptr &&
                          flag != "--config" && flag != "--help" && flag != "--version" &&
                          flag != "--list-timer-backends";
      if (!is_one) {
        throw std::runtime_error(config_ + ": there is no key '" + item.fullname() +
                                 "', or it has not one value; a key is a flag without its dashes");
      }
      flags.push_back(flag + "=" + item.inputs.front());
      if (const auto problem = CommandLine(backends_).parse({flags.back()})) {
        throw std::runtime_error(config_ + ": " + *problem);
      }
    }
    return flags;
  }

private:
  std::vector<CLI::ConfigItem> items() const {
    std::istringstream text(checked_text());
    try {
      return CLI::ConfigTOML().from_config(text);
    } catch (const CLI::Error& error) {
      throw std::runtime_error(config_ + ": " + error.what());
    }
  }

  // The file, once each of its lines is one that CLI11 takes for what it looks like: it skips very
  // short ones, and does without the end of a list.
  std::string checked_text() const {
    std::ifstream file(config_);
    std::string text;
    std::size_t number = 0;
    for (std::string line; std::getline(file, line); text += line + '\n') {
      ++number;
      const std::string bare = CLI::detail::trim_copy(line);
      if (bare.empty() || bare.front() == '#' || bare.front() == ';') {
        continue;
      }
      const std::string where = config_ + ", line " + std::to_string(number) + ": ";
      if (bare.front() == '[') {
        throw std::runtime_error(where + "there are no sections, and it has " + bare);
      }
      const std::size_t equals = bare.find('=');
      if (equals == std::string::npos || equals == 0 || equals + 1 == bare.size()) {
        throw std::runtime_error(where + "'" + bare + "' is not of the form key = value");
      }
      const std::string value = CLI::detail::trim_copy(bare.substr(equals + 1));
      if (value.front() == '[' || value.starts_with("\"\"\"") || value.starts_with("'''")) {
        throw std::runtime_error(where + "'" + CLI::detail::trim_copy(bare.substr(0, equals)) +
                                 "' takes one value, on the same line");
      }
    }
    if (!file.eof()) {
      throw std::runtime_error(config_ + ": cannot be read");
    }
    return text;
  }

  CLI::App app_{"An HTTP/1.1 server whose idle and request timeouts go through the timer structure "
                "of your choice."};
  std::span<const BackendName> backends_;
  Options options_;
  std::string config_;
  bool list_ = false;
};

ExitCode complain(const std::string& problem) {
  std::cerr << "idlewheel-server: " << on_one_line(problem) << '\n';
  return kExitUsage;
}

} // namespace

std::variant<Options, ExitCode> parse_options(int argc, const char* const* argv,
                                              std::span<const BackendName> backends) {
  std::vector<std::string> typed(argv + 1, argv + argc);
  CommandLine first(backends);
  try {
    if (const auto problem = first.parse(typed)) {
      return complain(*problem);
    }
  } catch (const CLI::Success& success) { // --help, --version
    first.explain(success);
    return kExitDone;
  }
  if (first.list()) {
    list_backends(backends);
    return kExitDone;
  }
  CommandLine both(backends);
  try {
    std::vector<std::string> all;
    if (!first.config().empty()) {
      all = first.read_config();
    }
    all.insert(all.end(), typed.begin(), typed.end());
    if (const auto problem = both.parse(all)) {
      return complain(*problem);
    }
  } catch (const std::runtime_error& error) {
    return complain(error.what());
  }
  if (const auto problem = contradiction(both.options(), backends)) {
    return complain(*problem);
  }
  return both.options();
}

} // namespace server
