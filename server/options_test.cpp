#include "server/options.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace server {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::StartsWith;

const std::array<BackendName, 2> kBackends{
    {{.name = "none", .scheme = "-", .summary = "none at all"},
     {.name = "wheel", .scheme = "7", .summary = "turns", .is_default = true}}};

// Captures what is written to a stream, as long as it lives.
class Captured {
public:
  explicit Captured(std::ostream& stream) : stream_(stream), before_(stream.rdbuf(text_.rdbuf())) {}
  ~Captured() { stream_.rdbuf(before_); }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;

  std::string text() const { return text_.str(); }

private:
  std::ostringstream text_;
  std::ostream& stream_;
  std::streambuf* before_;
};

struct Parsed {
  std::variant<Options, ExitCode> result;
  std::string out;
  std::string err;

  const Options& options() const { return std::get<Options>(result); }
};

Parsed parse(const std::vector<std::string>& arguments) {
  std::vector<const char*> argv{"idlewheel-server"};
  for (const std::string& argument : arguments) {
    argv.push_back(argument.c_str());
  }
  const Captured out(std::cout);
  const Captured err(std::cerr);
  auto result = parse_options(static_cast<int>(argv.size()), argv.data(), kBackends,
                              "idlewheel-server 1.2.3");
  return {std::move(result), out.text(), err.text()};
}

// Expects exit code 2 and one line on stderr, and returns that line.
std::string complaint(const std::vector<std::string>& arguments) {
  const Parsed parsed = parse(arguments);
  const auto* const code = std::get_if<ExitCode>(&parsed.result);
  EXPECT_TRUE(code != nullptr && *code == kExitUsage) << arguments.front();
  EXPECT_EQ(parsed.out, "");
  EXPECT_EQ(std::count(parsed.err.begin(), parsed.err.end(), '\n'), 1) << parsed.err;
  EXPECT_THAT(parsed.err, StartsWith("idlewheel-server: "));
  return parsed.err;
}

TEST(Options, HaveTheirDefaults) {
  const Parsed parsed = parse({});
  EXPECT_EQ(parsed.options().timer_backend, "wheel");
  EXPECT_EQ(parsed.options().port, 4242);
  EXPECT_EQ(parsed.options().rearm, timers::Rearm::lazy);
  EXPECT_EQ(parsed.options().admin_port, std::nullopt);
}

TEST(Options, TakeWhatIsTypedAndTheLastOfTwo) {
  const Parsed parsed =
      parse({"--port=0", "--rearm", "eager", "--idle-timeout=5s", "--idle-timeout=500ms",
             "--max-body-bytes=2KiB", "--admin-port=0", "--scenario=mixed", "--mixed-period=3",
             "--address=::1", "--timer-backend=wheel", "--reuse-port", "--access-log=off"});
  EXPECT_EQ(parsed.options().port, 0);
  EXPECT_EQ(parsed.options().rearm, timers::Rearm::eager);
  EXPECT_EQ(parsed.options().idle_timeout, 500ms);
  EXPECT_EQ(parsed.options().max_body_bytes, 2048U);
  EXPECT_EQ(parsed.options().admin_port, 0);
  EXPECT_EQ(parsed.options().scenario, Scenario::mixed);
  EXPECT_EQ(parsed.options().mixed_period, 3U);
  EXPECT_EQ(parsed.options().address, "::1");
  EXPECT_TRUE(parsed.options().reuse_port);
  EXPECT_EQ(parsed.options().access_log, "");
}

TEST(Options, EachGoToTheirOwnPlace) {
  const Parsed parsed = parse({"--address=127.0.0.2",
                               "--port=1",
                               "--threads=2",
                               "--backlog=3",
                               "--tick=4ms",
                               "--idle-timeout=5s",
                               "--request-timeout=6s",
                               "--linger-timeout=7s",
                               "--drain-timeout=8s",
                               "--write-window-bytes=9",
                               "--write-window-responses=10",
                               "--write-window-time=11s",
                               "--max-connections=12",
                               "--max-header-bytes=130",
                               "--max-headers=14",
                               "--max-body-bytes=15",
                               "--admin-address=127.0.0.3",
                               "--admin-port=16",
                               "--log-level=off",
                               "--access-log=log"});
  const Options& options = parsed.options();
  EXPECT_EQ(options.address, "127.0.0.2");
  EXPECT_EQ(options.port, 1);
  EXPECT_EQ(options.threads, 2U);
  EXPECT_EQ(options.backlog, 3);
  EXPECT_EQ(options.tick, 4ms);
  EXPECT_EQ(options.idle_timeout, 5s);
  EXPECT_EQ(options.request_timeout, 6s);
  EXPECT_EQ(options.linger_timeout, 7s);
  EXPECT_EQ(options.drain_timeout, 8s);
  EXPECT_EQ(options.write_window_bytes, 9U);
  EXPECT_EQ(options.write_window_responses, 10U);
  EXPECT_EQ(options.write_window_time, 11s);
  EXPECT_EQ(options.max_connections, 12U);
  EXPECT_EQ(options.max_header_bytes, 130U);
  EXPECT_EQ(options.max_headers, 14U);
  EXPECT_EQ(options.max_body_bytes, 15U);
  EXPECT_EQ(options.admin_address, "127.0.0.3");
  EXPECT_EQ(options.admin_port, 16);
  EXPECT_EQ(options.log_level, "off");
  EXPECT_EQ(options.access_log, "log");
  EXPECT_EQ(parse({"--timer-trace=trace"}).options().timer_trace, "trace");
  EXPECT_EQ(parse({"--timer-backend=none"}).options().timer_backend, "none");
}

