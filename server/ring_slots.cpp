#include "server/ring_slots.hpp"

#include <sys/poll.h>

#include <algorithm>
#include <cstddef>
#include <utility>

namespace server {
namespace {

// Where a tag has the generation and the number of the slot. The kind is in the lowest byte.
constexpr unsigned kGenerationShift = 8;
constexpr unsigned kNumberShift = 32;
constexpr std::uint32_t kGenerationMask = 0xffffff;

} // namespace

std::uint32_t RingSlots::open(Channel& channel) {
  if (free_.empty()) {
    const std::size_t number = slots_.size();
    free_.reserve(std::max(slots_.capacity(), number + 1));
    unsettled_.reserve(free_.capacity());
    settling_.reserve(free_.capacity());
    slots_.emplace_back();
    free_.push_back(static_cast<std::uint32_t>(number));
  }
  const std::uint32_t number = free_.back();
  free_.pop_back();
  RingSlot& slot = slots_[number];
  const std::uint32_t generation = slot.generation;
  slot = RingSlot();
  slot.channel = &channel;
  slot.generation = generation;
  slot.sent_in = batch_ - 1;
  return number;
}

void RingSlots::close(std::uint32_t number, Socket socket) noexcept {
  slots_[number].channel = nullptr;
  slots_[number].socket = std::move(socket);
}

RingSlots::Tag RingSlots::tag(std::uint32_t number, Kind kind) const noexcept {
  const Tag generation = slots_[number].generation & kGenerationMask;
  return Tag{number} << kNumberShift | generation << kGenerationShift | static_cast<Tag>(kind);
}

std::uint32_t RingSlots::number_of(Tag tag) noexcept {
  return static_cast<std::uint32_t>(tag >> kNumberShift);
}

RingSlot* RingSlots::find(Tag tag) noexcept {
  RingSlot& slot = slots_[number_of(tag)];
  const auto generation = static_cast<std::uint32_t>(tag >> kGenerationShift) & kGenerationMask;
  return generation == (slot.generation & kGenerationMask) ? &slot : nullptr;
}

void RingSlots::settle(std::uint32_t number) noexcept {
  RingSlot& slot = slots_[number];
  const bool settled = slot.channel != nullptr ? settle_open(number) : settle_closed(number);
  if (!settled && !std::exchange(slot.unsettled, true)) {
    unsettled_.push_back(number);
  }
}

void RingSlots::settle_rest(bool complete) noexcept {
  if (complete) {
    ++batch_;
  }
  settling_.swap(unsettled_);
  for (const std::uint32_t number : settling_) {
    slots_[number].unsettled = false;
    settle(number);
  }
  settling_.clear();
}

bool RingSlots::settle_open(std::uint32_t number) noexcept {
  const RingSlot& slot = slots_[number];
  const Channel& channel = *slot.channel;
  const bool needs_input = channel.reads() && !slot.has_stash && slot.end == Transfer::done;
  if (needs_input && !slot.receives && !receive(number)) {
    return false;
  }
  // What arrives shall stay in the kernel. Not cancelled before something has arrived: most
  // channels stop reading for a moment only.
  if (slot.has_stash && slot.receives && !slot.cancels && !cancel(number, Kind::receive)) {
    return false;
  }
  const bool needs_room = channel.waits_writable() && !channel.send_state_.writable();
  return !needs_room || slot.polls || poll(number);
}

// A receive that is armed holds the socket: closing it alone would send nothing.
bool RingSlots::settle_closed(std::uint32_t number) noexcept {
  RingSlot& slot = slots_[number];
  if (slot.socket.descriptor() < 0) {
    return true; // it is free
  }
  if (slot.receives || slot.polls) {
    return slot.cancels || ((!slot.receives || cancel(number, Kind::receive)) &&
                            (!slot.polls || cancel(number, Kind::poll)));
  }
  if (sending(slot)) {
    return false;
  }
  slot.socket.close();
  ++slot.generation;
  free_.push_back(number);
  return true;
}

bool RingSlots::receive(std::uint32_t number) noexcept {
  RingSlot& slot = slots_[number];
  io_uring_sqe* const entry = uring_.receive_entry(slot.channel->socket_.descriptor());
  if (entry != nullptr) {
    entry->user_data = tag(number, Kind::receive);
    slot.receives = slot.is_fresh = true;
  }
  return entry != nullptr;
}

bool RingSlots::poll(std::uint32_t number) noexcept {
  RingSlot& slot = slots_[number];
  io_uring_sqe* const entry = uring_.entry();
  if (entry != nullptr) {
    io_uring_prep_poll_add(entry, slot.channel->socket_.descriptor(), POLLOUT);
    entry->user_data = tag(number, Kind::poll);
    slot.polls = true;
  }
  return entry != nullptr;
}

bool RingSlots::cancel(std::uint32_t number, Kind kind) noexcept {
  io_uring_sqe* const entry = uring_.entry();
  if (entry != nullptr) {
    io_uring_prep_cancel64(entry, tag(number, kind), 0);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    entry->user_data = tag(number, Kind::cancel);
    slots_[number].cancels = true;
  }
  return entry != nullptr;
}

} // namespace server
