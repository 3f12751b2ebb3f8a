#include "server/options.hpp"

#include <CLI/CLI.hpp>
#include <boost/asio/ip/address.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <iostream>
#include <limits>
#include <string_view>
#include <utility>

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
  add_integer(app, "--max-connections", options.max_connections, 0, kMaxCount,
              "per thread; one more is answered 503 and closed; 0: no limit but descriptors", "0");
  add_bytes(app, "--max-header-bytes", options.max_header_bytes, 64, 1 << 30,
            "request line and header fields together; more is answered 431 (or 414)", "8KiB");
  add_integer(app, "--max-headers", options.max_headers, 1, kMaxCount,
              "header fields of a request; more is answered 431", "100");
  add_bytes(app, "--max-body-bytes", options.max_body_bytes, 0, 1ULL << 40,
            "body of a request; more is answered 413", "1MiB");
  for (const char* flag :
       {"--scenario", "--mixed-period", "--write-window-bytes", "--max-connections",
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
  for (const char* flag : {"--admin-address", "--admin-port", "--log-level"}) {
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
std::optional<std::string> contradiction(const Options& options) {
  if (options.timer_backend == "none" && options.scenario != Scenario::respond) {
    return "--scenario " + to_string(options.scenario) +
           ": its requests end by timing out, and --timer-backend none has no timeouts";
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

std::variant<Options, ExitCode> parse_options(int argc, const char* const* argv,
                                              std::span<const BackendName> backends) {
  Options options;
  options.timer_backend = default_backend(backends);
  CLI::App app{"An HTTP/1.1 server whose idle and request timeouts go through the timer structure "
               "of your choice."};
  app.name("idlewheel-server");
  app.set_version_flag("--version", "idlewheel-server " IDLEWHEEL_VERSION);
  bool list = false;
  app.add_flag("--list-timer-backends", list, "name, scheme and description of each, then exit");
  app.allow_extras(); // to name the first of them, instead of all in reverse
  add_listener_flags(app, options);
  add_timer_flags(app, options, backends);
  add_behaviour_flags(app, options);
  add_admin_flags(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) { // --help, --version
    app.exit(success);
    return kExitDone;
  } catch (const CLI::ParseError& error) {
    std::cerr << "idlewheel-server: " << on_one_line(error.what()) << '\n';
    return kExitUsage;
  }
  if (const auto extras = app.remaining(); !extras.empty()) {
    std::cerr << "idlewheel-server: unknown argument '" << on_one_line(extras.front())
              << "'; see --help\n";
    return kExitUsage;
  }
  if (list) {
    list_backends(backends);
    return kExitDone;
  }
  if (const auto problem = contradiction(options)) {
    std::cerr << "idlewheel-server: " << *problem << '\n';
    return kExitUsage;
  }
  return options;
}

} // namespace server
