#include "server/ring.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>

#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>
#include <utility>

namespace server {
namespace {

int new_event() {
  const int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (event < 0) {
    throw RingRefused(std::string("io_uring is not available: eventfd: ") + std::strerror(errno));
  }
  return event;
}

} // namespace

// The first round is posted, so that it runs in the thread that will use the ring.
Ring::Ring(boost::asio::execution_context& io, const RingSizes& sizes)
    : Transport(io), uring_(sizes),
      event_(static_cast<boost::asio::io_context&>(io).get_executor(), new_event()),
      arena_bytes_(sizes.arena_bytes) {
  for (auto& arena : arenas_) {
    arena = std::unique_ptr<char[]>(new char[arena_bytes_]); // memory is touched as it is used
  }
  uring_.signal(event_.native_handle());
  uring_.quiet(true);
  boost::asio::post(event_.get_executor(), [this] { round(); });
  round_is_due_ = true;
}

void Ring::shutdown() {
  Error error;
  event_.close(error);
}

void Ring::resume() {
  if (!round_is_due_) {
    wait();
  }
}

// ---- Rounds.

// For completions that came while the ring was still quiet the eventfd was not signalled, so there
// is a last look for them.
void Ring::wait() {
  uring_.quiet(false);
  if (!again_.empty() || !slots_.all_settled() || uring_.has_work()) {
    uring_.quiet(true);
    boost::asio::post(event_.get_executor(), [this] { round(); });
  } else {
    event_.async_read_some(boost::asio::buffer(&event_count_, sizeof event_count_),
                           [this](Error /*cancelled*/, std::size_t /*size*/) {
                             waits_for_event_ = false;
                             uring_.quiet(true);
                             round();
                           });
    waits_for_event_ = true;
  }
  round_is_due_ = true;
}

// Ends the wait without allocating anything.
void Ring::want_round() noexcept {
  if (!in_round_ && std::exchange(waits_for_event_, false)) {
    eventfd_write(event_.native_handle(), 1);
  }
}

void Ring::round() {
  round_is_due_ = false;
  uring_.enable();
  in_round_ = true;
  unsigned handled = 0;
  for (int enters = 0; enters < kMostEnters && handled < kMostCompletionsOfRound; ++enters) {
    enter();
    Channels again;
    again.swap(again_); // those that are added from now on have their turns after the next call
    const unsigned completions = handle_completions();
    handled += completions;
    while (!again.empty()) {
      Channel& channel = again.front();
      again.pop_front();
      have_turn(channel);
    }
    if (completions == 0 && again_.empty() && !uring_.has_work()) {
      break;
    }
  }
  in_round_ = false;
  wait();
}

// Submits what is queued. The sends among it are over when the completions of those that failed are
// there.
void Ring::enter() {
  const bool complete = uring_.enter();
  slots_.settle_rest(complete);
  if (complete) {
    arena_used_ = 0;
  }
}

// Returns how many there were. None come meanwhile.
unsigned Ring::handle_completions() {
  const unsigned count = uring_.completions();
  report_unsent(count);
  for (handled_ = 0; handled_ < count;) {
    if (handled_ + 2 < count) {
      prefetch_channel(uring_.completion(handled_ + 2));
    }
    on_completion(uring_.completion(handled_++));
  }
  uring_.drop_completions(count);
  handled_ = 0;
  uring_.offer_buffers();
  return count;
}

// Sends that failed, or were short, come first. If input came first, the answers to it would
// overtake what was not sent.
void Ring::report_unsent(unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    const io_uring_cqe& completion = uring_.completion(i);
    if (RingSlots::kind_of(completion.user_data) != Kind::send) {
      continue;
    }
    RingSlot* const slot = slots_.find(completion.user_data);
    if (slot != nullptr && slot->channel != nullptr) {
      const auto sent = static_cast<std::uint32_t>(std::max(completion.res, 0));
      slot->channel->send_state_.came_back(completion.res >= 0 || completion.res == -EAGAIN);
      const char* const bytes = arenas_[slot->sent_in % 2].get() + slot->sent_at;
      slot->channel->on_unsent({bytes + sent, slot->sent_size - sent});
    }
  }
}

void Ring::prefetch_channel(const io_uring_cqe& completion) noexcept {
  if (const RingSlot* const slot = slots_.find(completion.user_data)) {
    prefetch(slot->channel);
  }
}

