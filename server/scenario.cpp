#include "server/scenario.hpp"

namespace server {
namespace {

bool is_read(Method method) { return method == Method::get || method == Method::head; }

Answer method_not_allowed(std::string_view allow) {
  return {.status = Status::method_not_allowed, .allow = allow};
}

Answer answer_bytes(const Request& request) {
  const bool head = request.method == Method::head;
  return {.status = Status::ok,
          .filler_bytes = head ? 0 : request.bytes,
          .content_length = request.bytes};
}

} // namespace

Answer answer(const Request& request) {
  switch (request.route) {
  case Route::root:
    return is_read(request.method) ? Answer{} : method_not_allowed("GET, HEAD");
  case Route::bytes:
    return is_read(request.method) ? answer_bytes(request) : method_not_allowed("GET, HEAD");
  case Route::echo:
    return request.method == Method::post
               ? Answer{.body = request.body, .content_length = request.body.size()}
               : method_not_allowed("POST");
  case Route::asterisk:
    return {.allow = "GET, HEAD, POST, OPTIONS"};
  case Route::unknown:
    break;
  }
  return {.status = Status::not_found};
}

std::optional<std::chrono::milliseconds> ScenarioState::withhold(const Request& request) noexcept {
  if (scenario_ == Scenario::respond || request.route != Route::root) {
    return std::nullopt;
  }
  if (scenario_ == Scenario::mixed && ++requests_ % mixed_period_ != 0) {
    return std::nullopt;
  }
  return std::chrono::milliseconds(++withheld_);
}

} // namespace server
