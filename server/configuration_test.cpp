#include "server/configuration.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <iostream>
#include <regex>
#include <set>
#include <sstream>
#include <string>

namespace server {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const std::array<BackendName, 1> kBackends{
    {{.name = "wheel", .scheme = "7", .summary = "turns", .is_default = true}}};

// The flags that --help shows, without those that have no value in Options.
std::set<std::string> flags_of_help() {
  std::ostringstream text;
  std::streambuf* const before = std::cout.rdbuf(text.rdbuf());
  const std::array arguments{"idlewheel-server", "--help"};
  static_cast<void>(parse_options(arguments.size(), arguments.data(), kBackends, ""));
  std::cout.rdbuf(before);
  const std::string help = text.str();
  const std::regex flag("\n  --([a-z-]+)");
  std::set<std::string> found;
  for (std::sregex_iterator at(help.begin(), help.end(), flag), end; at != end; ++at) {
    found.insert((*at)[1]);
  }
  for (const char* const other : {"version", "list-timer-backends", "config", "check-config"}) {
    EXPECT_EQ(found.erase(other), 1U) << other;
  }
  return found;
}

// A new flag must be put into the list of configuration.cpp, which decides whether it can change.
TEST(Configuration, ComparesEveryFlag) {
  const auto compared = compared_flags();
  const std::set<std::string> known(compared.begin(), compared.end());
  EXPECT_EQ(known, flags_of_help());
  EXPECT_EQ(known.size(), compared.size()) << "a flag stands there twice";
}

TEST(Configuration, TellsWhatCanChangeFromWhatNeedsARestart) {
  const Options now;
  Options then;
  EXPECT_THAT(differences(now, then).running, IsEmpty());
  EXPECT_THAT(differences(now, then).restart, IsEmpty());
  then.port = 1;
  then.max_headers = 1;
  then.drain_timeout = std::chrono::hours(1);
  EXPECT_THAT(differences(now, then).running, ElementsAre("drain-timeout", "max-headers"));
  EXPECT_THAT(differences(now, then).restart, ElementsAre("port"));
}

TEST(Configuration, TakesOverOnlyWhatCanChange) {
  Options now;
  Options then;
  then.threads = 7;
  then.access_log = "file";
  take_over(now, then);
  EXPECT_EQ(now.threads, 1U);
  EXPECT_EQ(now.access_log, "file");
  EXPECT_THAT(differences(now, then).restart, ElementsAre("threads"));
}

} // namespace
} // namespace server