void Ring::on_completion(const io_uring_cqe& completion) {
  const auto number = RingSlots::number_of(completion.user_data);
  RingSlot* const slot = slots_.find(completion.user_data);
  if (slot != nullptr) {
    switch (RingSlots::kind_of(completion.user_data)) {
    case Kind::receive:
      on_received(number, completion);
      break;
    case Kind::poll:
      slot->polls = slot->cancels = false;
      if (slot->channel != nullptr) {
        slot->channel->send_state_.has_room();
        if (slot->channel->waits_writable_) {
          call_again(*slot->channel);
        }
      }
      break;
    case Kind::cancel: // it has failed: there was nothing to cancel yet, or not any more
      slot->cancels = false;
      break;
    case Kind::send:
      break;
    }
    settle(number);
  }
  uring_.give_back(completion);
}

void Ring::on_received(std::uint32_t number, const io_uring_cqe& completion) {
  RingSlot& slot = slots_[number];
  if ((completion.flags & IORING_CQE_F_MORE) == 0) {
    slot.receives = slot.cancels = false;
  }
  if (slot.channel == nullptr) {
    return;
  }
  switch (completion.res) {
  case -ENOBUFS:   // there will be buffers when these completions are handled
  case -ECANCELED: // by us
  case -EINTR:
  case -EAGAIN:
    return;
  case 0:
    slot.end = Transfer::end_of_input;
    return report_end(slot);
  default:
    if (completion.res > 0) {
      hand_over(slot, uring_.received(completion));
      return look_for_reset(number); // the slot may have moved
    }
    slot.end = Transfer::failed;
    return report_end(slot);
  }
}

// The kernel forgets a reset that comes together with bytes while it arms a receive: it reads the
// bytes, and waits for more (Linux 6.18). Costs a system call for each receive that is armed.
void Ring::look_for_reset(std::uint32_t number) noexcept {
  RingSlot& slot = slots_[number];
  if (std::exchange(slot.is_fresh, false) && slot.receives && slot.channel != nullptr &&
      slot.end == Transfer::done && slot.channel->socket_.was_reset()) {
    slot.end = Transfer::failed;
    report_end(slot);
  }
}

// ---- Turns of channels. Each call may delete the channel, and leaves the slot.

void Ring::hand_over(RingSlot& slot, std::string_view bytes) noexcept {
  if (slot.channel->reads_ && !slot.has_stash) {
    slot.channel->on_input(bytes);
  } else {
    stash(slot, bytes);
  }
}

// Without memory for what was received the connection cannot go on.
void Ring::stash(RingSlot& slot, std::string_view bytes) noexcept {
  if (slot.end != Transfer::done) {
    return;
  }
  try {
    stash_.add(*slot.channel, bytes);
    slot.has_stash = true;
  } catch (const std::bad_alloc&) {
    slot.end = Transfer::failed;
  }
}

// Takes from the stash as much as a channel is handed at once.
std::string_view Ring::unstash(RingSlot& slot) noexcept {
  const std::size_t size = stash_.take(*slot.channel, room_);
  slot.has_stash = stash_.size(*slot.channel) != 0;
  return {room_.data(), size};
}

// Not before it is known that what was sent has left: a channel that ends cannot send it again.
void Ring::report_end(RingSlot& slot) noexcept {
  Channel& channel = *slot.channel;
  if (!channel.reads_ || slot.has_stash || slot.end_reported) {
    return;
  }
  if (slots_.sending(slot)) {
    return call_again(channel);
  }
  slot.end_reported = true;
  channel.on_end(slot.end);
}

// What is due without a completion.
void Ring::have_turn(Channel& channel) noexcept {
  const std::uint32_t number = channel.slot_;
  RingSlot& slot = slots_[number];
  const bool has_input = channel.reads_ && (slot.has_stash || slot.end != Transfer::done);
  if (slots_.sending(slot)) {
    call_again(channel); // the kernel has not taken the batch yet
  } else if (channel.waits_writable_ && channel.send_state_.writable()) {
    if (has_input) {
      call_again(channel); // now, because the call below may delete the channel
    }
    channel.waits_writable_ = false;
    channel.on_writable();
  } else if (has_input && slot.has_stash) {
    const std::string_view bytes = unstash(slot);
    call_again(channel);
    channel.on_input(bytes);
  } else if (has_input) {
    report_end(slot);
  }
  settle(number);
}

