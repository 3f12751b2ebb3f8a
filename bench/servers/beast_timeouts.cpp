// The same keep-alive server on Boost.Beast with its timeouts kept in different ways: what a user
// of Asio and Beast has, what this library makes of it, and none at all. For scripts/study dropin.
//
//   beast_timeouts KIND [THREADS]      (1 or 2 threads; with 2 each connection has a strand)
//
// A request gets 120 s to arrive and its answer 30 s to leave.
//
//   none            a plain socket without timeouts
//   stream          beast::tcp_stream and expires_after()
//   wheel-stream    the same with the one-line edit: timers::tcp_stream
//   idle            timers::tcp_stream with one idle_after(120s) for the connection
//   timer           a plain socket beside an asio::steady_timer that is waited for anew each time
//   wheel-timer     the same with timers::steady_timer
//   rearm           a timers::steady_timer whose one wait stays: rearm_after()
//   hand-cancel     an asio::steady_timer for each operation, which cancels it by a signal
//   cancel          each operation under timers::cancel_after() with a timers::deadline
#include "timers/asio/basic_stream.hpp"
#include "timers/asio/cancel_after.hpp"
#include "timers/asio/steady_timer.hpp"
#include "timers/examples/serving.hpp"

#include <boost/asio.hpp>
#include <boost/beast.hpp>

#include <chrono>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using namespace std::chrono_literals;

constexpr auto kRead = 120s;
constexpr auto kWrite = 30s;

// Reads a request and writes its answer, in turns, until an error or the client ends it. `Timeouts`
// owns the stream, and says how an operation gets its timeout.
template <class Timeouts> class Session : public std::enable_shared_from_this<Session<Timeouts>> {
public:
  explicit Session(tcp::socket socket) : timeouts_(std::move(socket)) {}

  void start() {
    timeouts_.start(this->shared_from_this());
    read();
  }

private:
  void read() {
    request_ = {};
    timeouts_.before(kRead);
    http::async_read(
        timeouts_.stream(), buffer_, request_,
        timeouts_.token(kRead, [self = this->shared_from_this()](error_code error, std::size_t) {
          if (error) {
            self->timeouts_.end();
          } else {
            self->write();
          }
        }));
  }

  void write() {
    response_ = {http::status::ok, request_.version()};
    response_.keep_alive(request_.keep_alive());
    response_.prepare_payload();
    timeouts_.before(kWrite);
    http::async_write(
        timeouts_.stream(), response_,
        timeouts_.token(kWrite, [self = this->shared_from_this()](error_code error, std::size_t) {
          if (error || !self->response_.keep_alive()) {
            self->timeouts_.end();
          } else {
            self->read();
          }
        }));
  }

  Timeouts timeouts_;
  beast::flat_buffer buffer_;
  http::request<http::empty_body> request_;
  http::response<http::empty_body> response_;
};

// What a way to keep timeouts may leave as it is.
template <class Stream> class Base {
public:
  explicit Base(tcp::socket socket) : stream_(std::move(socket)) {}
  Stream& stream() { return stream_; }
  void start(const std::shared_ptr<void>&) {}
  void before(std::chrono::seconds) {}
  template <class Handler> Handler token(std::chrono::seconds, Handler handler) { return handler; }
  void end() {}

private:
  Stream stream_;
};

using None = Base<tcp::socket>;

template <class Stream> struct Expiring : Base<Stream> {
  using Base<Stream>::Base;
  void before(std::chrono::seconds timeout) { this->stream().expires_after(timeout); }
};

struct Idle : Base<timers::tcp_stream> {
  using Base::Base;
  void start(const std::shared_ptr<void>&) { stream().idle_after(kRead); }
};

// As sessions with a deadline timer of their own do it: whoever expires closes the socket.
template <class Timer> struct BesideATimer : Base<tcp::socket> {
  explicit BesideATimer(tcp::socket socket)
      : Base(std::move(socket)), timer_(stream().get_executor()) {}

  void start(const std::shared_ptr<void>& session) { session_ = session; }
  void before(std::chrono::seconds timeout) {
    timer_.expires_after(timeout);
    wait();
  }
  void end() { timer_.cancel(); }

protected:
  void wait() {
    timer_.async_wait([this, session = session_](error_code error) {
      const auto alive = session.lock();
      if (!error && alive) {
        serving::close(stream());
      }
    });
  }

  Timer timer_;
  std::weak_ptr<void> session_;
};