TEST(Options, ReachFromTheLeastToTheMostAndNoFurther) {
  struct Range {
    std::string flag;
    std::vector<std::string> good;
    std::vector<std::string> bad;
  };
  for (const auto& [flag, good, bad] : std::vector<Range>{
           {"--port", {"0", "65535"}, {"65536"}},
           {"--threads", {"1", "1024"}, {"0", "1025"}},
           {"--backlog", {"1", "2147483647"}, {"0", "2147483648"}},
           {"--tick", {"1ns"}, {"0s"}},
           {"--idle-timeout", {"0"}, {}},
           {"--request-timeout", {"0"}, {}},
           {"--linger-timeout", {"0"}, {}},
           {"--drain-timeout", {"0"}, {}},
           {"--mixed-period", {"1", "4294967295"}, {"0", "4294967296"}},
           {"--write-window-bytes", {"0", "1GiB"}, {"1073741825"}},
           {"--write-window-responses", {"0", "4294967295"}, {"4294967296"}},
           {"--write-window-time", {"0"}, {}},
           {"--max-connections", {"0", "4294967295"}, {"4294967296"}},
           {"--max-header-bytes", {"64", "1GiB"}, {"63", "1073741825"}},
           {"--max-headers", {"1", "4294967295"}, {"0", "4294967296"}},
           {"--max-body-bytes", {"0", "1024GiB"}, {"1099511627777"}},
           {"--admin-port", {"0", "65535"}, {"65536"}},
       }) {
    for (const std::string& value : good) {
      const Parsed parsed = parse({flag + "=" + value});
      EXPECT_TRUE(std::holds_alternative<Options>(parsed.result)) << parsed.err;
    }
    for (const std::string& value : bad) {
      EXPECT_THAT(complaint({flag + "=" + value}), HasSubstr("'" + value + "'"));
    }
  }
}

TEST(Options, NameTheFlagAndTheBadValue) {
  for (const auto& [flag, value] :
       std::vector<std::pair<std::string, std::string>>{{"--port", "65536"},
                                                        {"--port", "1.5"},
                                                        {"--admin-port", "-1"},
                                                        {"--threads", "0"},
                                                        {"--tick", "0"},
                                                        {"--idle-timeout", "5"},
                                                        {"--linger-timeout", "-1s"},
                                                        {"--max-header-bytes", "63"},
                                                        {"--max-body-bytes", "1TiB2"},
                                                        {"--address", "localhost"},
                                                        {"--admin-address", "1.2.3"},
                                                        {"--log-level", "loud"},
                                                        {"--rearm", "Lazy"},
                                                        {"--rearm", "la"},
                                                        {"--scenario", "s2"},
                                                        {"--timer-backend", "sundial"}}) {
    const std::string line = complaint({flag + "=" + value});
    EXPECT_THAT(line, HasSubstr(flag));
    EXPECT_THAT(line, HasSubstr("'" + value + "'"));
  }
}

TEST(Options, SayWhichFlagLacksItsValue) {
  EXPECT_THAT(complaint({"--port="}), HasSubstr("--port: it needs a value"));
  EXPECT_THAT(complaint({"--rearm"}), HasSubstr("--rearm: it needs a value"));
  for (const std::string flag : {"--access-log", "--timer-trace", "--address", "--port"}) {
    EXPECT_EQ(complaint({flag, ""}), complaint({flag + "="}));
  }
}

TEST(Options, NameTheFirstUnknownArgument) {
  EXPECT_THAT(complaint({"--frobnicate", "--other"}), HasSubstr("'--frobnicate'"));
  EXPECT_THAT(complaint({"stray"}), HasSubstr("'stray'"));
}

TEST(Options, ShowNoControlCharactersThatWereTyped) {
  EXPECT_THAT(complaint({"--port=a\nb\x1b[1m"}), HasSubstr("'a?b?[1m'"));
}

TEST(Options, ThatContradictEachOtherAreRefused) {
  EXPECT_THAT(complaint({"--timer-backend=none", "--scenario=mixed"}), HasSubstr("--scenario"));
  EXPECT_THAT(complaint({"--timer-trace=x", "--threads=2"}), HasSubstr("--timer-trace"));
  EXPECT_THAT(complaint({"--timer-trace=x", "--timer-backend=none"}), HasSubstr("wheel"));
}

TEST(Options, ListTheBackends) {
  const Parsed parsed = parse({"--list-timer-backends"});
  EXPECT_EQ(std::get<ExitCode>(parsed.result), kExitDone);
  EXPECT_EQ(parsed.out, "none\t-\tnone at all\nwheel\t7\tturns\n");
}

