// What the server does with a request: answer it, or let it time out.
#pragma once

#include "server/options.hpp"
#include "server/request.hpp"
#include "server/response.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace server {

// What to answer: status, and a body that is either given or so many filler bytes.
struct Answer {
  Status status = Status::ok;
  std::string_view body{}; // lives in the request
  std::uint64_t filler_bytes = 0;
  std::uint64_t content_length = 0; // differs from the body's size for HEAD
  std::string_view allow{};
};

Answer answer(const Request& request);

// Counts the requests of one thread and picks those that are never answered.
class ScenarioState {
public:
  ScenarioState(Scenario scenario, std::uint64_t mixed_period)
      : scenario_(scenario), mixed_period_(mixed_period) {}

  // The request timeout of a request that shall not be answered; nothing for one that shall.
  std::optional<std::chrono::milliseconds> withhold(const Request& request) noexcept;

private:
  const Scenario scenario_;
  const std::uint64_t mixed_period_;
  std::uint64_t requests_ = 0;
  std::uint64_t withheld_ = 0;
};

} // namespace server
