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
  // What holds back a write. A holder that is destroyed is forgotten.
  class Holder : public Hook {
  protected:
    ~Holder() = default;

    bool held() const noexcept { return Hook::is_linked(); }

    // Called when the window has closed: what is held must be written now. May call hold() again,
    // or destroy the holder.
    virtual void on_window_closed() = 0;

  private:
    friend HeldWrites;
    Clock::time_point closes_;
  };

  // A window of zero means that nothing is to be held: see enabled(). A window of more than a day
  // is taken as a day.
  HeldWrites(boost::asio::io_context& io, std::chrono::nanoseconds window)
      : timer_(io), window_(std::min<std::chrono::nanoseconds>(window, std::chrono::hours(24))) {}

  bool enabled() const noexcept { return window_.count() != 0; }

  // Holds a write back until forget(), or until the window closes. The window opens with the first
  // call. Costs O(1) and a clock read, and a system call when no other write is held. Throws
  // std::bad_alloc.
  void hold(Holder& holder);
  void forget(Holder& holder) noexcept;

  // Waits for the next window to close. Needed only after such a wait has failed for lack of
  // memory. Throws std::bad_alloc.
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
