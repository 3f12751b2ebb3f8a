// Responses on their way to the socket. While the write window is open they gather here, and then
// they leave in one write. `GET /bytes/N` puts a run of filler behind its header without storing
// it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace server {

// How much may gather before it is written. The window by time is in held_writes.hpp.
struct WriteWindow {
  std::size_t bytes = 8192; // 0: one write per response
  std::size_t responses = std::numeric_limits<std::size_t>::max();
};

class WriteQueue {
public:
  // Bytes are appended here. After start_filler(), append only once the queue is empty.
  std::string& bytes() noexcept { return bytes_; }

  // Marks the end of a response: what was appended since the last call.
  void end_response() noexcept { ++responses_; }

  // Queues `size` filler bytes behind the bytes.
  void start_filler(std::uint64_t size) noexcept { filler_ = size; }

  // What is queued must not wait for other responses. This is for an interim response, because the
  // client waits for it.
  void mark_urgent() noexcept { urgent_ = true; }
  bool urgent() const noexcept { return urgent_; }

  bool empty() const noexcept { return sent_ == bytes_.size() && filler_ == 0; }

  // Bytes waiting, filler aside.
  std::size_t size() const noexcept { return bytes_.size() - sent_; }

  // Responses queued since the queue was last empty.
  std::size_t responses() const noexcept { return responses_; }

  // Whether another response may join those that are queued. The first always may; none may join
  // behind filler.
  bool has_room(const WriteWindow& window) const noexcept {
    return filler_ == 0 &&
           (size() == 0 || (size() < window.bytes && responses_ < window.responses));
  }

  // What to write next: queued bytes, then at most 64 KiB of filler. Valid until the queue changes.
  std::array<std::string_view, 2> front() const noexcept;

  // Removes the first `size` bytes of front(), which were written.
  void consume(std::size_t size) noexcept {
    const std::size_t of_bytes = std::min(size, this->size());
    sent_ += of_bytes;
    filler_ -= size - of_bytes;
    if (sent_ == bytes_.size()) {
      bytes_.clear();
      sent_ = 0;
      responses_ = 0;
      urgent_ = false;
    }
  }

  // Queues bytes again, in front of all others, which were removed and not written after all.
  void put_back(std::string_view bytes) { bytes_.insert(sent_, bytes); }

  // Forgets everything that is queued. Keeps the memory.
  void clear() noexcept {
    bytes_.clear();
    sent_ = 0;
    filler_ = 0;
    responses_ = 0;
    urgent_ = false;
  }

  // Gives back memory beyond `keep` bytes. Requires an empty queue.
  void shrink(std::size_t keep) noexcept {
    if (bytes_.capacity() > keep) {
      std::string().swap(bytes_); // assigning an empty string would keep the memory
    }
  }

private:
  std::string bytes_;
  std::size_t sent_ = 0;     // bytes of bytes_ that were written
  std::uint64_t filler_ = 0; // bytes still to be written behind bytes_
  std::size_t responses_ = 0;
  bool urgent_ = false;
};

} // namespace server