struct Rearming : BesideATimer<timers::steady_timer> {
  using BesideATimer::BesideATimer;
  void start(const std::shared_ptr<void>& session) {
    BesideATimer::start(session);
    timer_.expires_after(kRead);
    wait();
  }
  void before(std::chrono::seconds timeout) { timer_.rearm_after(timeout); }
};

// As it is written by hand where Asio has no cancel_after() yet.
struct HandMade : Base<tcp::socket> {
  explicit HandMade(tcp::socket socket)
      : Base(std::move(socket)), timer_(stream().get_executor()) {}

  void start(const std::shared_ptr<void>& session) { session_ = session; }
  template <class Handler> auto token(std::chrono::seconds timeout, Handler handler) {
    timer_.expires_after(timeout);
    timer_.async_wait([this, session = session_](error_code error) {
      const auto alive = session.lock();
      if (!error && alive) {
        signal_.emit(asio::cancellation_type::terminal);
      }
    });
    return asio::bind_cancellation_slot(
        signal_.slot(), [this, handler = std::move(handler)](error_code error, std::size_t size) {
          timer_.cancel();
          handler(error, size);
        });
  }
  void end() { timer_.cancel(); }

private:
  asio::steady_timer timer_;
  asio::cancellation_signal signal_;
  std::weak_ptr<void> session_;
};

struct WithDeadline : Base<tcp::socket> {
  explicit WithDeadline(tcp::socket socket)
      : Base(std::move(socket)), deadline_(stream().get_executor()) {}
  template <class Handler> auto token(std::chrono::seconds timeout, Handler handler) {
    return timers::cancel_after(deadline_, timeout, std::move(handler));
  }

private:
  timers::deadline deadline_;
};

class Listener {
public:
  using Serve = void (*)(tcp::socket);

  Listener(asio::io_context& io, Serve serve, bool stranded)
      : io_(io), acceptor_(io, {asio::ip::address_v4::loopback(), 0}), serve_(serve),
        stranded_(stranded) {
    accept();
  }

  tcp::endpoint endpoint() const { return acceptor_.local_endpoint(); }

private:
  void accept() {
    const asio::any_io_executor executor = stranded_ ? asio::any_io_executor(asio::make_strand(io_))
                                                     : asio::any_io_executor(io_.get_executor());
    acceptor_.async_accept(executor, [this](error_code error, tcp::socket socket) {
      if (!error) {
        // A session begins where its handlers run.
        const auto where = socket.get_executor();
        asio::dispatch(where, [serve = serve_, socket = std::move(socket)]() mutable {
          serve(std::move(socket));
        });
      }
      accept();
    });
  }

  asio::io_context& io_;
  tcp::acceptor acceptor_;
  Serve serve_;
  bool stranded_;
};

template <class Timeouts> void serve(tcp::socket socket) {
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  std::make_shared<Session<Timeouts>>(std::move(socket))->start();
}

const std::map<std::string_view, Listener::Serve> kKinds{
    {"none", serve<None>},
    {"stream", serve<Expiring<beast::tcp_stream>>},
    {"wheel-stream", serve<Expiring<timers::tcp_stream>>},
    {"idle", serve<Idle>},
    {"timer", serve<BesideATimer<asio::steady_timer>>},
    {"wheel-timer", serve<BesideATimer<timers::steady_timer>>},
    {"rearm", serve<Rearming>},
    {"hand-cancel", serve<HandMade>},
    {"cancel", serve<WithDeadline>},
};

} // namespace

int main(int argc, char** argv) {
  return serving::run([&] {
    const auto kind = kKinds.find(argc > 1 ? argv[1] : "");
    const std::string_view count = argc > 2 ? argv[2] : "1";
    if (kind == kKinds.end() || argc > 3 || (count != "1" && count != "2")) {
      throw std::invalid_argument("usage: beast_timeouts KIND [1|2], see the head of its source");
    }
    const int threads = count == "2" ? 2 : 1;
    asio::io_context io{threads};
    const Listener listener{io, kind->second, threads > 1};
    std::cout << "listening on http://" << listener.endpoint() << std::endl;
    std::jthread second;
    if (threads > 1) {
      second = std::jthread([&io] { io.run(); });
    }
    io.run();
  });
}
