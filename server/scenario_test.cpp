#include "server/scenario.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <vector>

namespace server {
namespace {

using Kind = Resource::Kind;
using std::chrono::milliseconds;

// The timeouts of the next requests in ms. 0 means that the request is answered.
std::vector<int> withheld(ScenarioState& scenario, int requests, Kind kind = Kind::root) {
  std::vector<int> timeouts_ms;
  for (int i = 0; i < requests; ++i) {
    const auto timeout = scenario.withhold({kind});
    timeouts_ms.push_back(static_cast<int>(timeout.value_or(milliseconds(0)).count()));
  }
  return timeouts_ms;
}

TEST(Scenario, RespondAnswersEveryRequest) {
  ScenarioState scenario(Scenario::respond, 10);
  EXPECT_EQ(withheld(scenario, 20), std::vector<int>(20, 0));
}

TEST(Scenario, IncreasingTimeoutGivesRequestKAnotherMillisecond) {
  ScenarioState scenario(Scenario::increasing_timeout, 10);
  EXPECT_EQ(withheld(scenario, 4), (std::vector{1, 2, 3, 4}));
}

TEST(Scenario, MixedWithholdsOneInAPeriod) {
  ScenarioState scenario(Scenario::mixed, 3);
  EXPECT_EQ(withheld(scenario, 9), (std::vector{0, 0, 1, 0, 0, 2, 0, 0, 3}));
}

TEST(Scenario, MixedOfPeriodOneWithholdsAll) {
  ScenarioState scenario(Scenario::mixed, 1);
  EXPECT_EQ(withheld(scenario, 3), (std::vector{1, 2, 3}));
}

TEST(Scenario, OtherResourcesAnswerAndAreNotCounted) {
  ScenarioState scenario(Scenario::mixed, 2);
  int timeout_ms = 0;
  for (const Kind kind : {Kind::bytes, Kind::echo, Kind::asterisk, Kind::unknown}) {
    EXPECT_EQ(withheld(scenario, 3, kind), (std::vector{0, 0, 0})); // no multiple of the period
    EXPECT_EQ(withheld(scenario, 2), (std::vector{0, ++timeout_ms}));
  }
}

TEST(Scenario, HasTheNameThatUsersType) {
  EXPECT_EQ(to_string(Scenario::respond), "respond");
  EXPECT_EQ(to_string(Scenario::increasing_timeout), "increasing-timeout");
  EXPECT_EQ(to_string(Scenario::mixed), "mixed");
}

} // namespace
} // namespace server
