// wheel_service: the timers of an execution context, for I/O objects on any of its threads and
// strands. timers::tcp_stream, timers::steady_timer and timers::cancel_after find it through their
// executor, so that nothing has to be passed around:
//
//   timers::tcp_stream stream{io};   // that is all
//
// There is one service per io_context, thread_pool or system_context. It makes one OS timer of it,
// however many objects there are, and programs that only when a deadline becomes earlier than what
// it is programmed for. shared_timer_service.hpp says how deadlines are kept and expire.
//
// The service does not hold up io_context::run(): when no operation with a timeout is pending any
// more, run() returns at most 20 ms later than it would without timers.
//
// One who wants another tick, another budget or some slack says so before the first object is made:
//
//   timers::wheel_service::install(io, {.tick = 10ms});
#pragma once

#include "timers/hierarchical_wheel.hpp"
#include "timers/shared_timer_service.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/core/no_exceptions_support.hpp>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace timers {

namespace detail {

// A callable that has `function` run in a strand. It can only be moved, and is to be called once.
// When there is no memory to get there, the function is destroyed.
template <class Strand, class Function> class InStrand {
public:
  using allocator_type = boost::asio::associated_allocator_t<Function>;

  InStrand(const Strand& strand, Function function)
      : strand_(strand), function_(std::move(function)) {}

  allocator_type get_allocator() const noexcept {
    return boost::asio::get_associated_allocator(function_);
  }
  void operator()() {
    BOOST_TRY { boost::asio::dispatch(strand_, std::move(function_)); }
    BOOST_CATCH(...) {} // not what the function throws, which Asio has its context throw later
    BOOST_CATCH_END
  }

private:
  Strand strand_;
  Function function_;
};

} // namespace detail

// Where the handlers of an I/O object run.
struct AsioOwner {
  boost::asio::any_io_executor executor;

  template <class Check> void post(Check check) const {
    using boost::asio::io_context;
    using boost::asio::thread_pool;
    if (!post_by<io_context::executor_type>(check) && !post_by<thread_pool::executor_type>(check)) {
      boost::asio::post(executor, std::move(check));
    }
  }

private:
  // What goes by way of any_io_executor takes twice the instructions. What is posted to a strand by
  // a handler that it is running has the strand posted anew, which costs more than to go round by
  // the executor below it.
  template <class Inner, class Check> bool post_by(Check& check) const {
    using Strand = boost::asio::strand<Inner>;
    if (const auto* plain = executor.target<Inner>()) {
      boost::asio::post(*plain, std::move(check));
      return true;
    }
    const auto* strand = executor.target<Strand>();
    if (strand == nullptr) {
      return false;
    }
    if (strand->running_in_this_thread()) {
      boost::asio::post(strand->get_inner_executor(),
                        detail::InStrand<Strand, Check>(*strand, std::move(check)));
    } else {
      boost::asio::post(*strand, std::move(check));
    }
    return true;
  }
};

namespace detail {

template <class Inner>
bool strand_inside(const boost::asio::any_io_executor& executor,
                   boost::asio::any_io_executor& inner) {
  const auto* strand = executor.target<boost::asio::strand<Inner>>();
  if (strand != nullptr) {
    inner = strand->get_inner_executor();
  }
  return strand != nullptr;
}

// The executor that a strand runs on. The service's wake-ups need no strand, and would wait for
// what runs on it. Another kind of strand stays as it is, which works too.
inline boost::asio::any_io_executor without_strand(boost::asio::any_io_executor executor) {
  namespace asio = boost::asio;
  asio::any_io_executor inner;
  if (strand_inside<asio::any_io_executor>(executor, inner)) {
    return without_strand(std::move(inner));
  }
  return strand_inside<asio::io_context::executor_type>(executor, inner) ||
                 strand_inside<asio::thread_pool::executor_type>(executor, inner) ||
                 strand_inside<asio::system_executor>(executor, inner)
             ? inner
             : executor;
}

} // namespace detail

// `Mutex` may be NullMutex if one thread at a time runs the context and uses its objects.
template <TimerBackend Backend = HierarchicalWheel, class Mutex = std::mutex>
class basic_wheel_service final : public boost::asio::execution_context::service {
public:
  using Timers = SharedTimerService<Backend, AsioOwner, Mutex>;
  using Timer = typename Timers::Timer;
  using mutex_type = Mutex;

  static inline boost::asio::execution_context::id id; // by which Asio tells services apart

  // For Asio; programs call of() and install().
  explicit basic_wheel_service(boost::asio::execution_context& context, SharedConfig config = {})
      : boost::asio::execution_context::service(context),
        timers_(std::make_shared<DrivenTimers>(config)) {}

  // The timers of the context to which `executor` belongs. Any thread may call it. It takes the
  // lock of the context's services, so call it once for each object.
  static std::shared_ptr<Timers> of(const boost::asio::any_io_executor& executor) {
    auto& service = boost::asio::use_service<basic_wheel_service>(
        boost::asio::query(executor, boost::asio::execution::context));
    service.timers_->run_on(executor);
    return service.timers_;
  }

  // Makes the service of a context with a configuration of its own. Throws
  // boost::asio::service_already_exists when an object has been made already, and
  // std::invalid_argument as SharedTimerService does.
  template <class Context> static void install(Context& context, SharedConfig config) {
    boost::asio::make_service<basic_wheel_service>(context, config)
        .timers_->run_on(context.get_executor());
  }

private:
  class DrivenTimers : public Timers {
  public:
    explicit DrivenTimers(SharedConfig config) : Timers(config) {
      this->on_wake_time([this] { program(); });
    }

    // The wake-ups come through the first executor that this is called with.
    void run_on(const boost::asio::any_io_executor& executor) {
      std::call_once(once_, [&] { os_timer_.emplace(detail::without_strand(executor)); });
    }

    void shut_down() noexcept {
      this->stop();
      os_timer_.reset();
    }

  private:
    using Clock = std::chrono::steady_clock;

    std::weak_ptr<DrivenTimers> weak() {
      return std::static_pointer_cast<DrivenTimers>(this->shared_from_this());
    }

    // Under the lock, which keeps threads apart that would use os_timer_ at once.
    void program() {
      const auto time = this->wake_time();
      if (time == kForever) {
        os_timer_->cancel();
        return;
      }
      os_timer_->expires_at(Clock::time_point(time));
      os_timer_->async_wait([timers = weak()](boost::system::error_code error) {
        const auto alive = timers.lock();
        if (!error && alive) {
          alive->pass();
        }
      });
    }

    void pass() {
      if (this->run_pass() == Pass::done) {
        return;
      }
      OnFailure failed([this] { this->pass_failed(); });
      boost::asio::post(executor_of_wakes(), [timers = weak()] {
        if (const auto alive = timers.lock()) {
          alive->pass();
        }
      });
      failed.dismiss();
    }

    boost::asio::any_io_executor executor_of_wakes() { return os_timer_->get_executor(); }

    std::once_flag once_;
    std::optional<boost::asio::basic_waitable_timer<Clock, boost::asio::wait_traits<Clock>>>
        os_timer_;
  };

  void shutdown() noexcept override { timers_->shut_down(); }

  const std::shared_ptr<DrivenTimers> timers_;
};

using wheel_service = basic_wheel_service<>;

} // namespace timers
