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

void WriteQueue::consume(std::size_t written) noexcept {
  const std::size_t of_bytes = std::min(written, size());
  sent_ += of_bytes;
  filler_ -= written - of_bytes;
  if (sent_ == bytes_.size()) {
    bytes_.clear();
    sent_ = 0;
    responses_ = 0;
    urgent_ = false;
  }
}

void WriteQueue::shrink(std::size_t keep) noexcept {
  if (bytes_.capacity() > keep) {
    std::string().swap(bytes_); // assigning an empty string would keep the memory
  }
}

} // namespace server
