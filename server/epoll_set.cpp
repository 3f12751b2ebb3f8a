#include "server/epoll_set.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <cassert>
#include <cerrno>

namespace server {
namespace {

constexpr std::uint32_t kReadable = EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET;
constexpr std::uint32_t kEnds = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

int check(int result, const char* what) {
  if (result < 0) {
    throw boost::system::system_error(errno, boost::system::system_category(), what);
  }
  return result;
}

} // namespace

EpollSet::EpollSet(boost::asio::io_context& io)
    : Transport(io), epoll_(io.get_executor(), check(epoll_create1(EPOLL_CLOEXEC), "epoll")) {
  wait();
}

void EpollSet::shutdown() {
  Error error;
  epoll_.close(error);
}

void EpollSet::resume() {
  if (!round_is_due_) {
    wait();
  }
}

// ---- Rounds.

void EpollSet::wait() {
  if (again_.empty()) {
    epoll_.async_wait(Descriptor::wait_read, [this](Error /*cancelled*/) { round(); });
    waits_for_event_ = true;
  } else {
    boost::asio::post(epoll_.get_executor(), [this] { round(); });
  }
  round_is_due_ = true;
}

// Reads what there is to read. The channel has its turn when the batch ends, which must not be
// full. Inlined into the loop over events, so that a request does not pay for the other caller.
[[gnu::always_inline]] inline void EpollSet::begin_turn(Channel& channel,
                                                        std::uint32_t events) noexcept {
  channel.readable_ = channel.readable_ || (events & (EPOLLIN | EPOLLPRI | kEnds)) != 0;
  if ((events & (EPOLLOUT | kEnds)) != 0) {
    channel.send_state_.has_room();
  }
  channel.short_read_ends_input_ =
      channel.short_read_ends_input_ && (events & (EPOLLPRI | kEnds)) == 0;
  if (channel.waits_writable_ && channel.send_state_.writable()) {
    turns_[turns_end_++] = {&channel, {}, {}};
  } else if (channel.reads_ && channel.readable_ && !channel.ended_) {
    Turn& turn = turns_[turns_end_++];
    turn.channel = &channel;
    turn.read = receive(channel, std::span(input_).subspan(input_size_, kReadSize), turn.bytes);
    input_size_ += turn.bytes.size();
  }
}

void EpollSet::round() {
  round_is_due_ = waits_for_event_ = false;
  Channels again;
  again.swap(again_); // those that are added from now on have their turns in the next round
  for (int events = 0; events < kMostEventsOfRound;) {
    const int more = handle_events();
    events += more;
    if (more < kBusy) {
      break;
    }
  }
  while (!again.empty()) {
    Channel& channel = again.front();
    again.pop_front();
    begin_turn(channel, 0);
    if (batch_is_full()) {
      end_batch();
    }
  }
  end_batch();
  wait();
}

// Returns how many there were.
int EpollSet::handle_events() {
  next_ = 0;
  end_ = std::max(0, epoll_wait(epoll_.native_handle(), events_.data(), kMostEvents, 0));
  const int fetched = end_;
  while (next_ < end_) {
    const epoll_event event = events_[static_cast<std::size_t>(next_++)];
    if (next_ + 1 < end_) {
      prefetch(events_[static_cast<std::size_t>(next_ + 1)].data.ptr);
    }
    if (event.data.ptr != nullptr) {
      begin_turn(*static_cast<Channel*>(event.data.ptr), event.events);
    }
    if (batch_is_full() || next_ == end_) {
      end_batch();
    }
  }
  end_ = 0;
  return fetched;
}

void EpollSet::end_batch() noexcept {
  in_batch_ = true;
  for (std::size_t i = 0; i < turns_end_; ++i) {
    if (turns_[i].channel != nullptr) {
      const Turn turn = turns_[i];
      turns_[i].channel = nullptr;
      have_turn(turn);
    }
  }
  in_batch_ = false;
  turns_end_ = input_size_ = 0;
  for (std::size_t i = 0; i < sends_end_; ++i) {
    if (sends_[i].channel != nullptr) {
      const Send send = sends_[i];
      sends_[i].channel = nullptr;
      send_queued(send);
    }
  }
  sends_end_ = output_size_ = 0;
}

// Asks for the next turn first, because the channel may delete itself in this one.
void EpollSet::have_turn(const Turn& turn) noexcept {
  Channel& channel = *turn.channel;
  if (channel.readable_) {
    call_again(channel);
  }
  if (!turn.read) {
    channel.waits_writable_ = false;
    channel.on_writable();
  } else if (*turn.read == Transfer::done) {
    channel.on_input(turn.bytes);
  } else if (*turn.read != Transfer::would_block) {
    channel.on_end(*turn.read);
  }
}

void EpollSet::send_queued(const Send& send) noexcept {
  Channel& channel = *send.channel;
  std::size_t size = 0;
  const Transfer transfer = channel.socket_.send(send.bytes, size);
  channel.sending_ = false;
  if (size != send.bytes.size()) {
    channel.send_state_.came_back(transfer == Transfer::would_block);
    if (channel.waits_writable_) {
      wait_writable(channel); // it asked before the socket was known to be full
    }
    channel.on_unsent(send.bytes.substr(size));
  }
}

// Outside a round the next one is brought about by ending the wait for events, which allocates
// nothing.
void EpollSet::call_again(Channel& channel) noexcept {
  if (!channel.AgainHook::is_linked()) {
    again_.push_back(channel);
  }
  if (waits_for_event_) {
    waits_for_event_ = false;
    Error error;
    epoll_.cancel(error);
  }
}

// ---- What channels ask for.

void EpollSet::open(Channel& channel) {
  epoll_event event{.events = kReadable, .data = {.ptr = &channel}};
  check(epoll_ctl(epoll_.native_handle(), EPOLL_CTL_ADD, channel.socket_.descriptor(), &event),
        "epoll_ctl");
}

void EpollSet::read_on(Channel& channel) noexcept {
  if (channel.readable_) {
    call_again(channel);
  }
}

Transfer EpollSet::take(Channel& channel, std::string_view& bytes) noexcept {
  assert(!in_batch_);
  return receive(channel, room_, bytes);
}

Transfer EpollSet::receive(Channel& channel, std::span<char> room,
                           std::string_view& bytes) noexcept {
  std::size_t size = 0;
  const Transfer transfer = channel.socket_.receive(room, size);
  bytes = {room.data(), size};
  channel.readable_ =
      transfer == Transfer::done && (size == room.size() || !channel.short_read_ends_input_);
  channel.ended_ = transfer == Transfer::end_of_input || transfer == Transfer::failed;
  return transfer;
}

std::size_t EpollSet::unread_input(const Channel& channel) const noexcept {
  std::size_t size = channel.socket_.unread_input();
  for (std::size_t i = 0; i < turns_end_; ++i) {
    size += turns_[i].channel == &channel ? turns_[i].bytes.size() : 0;
  }
  return size;
}

bool EpollSet::queue_send(Channel& channel, std::string_view bytes) noexcept {
  if (!in_batch_ || channel.sending_ || bytes.size() > kMostQueued || sends_end_ == kBatch) {
    return false;
  }
  char* const copy = output_.data() + output_size_;
  output_size_ += bytes.copy(copy, bytes.size());
  sends_[sends_end_++] = {&channel, {copy, bytes.size()}};
  channel.sending_ = true;
  return true;
}

bool EpollSet::sending(const Channel& channel) const noexcept { return channel.sending_; }

// Few sockets ever wait for this, so that it is registered when the first wait begins.
void EpollSet::wait_writable(Channel& channel) noexcept {
  if (channel.send_state_.writable()) {
    call_again(channel);
  } else if (!channel.reports_writable_) {
    channel.reports_writable_ = true;
    epoll_event event{.events = kReadable | EPOLLOUT, .data = {.ptr = &channel}};
    epoll_ctl(epoll_.native_handle(), EPOLL_CTL_MOD, channel.socket_.descriptor(), &event);
  }
}

// Events of the channel that were fetched are dropped, so that none reaches the next channel with
// the same address. Closing the socket takes it out of the epoll instance.
void EpollSet::close(Channel& channel) noexcept {
  channel.reads_ = channel.waits_writable_ = false;
  channel.AgainHook::unlink();
  for (Turn& turn : turns_) {
    turn.channel = turn.channel == &channel ? nullptr : turn.channel;
  }
  for (Send& send : sends_) {
    if (send.channel == &channel) {
      std::size_t size = 0;
      channel.socket_.send(send.bytes, size);
      send.channel = nullptr;
    }
  }
  for (int at = next_; at < end_; ++at) {
    epoll_event& fetched = events_[static_cast<std::size_t>(at)];
    if (fetched.data.ptr == &channel) {
      fetched.data.ptr = nullptr;
    }
  }
  channel.socket_.close();
}

} // namespace server
