// Bytes that a Ring has received for channels that do not read: what was under way when they
// stopped, at most what the kernel receives at once for a socket. Few channels have any, so they
// take no room in the others.
#pragma once

#include "server/channel.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

namespace server {

class RingStash {
public:
  // Throws std::bad_alloc, and then has not changed.
  void add(const Channel& channel, std::string_view bytes) {
    const auto [at, is_new] = stashes_.try_emplace(&channel, bytes);
    if (!is_new) {
      at->second += bytes;
    }
  }

  // Moves the oldest bytes of the channel, as many as there is room for. Returns their number.
  std::size_t take(const Channel& channel, std::span<char> room) noexcept {
    const auto at = stashes_.find(&channel);
    const std::size_t size = at->second.copy(room.data(), room.size());
    at->second.erase(0, size);
    if (at->second.empty()) {
      stashes_.erase(at);
    }
    return size;
  }

  void drop(const Channel& channel) noexcept { stashes_.erase(&channel); }

  // How many bytes there are, of one channel or of all. The latter costs O(channels that have any).
  std::size_t size(const Channel& channel) const noexcept {
    const auto at = stashes_.find(&channel);
    return at == stashes_.end() ? 0 : at->second.size();
  }
  std::size_t size() const noexcept {
    std::size_t all = 0;
    for (const auto& [channel, bytes] : stashes_) {
      all += bytes.size();
    }
    return all;
  }

private:
  std::unordered_map<const Channel*, std::string> stashes_;
};

} // namespace server
