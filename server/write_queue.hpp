// Responses on their way to the socket, batched: while the window is open they gather here and
// leave in one write. `GET /bytes/N` puts a run of filler behind its header without storing it.
#pragma once

#include <boost/asio/buffer.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace server {

class WriteQueue {
public:
  // Where to append a response. After start_filler() only once the queue has emptied.
  std::string& bytes() noexcept { return bytes_; }

  // So many filler bytes follow what is queued.
  void start_filler(std::uint64_t size) noexcept { filler_ = size; }
  bool has_filler() const noexcept { return filler_ != 0; }

  bool empty() const noexcept { return sent_ == bytes_.size() && filler_ == 0; }

  // Bytes waiting, filler aside.
  std::size_t size() const noexcept { return bytes_.size() - sent_; }

  // What to write next: at most 64 KiB of filler at a time. Valid until the queue changes.
  std::array<boost::asio::const_buffer, 2> front() const noexcept;

  // So many bytes of front() were written.
  void consume(std::size_t size) noexcept;

  void clear() noexcept {
    bytes_.clear();
    sent_ = 0;
    filler_ = 0;
  }

  // Gives back the memory of an unusually large response, so that pooled queues stay small.
  void shrink(std::size_t keep);

private:
  std::string bytes_;
  std::size_t sent_ = 0;
  std::uint64_t filler_ = 0;
};

} // namespace server
