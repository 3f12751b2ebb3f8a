#include "server/held_writes.hpp"

namespace server {

void HeldWrites::hold(Holder& holder) {
  if (holder.held()) {
    return;
  }
  holder.closes_ = Clock::now() + window_;
  held_.push_back(holder);
  wait();
}

void HeldWrites::forget(Holder& holder) noexcept {
  if (holder.held()) {
    holder.Hook::unlink();
  }
}

void HeldWrites::wait() {
  if (waiting_ || held_.empty()) {
    return;
  }
  timer_.expires_at(held_.front().closes_);
  timer_.async_wait([this](boost::system::error_code cancelled) {
    if (!cancelled) {
      waiting_ = false;
      close_windows();
    }
  });
  waiting_ = true;
}

void HeldWrites::close_windows() {
  const auto now = Clock::now();
  while (!held_.empty() && held_.front().closes_ <= now) {
    Holder& holder = held_.front();
    held_.pop_front();
    holder.on_window_closed();
  }
  wait();
}

} // namespace server
