// The time part of the write window: responses that wait a moment for others to share their write.
#pragma once

#include "server/os_timer.hpp"

#include <boost/intrusive/list.hpp>

#include <algorithm>
#include <chrono>

namespace server {

class HeldWrites {
  using Clock = std::chrono::steady_clock;
  using Hook =
      boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>,
                                       boost::intrusive::tag<HeldWrites>>;

public:
  // What holds back a write; destroying it is enough to be forgotten.
  class Holder : public Hook {
  protected:
    ~Holder() = default;

    bool held() const noexcept { return Hook::is_linked(); }

    // The window has closed: what is held must leave now. May hold again, or destroy itself.
    virtual void on_window_closed() = 0;

  private:
    friend HeldWrites;
    Clock::time_point closes_;
  };

  // Zero: nothing is ever held. More than a day counts as a day.
  HeldWrites(boost::asio::io_context& io, std::chrono::nanoseconds window)
      : timer_(io), window_(std::min<std::chrono::nanoseconds>(window, std::chrono::hours(24))) {}

  bool enabled() const noexcept { return window_.count() != 0; }

  // From the first call until forget(), or until the window closes. O(1), a clock read; a system
  // call when no other is held.
  void hold(Holder& holder);
  void forget(Holder& holder) noexcept;

  // Sees to it that the next window closes. Needed only after a wait has failed for lack of memory;
  // throws std::bad_alloc.
  void wait();

private:
  void close_windows();

  // All windows are equally long, so they close in the order in which they were opened.
  boost::intrusive::list<Holder, boost::intrusive::base_hook<Hook>,
                         boost::intrusive::constant_time_size<false>>
      held_;
  OsTimer timer_;
  std::chrono::nanoseconds window_;
  bool waiting_ = false;
};

} // namespace server
