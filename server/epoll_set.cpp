#include "server/epoll_set.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
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
  if (!waiting_) {
    wait();
  }
}

// ---- Rounds.

void EpollSet::wait() {
  if (again_.empty()) {
    epoll_.async_wait(Descriptor::wait_read, [this](Error /*cancelled*/) { round(); });
    waits_for_events_ = true;
  } else {
    boost::asio::post(epoll_.get_executor(), [this] { round(); });
  }
  waiting_ = true;
}

void EpollSet::round() {
  waiting_ = waits_for_events_ = false;
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
    on_events(channel, 0);
  }
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
      on_events(*static_cast<Channel*>(event.data.ptr), event.events);
    }
  }
  end_ = 0;
  return fetched;
}

void EpollSet::on_events(Channel& channel, std::uint32_t events) noexcept {
  channel.readable_ = channel.readable_ || (events & (EPOLLIN | EPOLLPRI | kEnds)) != 0;
  channel.writable_ = channel.writable_ || (events & (EPOLLOUT | kEnds)) != 0;
  channel.short_read_ends_input_ =
      channel.short_read_ends_input_ && (events & (EPOLLPRI | kEnds)) == 0;
  if (channel.waits_writable_ && channel.writable_) {
    if (channel.readable_) {
      call_again(channel); // now, because the call below may delete the channel
    }
    channel.waits_writable_ = false;
    channel.on_writable();
  } else if (channel.reads_ && channel.readable_ && !channel.ended_) {
    read_turn(channel);
  }
}

void EpollSet::read_turn(Channel& channel) noexcept {
  std::string_view bytes;
  switch (const Transfer transfer = take(channel, bytes)) {
  case Transfer::done:
    if (channel.readable_) {
      call_again(channel);
    }
    return channel.on_input(bytes);
  case Transfer::would_block:
    return;
  case Transfer::end_of_input:
  case Transfer::failed:
    return channel.on_end(transfer);
  }
}

// Outside a round the next one is brought about by ending the wait for events, which allocates
// nothing.
void EpollSet::call_again(Channel& channel) noexcept {
  if (!channel.AgainHook::is_linked()) {
    again_.push_back(channel);
  }
  if (waits_for_events_) {
    waits_for_events_ = false;
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
  std::size_t size = 0;
  const Transfer transfer = channel.socket_.receive(room_, size);
  if (transfer == Transfer::done) {
    bytes = {room_.data(), size};
    channel.readable_ = size == room_.size() || !channel.short_read_ends_input_;
  } else {
    channel.readable_ = false;
    channel.ended_ = transfer != Transfer::would_block;
  }
  return transfer;
}

std::size_t EpollSet::unread_input(const Channel& channel) const noexcept {
  return channel.socket_.unread_input();
}

Transfer EpollSet::send(Channel& channel, const Pieces& pieces, Sending /*when*/,
                        std::size_t& size) noexcept {
  const Transfer transfer = channel.socket_.send(pieces, size);
  channel.writable_ = transfer != Transfer::would_block;
  return transfer;
}

// Few sockets ever wait for this, so that it is registered when the first wait begins.
void EpollSet::wait_writable(Channel& channel) noexcept {
  if (channel.writable_) {
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
  for (int at = next_; at < end_; ++at) {
    epoll_event& fetched = events_[static_cast<std::size_t>(at)];
    if (fetched.data.ptr == &channel) {
      fetched.data.ptr = nullptr;
    }
  }
  channel.socket_.close();
}

} // namespace server
