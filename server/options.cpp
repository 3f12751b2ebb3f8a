#include "server/options.hpp"

#include "server/config_file.hpp"
#include "server/flags.hpp"
#include "server/one_line.hpp"

#include <CLI/CLI.hpp>
#include <boost/asio/ip/address.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iostream>
#include <limits>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace server {
namespace {

constexpr auto kMaxCount = std::numeric_limits<std::uint32_t>::max();

std::string default_backend(std::span<const BackendName> backends) {
  return std::ranges::find_if(backends, &BackendName::is_default)->name;
}

std::string check_address(const std::string& text) {
  boost::system::error_code error;
  boost::asio::ip::make_address(text, error);
  return error ? "is not an IP address" : "";
}

std::string check_log_level(const std::string& text) {
  const bool known = text == "off" || spdlog::level::from_str(text) != spdlog::level::off;
  return known ? "" : "is none of trace, debug, info, warning, error, critical, off";
}

void add_listener_flags(Flags& flags, Options& options) {
  flags.group("Listening");
  flags.text("--address", options.address, "IP", "IPv4 or IPv6 address to listen on",
             check_address);
  flags.integer("--port", options.port, 0, 65535, "port to listen on; 0: any free one");
  flags.yes("--reuse-port", options.reuse_port,
            "share the port with other processes that do the same (SO_REUSEPORT)");
  flags.integer("--threads", options.threads, 1, 1024,
                "threads, each with its own listener and timers; they share nothing");
  flags.integer("--backlog", options.backlog, 1, std::numeric_limits<int>::max(),
                "connections the kernel holds until they are accepted");
  flags.choice("--io", options.io, {Io::epoll, Io::io_uring, Io::automatic},
               "how sockets are read and written; auto: io_uring where it is allowed");
}

void add_timer_flags(Flags& flags, Options& options, std::span<const BackendName> backends) {
  flags.group("Timers");
  flags.add("--timer-backend", "which structure keeps the timers; see --list-timer-backends",
            "NAME", options.timer_backend, [&options, backends](const std::string& name) {
              std::string known;
              for (const BackendName& backend : backends) {
                if (backend.name == name) {
                  options.timer_backend = name;
                  return std::string();
                }
                known += (known.empty() ? "" : ", ") + backend.name;
              }
              return "is no timer backend; there are " + known;
            });
  flags.choice("--rearm", options.rearm, {timers::Rearm::lazy, timers::Rearm::eager},
               "lazy: a timer that moves later is only noted; eager: it moves every time");
  flags.duration("--tick", options.tick,
                 "granularity of the timers; a short one is costly with hashed-wheel, which wakes "
                 "up for each occupied slot in each turn of 4096 ticks, and is refused by "
                 "simple-wheel when the longest timeout has over 2^24 ticks",
                 false);
  flags.duration("--idle-timeout", options.idle_timeout,
                 "close a connection on which no byte has moved for this long; 0: never");
  flags.duration(
      "--request-timeout", options.request_timeout,
      "close a connection whose request is not answered in full this long after its first "
      "byte; long downloads to slow readers need a larger value; 0: never");
  flags.duration("--linger-timeout", options.linger_timeout,
                 "how long a peer that was sent the last response may be silent before it closes; "
                 "0: not at all");
  flags.duration("--drain-timeout", options.drain_timeout,
                 "after SIGTERM and the like (see below), how long requests that were received may "
                 "take");
}

void add_behaviour_flags(Flags& flags, Options& options) {
  flags.group("Behaviour and limits");
  flags.choice("--scenario", options.scenario,
               {Scenario::respond, Scenario::increasing_timeout, Scenario::mixed},
               "respond: answer at once; increasing-timeout: never answer, request k times out "
               "after k ms; mixed: one request in --mixed-period is never answered, the j-th of "
               "these times out after j ms (k and j count per thread)");
  flags.integer("--mixed-period", options.mixed_period, 1, kMaxCount, "see --scenario mixed");
  flags.bytes(
      "--write-window-bytes", options.write_window_bytes, 0, 1 << 30,
      "write pipelined responses together up to this many bytes; 0: one write per response");
  flags.integer("--write-window-responses", options.write_window_responses, 0, kMaxCount,
                "write at most this many pipelined responses together; 0: no limit");
  flags.duration("--write-window-time", options.write_window_time,
                 "hold a response back this long, so that others can share its write; 0: do not");
  flags.integer(
      "--max-connections", options.max_connections, 0, kMaxCount,
      "per thread; one connection more is answered 503 and closed; 0: no limit but descriptors");
  flags.bytes("--max-header-bytes", options.max_header_bytes, 64, 1 << 30,
              "request line and header fields together; more is answered 431 (or 414)");
  flags.integer("--max-headers", options.max_headers, 1, kMaxCount,
                "header fields of a request; more is answered 431");
  flags.bytes("--max-body-bytes", options.max_body_bytes, 0, 1ULL << 40,
              "body of a request; more is answered 413");
}

void add_admin_flags(Flags& flags, Options& options) {
  flags.group("Observing");
  flags.text("--admin-address", options.admin_address, "IP",
             "IP address for /healthz, /readyz, /stats and /metrics", check_address);
  flags.integer("--admin-port", options.admin_port, 0, 65535,
                "their port; 0: any free one; without it there is no such listener");
  flags.text("--log-level", options.log_level, "LEVEL",
             "the least level that is logged, on stderr: trace, debug, info, warning, error, "
             "critical or off",
             check_log_level);
  flags.add("--access-log",
            "append a line for each response to this file; -: to standard output; off: none; "
            "SIGHUP and SIGUSR1 reopen it",
            "FILE", "off", [&options](const std::string& file) {
              options.access_log = file == "off" ? "" : file;
              return std::string();
            });
  flags.text(
      "--timer-trace", options.timer_trace, "FILE",
      "record every timer operation in this file, for timer-bench --replay; needs one thread "
      "and the default backend");
}

void list_backends(std::span<const BackendName> backends) {
  for (const BackendName& backend : backends) {
    std::cout << backend.name << '\t' << backend.scheme << '\t' << backend.summary << '\n';
  }
}

// What is wrong with the flags together; no single flag can check this.
std::optional<std::string> contradiction(const Options& options,
                                         std::span<const BackendName> backends) {
  if (options.timer_backend == "none" && options.scenario != Scenario::respond) {
    return "--scenario " + std::string(to_string(options.scenario)) +
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

// The flags, and where their values go. An object must not be moved, because its flags point into
// it.
class CommandLine {
public:
  explicit CommandLine(std::span<const BackendName> backends, const std::string& version = "")
      : backends_(backends) {
    options_.timer_backend = default_backend(backends);
    app_.name("idlewheel-server");
    app_.footer(
        "Signals: SIGTERM, SIGINT, SIGQUIT, SIGPWR and SIGXCPU drain the server and end it; "
        "a second one ends it at once. SIGHUP reads the file of --config again and reopens the "
        "access log, SIGUSR1 does the latter alone. Others that ask for something are ignored.");
    app_.set_version_flag("--version", version);
    app_.add_flag("--list-timer-backends", list_,
                  "name, scheme and description of each, then exit");
    app_.add_option(
            "--config", config_,
            "a file of the flags below, one 'name = value' a line without the dashes; a flag "
            "that is given here, too, counts")
        ->check(CLI::Validator(
            [](std::string& file) { return file.empty() ? "it needs a file's name" : ""; }, "", ""))
        ->type_name("FILE");
    app_.add_flag("--check-config", check_,
                  "check the flags and the file of --config, then exit: with 0, or with 2 and a "
                  "line that says what is wrong");
    app_.allow_extras(); // so that parse() names the first one; CLI11 names all, in reverse
    app_.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    Flags flags(app_);
    add_listener_flags(flags, options_);
    add_timer_flags(flags, options_, backends);
    add_behaviour_flags(flags, options_);
    add_admin_flags(flags, options_);
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
    } catch (const CLI::ArgumentMismatch& error) { // it says "1 required N missing"
      const std::string_view what = error.what();
      return std::string(what.substr(0, what.find(':'))) + ": it needs a value";
    } catch (const CLI::ParseError& error) {
      return error.what();
    }
    if (const auto extras = app_.remaining(); !extras.empty()) {
      return "unknown argument '" + extras.front() + "'; see --help";
    }
    return std::nullopt;
  }

  // As parse(), but throws std::runtime_error when the arguments are wrong.
  void require(const std::vector<std::string>& arguments) {
    if (const auto problem = parse(arguments)) {
      throw std::runtime_error(*problem);
    }
  }

  void explain(const CLI::Success& success) { app_.exit(success); }
  const Options& options() const { return options_; }
  bool list() const { return list_; }
  bool check() const { return check_; }
  const std::string& config() const { return config_; }

  // The flags that the file gives, as they would be typed. Throws std::runtime_error with one line
  // that names the file and the bad key.
  std::vector<std::string> read_config() const {
    std::vector<std::string> flags;
    CommandLine one(backends_); // for a single flag, so that a complaint can name the file
    for (const auto& [key, value] : read_config_file(config_)) {
      const std::string flag = "--" + key;
      if (app_.get_option_no_throw(flag) == nullptr || acts_at_once(flag)) {
        throw std::runtime_error(config_ + ": there is no key '" + key +
                                 "'; a key is a flag without its dashes");
      }
      flags.push_back(flag + "=" + value);
      if (const auto problem = one.parse({flags.back()})) {
        throw std::runtime_error(config_ + ": " + *problem);
      }
    }
    return flags;
  }

private:
  // Whether a flag makes no sense in a file.
  static bool acts_at_once(std::string_view flag) {
    return flag == "--config" || flag == "--help" || flag == "--version" ||
           flag == "--list-timer-backends" || flag == "--check-config";
  }

  CLI::App app_{"An HTTP/1.1 server whose idle and request timeouts go through the timer structure "
                "of your choice."};
  std::span<const BackendName> backends_;
  Options options_;
  std::string config_;
  bool list_ = false;
  bool check_ = false;
};

ExitCode complain(const std::string& problem) {
  std::cerr << "idlewheel-server: " << on_one_line(problem) << '\n';
  return kExitUsage;
}

} // namespace

Options read_options(const std::vector<std::string>& typed, std::span<const BackendName> backends) {
  CommandLine first(backends);
  first.require(typed);
  CommandLine both(backends);
  std::vector<std::string> all;
  if (!first.config().empty()) {
    all = first.read_config();
  }
  all.insert(all.end(), typed.begin(), typed.end());
  both.require(all);
  Options options = both.options();
  if (const auto problem = contradiction(options, backends)) {
    throw std::runtime_error(*problem);
  }
  options.typed = typed;
  options.config = first.config();
  return options;
}

std::variant<Options, ExitCode> parse_options(int argc, const char* const* argv,
                                              std::span<const BackendName> backends,
                                              const std::string& version) {
  const std::vector<std::string> typed(argv + 1, argv + argc);
  CommandLine answers(backends, version);
  try {
    answers.require(typed);
    if (answers.list()) {
      list_backends(backends);
      return kExitDone;
    }
    Options options = read_options(typed, backends);
    if (answers.check()) {
      return kExitDone;
    }
    return options;
  } catch (const CLI::Success& success) { // --help, --version
    answers.explain(success);
    return kExitDone;
  } catch (const std::runtime_error& error) {
    return complain(error.what());
  }
}

} // namespace server
