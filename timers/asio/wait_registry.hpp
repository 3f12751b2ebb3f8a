// What destroys the pending waits of timers::steady_timer (wait_queue.hpp) at the end of their
// context. No program includes this.
#pragma once

#include "timers/asio/wait.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>

#include <memory>
#include <mutex>

namespace timers::detail {

// The queues of a context. At its end they give away their waits. A handler often owns its timer,
// so nothing else would destroy it.
class WaitRegistry {
public:
  class Member {
  protected:
    virtual ~Member() = default;

  private:
    friend WaitRegistry;
    // Moves all waits to `waits`; from now on those that are started are destroyed.
    virtual void close(WaitList& waits) noexcept = 0;
    Member* next_ = nullptr;
    Member* previous_ = nullptr;
    bool listed_ = false;
  };

  // Returns false, and does nothing, after close().
  bool add(Member& member) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) {
      return false;
    }
    member.listed_ = true;
    member.next_ = first_;
    if (first_ != nullptr) {
      first_->previous_ = &member;
    }
    first_ = &member;
    return true;
  }

  void remove(Member& member) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!member.listed_) {
      return;
    }
    (member.previous_ != nullptr ? member.previous_->next_ : first_) = member.next_;
    if (member.next_ != nullptr) {
      member.next_->previous_ = member.previous_;
    }
  }

  // Destroys all waits. Their handlers' destructors may do anything to any timer.
  void close() noexcept {
    WaitList waits;
    const std::lock_guard<std::mutex> lock(mutex_); // given up before the waits are destroyed
    closed_ = true;
    for (Member* member = first_; member != nullptr; member = member->next_) {
      member->close(waits);
    }
  }

private:
  std::mutex mutex_;
  Member* first_ = nullptr;
  bool closed_ = false;
};

class WaitRegistryService final : public boost::asio::execution_context::service {
public:
  static inline boost::asio::execution_context::id id;

  explicit WaitRegistryService(boost::asio::execution_context& context)
      : boost::asio::execution_context::service(context) {}
  ~WaitRegistryService() override { registry_->close(); }

  // Takes the lock of the context's services.
  static std::shared_ptr<WaitRegistry> of(const boost::asio::any_io_executor& executor) {
    return boost::asio::use_service<WaitRegistryService>(
               boost::asio::query(executor, boost::asio::execution::context))
        .registry_;
  }

private:
  void shutdown() noexcept override { registry_->close(); }

  const std::shared_ptr<WaitRegistry> registry_ = std::make_shared<WaitRegistry>();
};

} // namespace timers::detail
