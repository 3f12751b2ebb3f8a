#include "server/write_queue.hpp"

#include <algorithm>

namespace server {
namespace {

constexpr auto kFiller = [] {
  std::array<char, std::size_t{64} * 1024> bytes{};
  bytes.fill('x');
  return bytes;
}();

} // namespace

std::array<std::string_view, 2> WriteQueue::front() const noexcept {
  const auto next = static_cast<std::size_t>(std::min<std::uint64_t>(filler_, kFiller.size()));
  return {std::string_view(bytes_).substr(sent_), std::string_view(kFiller.data(), next)};
}

} // namespace server