// The default that --help shows is the value that a server without flags uses, so the defaults
// stand only in Options and in the table here.
TEST(Help, ShowsEachDefaultAndEachGroup) {
  const Parsed parsed = parse({"--help"});
  EXPECT_EQ(std::get<ExitCode>(parsed.result), kExitDone);
  for (const auto& [flag, preset] :
       std::vector<std::pair<std::string, std::string>>{{"--address", "127.0.0.1"},
                                                        {"--port", "4242"},
                                                        {"--threads", "1"},
                                                        {"--backlog", "4096"},
                                                        {"--timer-backend", "wheel"},
                                                        {"--rearm", "lazy"},
                                                        {"--tick", "1ms"},
                                                        {"--idle-timeout", "120s"},
                                                        {"--request-timeout", "30s"},
                                                        {"--linger-timeout", "2s"},
                                                        {"--drain-timeout", "10s"},
                                                        {"--scenario", "respond"},
                                                        {"--mixed-period", "10"},
                                                        {"--write-window-bytes", "8KiB"},
                                                        {"--write-window-responses", "0"},
                                                        {"--write-window-time", "0s"},
                                                        {"--max-connections", "0"},
                                                        {"--max-header-bytes", "8KiB"},
                                                        {"--max-headers", "100"},
                                                        {"--max-body-bytes", "1MiB"},
                                                        {"--admin-address", "127.0.0.1"},
                                                        {"--admin-port", "none"},
                                                        {"--log-level", "info"},
                                                        {"--access-log", "off"}}) {
    // "  --flag TYPE=default", then the description, on the same line or the next.
    const std::size_t at = parsed.out.find("  " + flag + " ");
    ASSERT_NE(at, std::string::npos) << flag;
    const std::string entry = parsed.out.substr(at + flag.size() + 3);
    EXPECT_THAT(entry.substr(0, entry.find_first_of(" \n")), testing::EndsWith("=" + preset))
        << flag;
  }
  for (const char* const group : {"Listening:", "Timers:", "Behaviour and limits:", "Observing:"}) {
    EXPECT_THAT(parsed.out, HasSubstr(group));
  }
}

class ConfigFile : public testing::Test {
protected:
  std::string write(const std::string& text) {
    const std::string path = testing::TempDir() + "options_test_" +
                             testing::UnitTest::GetInstance()->current_test_info()->name();
    std::ofstream(path) << text;
    return path;
  }
};

TEST_F(ConfigFile, GivesFlagsAndTheCommandLineOverrulesIt) {
  const std::string path = write("# a comment\nport = 1\nrearm = \"eager\"\nreuse-port = true\n");
  const Parsed parsed = parse({"--port=2", "--config", path});
  EXPECT_EQ(parsed.options().port, 2);
  EXPECT_EQ(parsed.options().rearm, timers::Rearm::eager);
  EXPECT_TRUE(parsed.options().reuse_port);
}

TEST_F(ConfigFile, MayHaveBlanksCommentsAndLineEndsOfAnyKind) {
  const std::string path =
      write("; a comment\r\n\r\n \t\r\n  # another\r\n\tport\t=  1 \r\nthreads=2");
  const Parsed parsed = parse({"--config", path});
  EXPECT_EQ(parsed.options().port, 1) << parsed.err;
  EXPECT_EQ(parsed.options().threads, 2U);
}

TEST_F(ConfigFile, MayNotContradictWhatIsTyped) {
  const std::string path = write("scenario = mixed\n");
  EXPECT_THAT(complaint({"--timer-backend=none", "--config", path}), HasSubstr("--scenario"));
  EXPECT_EQ(parse({"--config", path, "--scenario=respond"}).options().scenario, Scenario::respond);
}

TEST_F(ConfigFile, IsNamedWithWhatIsWrongInIt) {
  for (const auto& [text, wrong] : std::vector<std::pair<std::string, std::string>>{
           {"port = 99999", "'99999'"},
           {"frobnicate = 1", "frobnicate"},
           {"config = x", "'config'"},
           {"port = [1, 2]", "port"},
           {"version = true", "'version'"},
           {"list-timer-backends = true", "'list-timer-backends'"},
           {"check-config = true", "'check-config'"},
           {"port = '''1", "takes one value"},
           {"port = \"\"\"1", "takes one value"},
           {"port = [1]", "takes one value"},
           {"port = [1", "takes one value"},
           {"....=1", "..."},
           {"port = 1 2", "not one value"},
           {"port =", "not of the form"},
           {"[section]", "no sections"},
           {"\nport", "line 2"},
           {"= 1", "line 1"}}) {
    const std::string path = write(text + "\n");
    const std::string line = complaint({"--config", path});
    EXPECT_THAT(line, HasSubstr(path));
    EXPECT_THAT(line, HasSubstr(wrong));
  }
  EXPECT_THAT(complaint({"--config", "/nothing/here"}), HasSubstr("/nothing/here"));
  EXPECT_THAT(complaint({"--config", ""}), HasSubstr("--config"));
}

} // namespace
} // namespace server
