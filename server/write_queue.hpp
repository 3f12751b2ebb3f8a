// Responses on their way to the socket, batched: while the window is open they gather here and
// leave in one write. The window is closed by bytes or by the number of responses (connection.hpp),
// or by time (held_writes.hpp). `GET /bytes/N` puts a run of filler behind its header without
// storing it.
#pragma once

#include <boost/asio/buffer.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace server {

class WriteQueue {
public:
  // Where to append bytes. After start_filler() only once the queue has emptied.
  std::string& bytes() noexcept { return bytes_; }

  // What was appended since the last call was a response.
  void end_response() noexcept { ++responses_; }

  // So many filler bytes follow what is queued.
  void start_filler(std::uint64_t size) noexcept { filler_ = size; }
  bool has_filler() const noexcept { return filler_ != 0; }

  bool empty() const noexcept { return sent_ == bytes_.size() && filler_ == 0; }

  // Bytes waiting, filler aside.
  std::size_t size() const noexcept { return bytes_.size() - sent_; }

  // What is queued must not wait for company: an interim response, which the client waits for.
  void hurry() noexcept { urgent_ = true; }
  bool urgent() const noexcept { return urgent_; }

  // Responses queued since the queue was last empty.
  std::size_t responses() const noexcept { return responses_; }

  // What to write next: at most 64 KiB of filler at a time. Valid until the queue changes.
  std::array<boost::asio::const_buffer, 2> front() const noexcept;

  // So many bytes of front() were written.
  void consume(std::size_t size) noexcept;

  void clear() noexcept {
    bytes_.clear();
    sent_ = 0;
    filler_ = 0;
    responses_ = 0;
    urgent_ = false;
  }

  // Gives back the memory of an unusually large response, so that pooled queues stay small.
  void shrink(std::size_t keep);

private:
  std::string bytes_;
  std::size_t sent_ = 0;
  std::uint64_t filler_ = 0;
  std::size_t responses_ = 0;
  bool urgent_ = false;
};

} // namespace server
