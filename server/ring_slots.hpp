// What a Ring knows of each socket, and what it has asked the kernel to do with it.
#pragma once

#include "server/channel.hpp"
#include "server/uring.hpp"

#include <cstdint>
#include <vector>

namespace server {

// A socket on which the kernel may still be working. When its channel is gone, the slot keeps the
// socket until the last completion has come.
struct RingSlot {
  Channel* channel = nullptr; // null: gone, or the slot is free
  Socket socket;              // once the channel is gone
  std::uint32_t generation = 0;
  std::uint32_t sent_in = 0; // the batch with its latest send
  std::uint32_t sent_at = 0; // where the arena has those bytes
  std::uint32_t sent_size = 0;
  Transfer end = Transfer::done; // anything else: no more will arrive
  bool end_reported = false;
  bool receives = false;  // a receive is armed
  bool is_fresh = false;  // and nothing came of it yet
  bool polls = false;     // a wait for room is armed
  bool cancels = false;   // they are being cancelled
  bool has_stash = false; // bytes wait until the channel reads
  bool unsettled = false; // the queue had no room for what it needs
};

class RingSlots {
public:
  // What an entry of the queue asks for.
  enum class Kind : std::uint8_t { receive, send, poll, cancel };

  // The user data of an entry, and so of its completion.
  using Tag = std::uint64_t;

  // `uring` must outlive it.
  explicit RingSlots(Uring& uring) noexcept : uring_(uring) {}

  RingSlot& operator[](std::uint32_t number) noexcept { return slots_[number]; }
  const RingSlot& operator[](std::uint32_t number) const noexcept { return slots_[number]; }

  // Returns the number of a free slot, which is the channel's from now on. Throws std::bad_alloc.
  std::uint32_t open(Channel& channel);

  // The channel is gone; what it needs from the kernel is cancelled, and then its socket is closed.
  // To be settled.
  void close(std::uint32_t number, Socket socket) noexcept;

  // Queues what the slot needs. To be called whenever something about it has changed. When the
  // queue has no room, it is settled by settle_rest().
  void settle(std::uint32_t number) noexcept;

  // To be called after each call of the kernel. `complete` is what Uring::enter() returned.
  void settle_rest(bool complete) noexcept;
  bool all_settled() const noexcept { return unsettled_.empty(); }

  // Sends that are queued between two calls of the kernel are a batch. It is over when the kernel
  // has taken all of it, and the completions of those that failed are there.
  std::uint32_t batch() const noexcept { return batch_; }
  bool sending(const RingSlot& slot) const noexcept { return slot.sent_in == batch_; }

  Tag tag(std::uint32_t number, Kind kind) const noexcept;
  static Kind kind_of(Tag tag) noexcept { return static_cast<Kind>(tag & 0xff); }
  static std::uint32_t number_of(Tag tag) noexcept;
  // Null when the socket is closed that the tag was made for.
  RingSlot* find(Tag tag) noexcept;

private:
  bool settle_open(std::uint32_t number) noexcept;
  bool settle_closed(std::uint32_t number) noexcept;
  bool receive(std::uint32_t number) noexcept;
  bool poll(std::uint32_t number) noexcept;
  bool cancel(std::uint32_t number, Kind kind) noexcept;

  Uring& uring_;
  std::vector<RingSlot> slots_;
  // These three have capacity for every slot, so that push_back() does not throw.
  std::vector<std::uint32_t> free_;
  std::vector<std::uint32_t> unsettled_; // their numbers
  std::vector<std::uint32_t> settling_;  // unsettled_ while it is worked off
  std::uint32_t batch_ = 1;
};

} // namespace server