void Ring::call_again(Channel& channel) noexcept {
  if (!channel.AgainHook::is_linked()) {
    again_.push_back(channel);
  }
  want_round();
}

void Ring::settle(std::uint32_t number) noexcept {
  slots_.settle(number);
  if (!slots_.all_settled() || uring_.has_work()) {
    want_round();
  }
}

// ---- What channels ask for.

void Ring::open(Channel& channel) { channel.slot_ = slots_.open(channel); }

void Ring::read_on(Channel& channel) noexcept {
  const RingSlot& slot = slots_[channel.slot_];
  if (slot.has_stash || slot.end != Transfer::done) {
    call_again(channel);
  }
  settle(channel.slot_);
}

// Outside a round every completion that was fetched is handled. Unless some overflow, what the
// socket holds comes next.
Transfer Ring::take(Channel& channel, std::string_view& bytes) noexcept {
  assert(!in_round_);
  RingSlot& slot = slots_[channel.slot_];
  if (uring_.overflows()) {
    return Transfer::would_block;
  }
  if (slot.has_stash) {
    bytes = unstash(slot);
    return Transfer::done;
  }
  Transfer transfer = slot.end;
  std::size_t size = 0;
  if (transfer == Transfer::done) {
    transfer = channel.socket_.receive(room_, size);
    bytes = {room_.data(), size};
  }
  if (transfer == Transfer::end_of_input || transfer == Transfer::failed) {
    slot.end = transfer;
    if (slots_.sending(slot)) { // not yet, as in report_end()
      call_again(channel);
      return Transfer::would_block;
    }
    slot.end_reported = true;
  }
  return transfer;
}

std::size_t Ring::unread_input(const Channel& channel) const noexcept {
  const RingSlot& slot = slots_[channel.slot_];
  std::size_t size = slot.has_stash ? stash_.size(channel) : 0;
  for (unsigned i = handled_; i < uring_.completions(); ++i) {
    const io_uring_cqe& completion = uring_.completion(i);
    if (completion.user_data == slots_.tag(channel.slot_, Kind::receive) && completion.res > 0) {
      size += static_cast<std::size_t>(completion.res);
    }
  }
  return size + channel.socket_.unread_input();
}

// Outside a round it would take a call of the kernel anyway.
bool Ring::queue_send(Channel& channel, std::string_view bytes) noexcept {
  RingSlot& slot = slots_[channel.slot_];
  if (!in_round_ || slots_.sending(slot) ||
      bytes.size() > std::min(kMostQueued, arena_bytes_ - arena_used_)) {
    return false;
  }
  io_uring_sqe* const entry = uring_.entry();
  if (entry == nullptr) {
    return false;
  }
  char* const copy = arenas_[slots_.batch() % 2].get() + arena_used_;
  bytes.copy(copy, bytes.size());
  io_uring_prep_send(entry, channel.socket_.descriptor(), copy, bytes.size(),
                     MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL);
  entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
  entry->user_data = slots_.tag(channel.slot_, Kind::send);
  slot.sent_in = slots_.batch();
  slot.sent_at = static_cast<std::uint32_t>(arena_used_);
  slot.sent_size = static_cast<std::uint32_t>(bytes.size());
  arena_used_ += bytes.size();
  return true;
}

bool Ring::sending(const Channel& channel) const noexcept {
  return slots_.sending(slots_[channel.slot_]);
}

void Ring::wait_writable(Channel& channel) noexcept {
  if (channel.send_state_.writable()) {
    call_again(channel);
  } else {
    settle(channel.slot_);
  }
}

void Ring::close(Channel& channel) noexcept {
  const std::uint32_t number = channel.slot_;
  RingSlot& slot = slots_[number];
  if (slot.channel != &channel) {
    return; // it was closed before
  }
  channel.reads_ = channel.waits_writable_ = false;
  channel.AgainHook::unlink();
  if (slot.has_stash) {
    stash_.drop(channel);
    slot.has_stash = false;
  }
  slots_.close(number, std::move(channel.socket_));
  settle(number);
}

} // namespace server
