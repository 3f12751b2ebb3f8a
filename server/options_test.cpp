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
    {{.name = "wheel", .scheme = "7", .summary = "turns", .is_default = true},
     {.name = "none", .scheme = "-", .summary = "none at all"}}};

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
  auto result = parse_options(static_cast<int>(argv.size()), argv.data(), kBackends);
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
  EXPECT_EQ(parsed.out, "wheel\t7\tturns\nnone\t-\tnone at all\n");
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

TEST_F(ConfigFile, IsNamedWithWhatIsWrongInIt) {
  for (const auto& [text, wrong] :
       std::vector<std::pair<std::string, std::string>>{{"port = 99999", "'99999'"},
                                                        {"frobnicate = 1", "frobnicate"},
                                                        {"config = x", "'config'"},
                                                        {"port = [1, 2]", "port"},
                                                        {"[section]", "[section]"},
                                                        {"\nport", "line 2"},
                                                        {"= 1", "line 1"}}) {
    const std::string path = write(text + "\n");
    const std::string line = complaint({"--config", path});
    EXPECT_THAT(line, HasSubstr(path));
    EXPECT_THAT(line, HasSubstr(wrong));
  }
  EXPECT_THAT(complaint({"--config", "/nothing/here"}), HasSubstr("/nothing/here"));
}

} // namespace
} // namespace server
