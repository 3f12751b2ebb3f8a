#include "server/scenario.hpp"

namespace server {

std::string_view to_string(Scenario scenario) noexcept {
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

std::optional<std::chrono::milliseconds>
ScenarioState::withhold(const Resource& resource) noexcept {
  if (scenario_ == Scenario::respond || resource.kind != Resource::Kind::root) {
    return std::nullopt;
  }
  if (scenario_ == Scenario::mixed && ++requests_ % mixed_period_ != 0) {
    return std::nullopt;
  }
  return std::chrono::milliseconds(++withheld_);
}

} // namespace server
