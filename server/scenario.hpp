// The experiment: which requests are withheld, that is, never answered, and how soon each of these
// times out. Only requests for "/" take part; the other resources always answer.
#pragma once

#include "server/resources.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace server {

enum class Scenario {
  respond,            // answers every request at once
  increasing_timeout, // withholds every request; the k-th times out after k ms
  mixed               // withholds one request in a period; the j-th of these times out after j ms
};

// The name that users type.
std::string_view to_string(Scenario scenario) noexcept;

// Counts the requests of one thread, and picks those that are withheld.
class ScenarioState {
public:
  // Requires mixed_period > 0; it matters to Scenario::mixed only.
  ScenarioState(Scenario scenario, std::uint64_t mixed_period) noexcept
      : scenario_(scenario), mixed_period_(mixed_period) {}

  // Whether withhold() has to be called.
  bool withholds() const noexcept { return scenario_ != Scenario::respond; }

  // The request timeout of a request that is withheld; no value for one that is answered. To be
  // called once for each request, unless withholds() is false.
  std::optional<std::chrono::milliseconds> withhold(const Resource& resource) noexcept;

private:
  const Scenario scenario_;
  const std::uint64_t mixed_period_;
  std::uint64_t requests_ = 0;
  std::uint64_t withheld_ = 0;
};

} // namespace server
