// A fuzz target: a whole connection on a loopback socket, its timers on a clock moved by hand. The
// input says what the client sends, in which pieces, when it reads, closes or resets, and when time
// goes on. Whatever happens, the client receives the answers to what it sent, in order. Each is
// complete but the last, and at most one error follows them. When no timeout came in between and
// the client did not break off, it receives all of them. Built with clang's libFuzzer:
// scripts/fuzz.
#include "server/connection.hpp"
#include "server/epoll_set.hpp"
#include "server/transport.hpp"
#ifdef IDLEWHEEL_URING
#include "server/ring.hpp"
#endif
#include "timers/backends.hpp"
#include "timers/timer_service.hpp"

#include <boost/asio/ip/tcp.hpp>
#include <fuzzer/FuzzedDataProvider.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>
#include <thread>

extern "C" [[gnu::weak]] std::size_t __sanitizer_get_current_allocated_bytes();

namespace server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

std::int64_t clock_ns = 0;

struct HandClock {
  std::chrono::steady_clock::time_point now() const noexcept {
    return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(clock_ns));
  }
};

class HandTimers {
  using Service = timers::TimerService<timers::DefaultBackend, HandClock>;

public:
  using Instant = Service::Instant;
  using Timeout = Service::Timeout;
  class Timer : public Service::Timer {
  public:
    Timer(HandTimers& owner, timers::Action action) : Service::Timer(owner.service_, action) {}
  };

  explicit HandTimers(asio::io_context::executor_type /*executor*/,
                      timers::DriverConfig config = {})
      : service_(config.service) {}

  Instant now() { return service_.now(); }
  Timeout timeout(std::chrono::nanoseconds duration) const { return service_.timeout(duration); }
  const timers::TimerCounters& counters() const { return service_.counters(); }
  void stop() {}
  void run_due() { service_.run_due(); }

private:
  Service service_;
};

constexpr RequestLimits kLimits{.max_header_bytes = 512, .max_headers = 8, .max_body_bytes = 256};

using Input = FuzzedDataProvider;

constexpr std::string_view kSnippets[]{
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET / HTTP/1.1\r\n",
    "GET /bytes/100 HTTP/1.1\r\n",
    "GET /bytes/300000 HTTP/1.1\r\n",
    "HEAD /bytes/9 HTTP/1.1\r\n",
    "POST /echo HTTP/1.1\r\n",
    "GET / HTTP/1.0\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "Host: h\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 300\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Expect: 100-continue\r\n",
    "\r\n",
    "abc",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "0;x=\"y\"\r\nA: b\r\n\r\n",
    "\r",
    "\n",
    " ",
    "\x16\x03",
    "A: b\r\n"};

void require(bool holds, std::string_view what, std::string_view sent, std::string_view received) {
  if (!holds) {
    std::cerr << what << "\n--- sent\n"
              << sent << "\n--- received\n"
              << received.substr(0, 4000) << '\n';
    std::abort();
  }
}

// The text without what may differ between two runs: dates, and interim responses.
std::string normalised(std::string text) {
  for (const auto& [begin, length] : {std::pair<std::string_view, std::size_t>{"Date: ", 37},
                                      {"HTTP/1.1 100 Continue\r\n\r\n", 25}}) {
    for (std::size_t at = 0; (at = text.find(begin, at)) != std::string::npos;) {
      text.erase(at, length);
    }
  }
  return text;
}

// What the server must answer when nothing ends the connection early.
std::string expected_answers(std::string_view sent) {
  std::string out;
  ResponseFormatter formatter;
  std::optional<RequestParser> parser(std::in_place, kLimits, false);
  for (;;) {
    std::size_t used = 0;
    const auto state = parser->put(sent, used);
    sent.remove_prefix(used);
    if (state == RequestParser::State::need_more) {
      return normalised(out);
    }
    if (state == RequestParser::State::bad) {
      formatter.append(out, {.status = parser->error()}, Persistence::close);
      return normalised(out);
    }
    const Request& request = parser->request();
    const Answer reply = answer_to(request.resource, request.method, request.body);
    formatter.append(out, reply,
                     !request.keep_alive ? Persistence::close
                     : request.http_1_0  ? Persistence::keep_1_0
                                         : Persistence::keep);
    out.append(reply.body).append(static_cast<std::size_t>(reply.filler_bytes), 'x');
    if (!request.keep_alive) {
      return normalised(out);
    }
    parser.emplace(kLimits, false);
  }
}

// All inputs share a loop, because a ring takes long to make. Each leaves nothing in it.
asio::io_context& loop() {
  static asio::io_context io;
  return io;
}

// IDLEWHEEL_IO says which. A ring is made too small for what some inputs ask of it.
Transport& transport(asio::io_context& io) {
  const char* const name = std::getenv("IDLEWHEEL_IO");
#ifdef IDLEWHEEL_URING
  if (name != nullptr && name == Ring::kName) {
    constexpr RingSizes kSmall{
        .submissions = 4, .completions = 8, .buffers = 4, .buffer_bytes = 256};
    try {
      static Ring& ring = asio::make_service<Ring>(io, kSmall);
      return ring;
    } catch (const RingRefused& refused) {
      std::cerr << refused.what() << '\n';
      std::exit(77); // CTest takes it as skipped
    }
  }
#endif
  require(name == nullptr || name == EpollSet::kName, "no such transport", "", "");
  return epoll_transport(io);
}

class FuzzedConnection {
public:
  explicit FuzzedConnection(Input& input)
      : input_(input), linger_(input_.ConsumeBool()), window_(some_window(input_)),
        timers_(io_.get_executor(), {}),
        context_{
            .transport = transport_,
            .counters = counters_,
            .exchanges = ExchangePool({.limits = kLimits,
                                       .window = window_,
                                       .scenario = {Scenario::respond, 1},
                                       .counters = counters_}),
            .timers = timers_,
            .timeouts = {.idle = timers_.timeout(std::chrono::seconds(3)),
                         .request = timers_.timeout(std::chrono::seconds(2)),
                         .linger = linger_ ? std::optional(timers_.timeout(std::chrono::seconds(1)))
                                           : std::nullopt},
            // This window never closes by time: it is an hour long, or there is none.
            .held_writes = {io_, std::chrono::hours(input_.ConsumeBool())},
            .loop_probe = {io_, false}} {
    tcp::acceptor acceptor(io_, {asio::ip::make_address("127.0.0.1"), 0});
    client_.connect(acceptor.local_endpoint());
    Error error;
    std::optional<Socket> socket = accept_from(acceptor.native_handle(), error);
    client_.non_blocking(true);
    client_.set_option(asio::socket_base::linger(true, 0)); // leave no port in TIME_WAIT
    connection_ = &Connection<HandTimers>::start(context_, std::move(socket).value());
  }

  void live() {
    while (input_.remaining_bytes() != 0 && !broken_off_) {
      step();
      require(memory() < kMostMemory, "too much memory", sent_, received_);
    }
    finish();
    judge();
  }

private:
  static constexpr std::size_t kMostMemory = 256 * 1024;
  static constexpr std::int64_t kPauses_ms[]{1, 500, 1'999, 3'001};

  static WriteWindow some_window(Input& input) {
    constexpr std::size_t kWindows[]{8192, 0, 100, 1000};
    constexpr std::size_t kResponses[]{1000, 1, 3};
    return {.bytes = input.PickValueInArray(kWindows),
            .responses = input.PickValueInArray(kResponses)};
  }

  void step() {
    switch (input_.ConsumeIntegralInRange(0, 7)) {
    case 0:
    case 1:
    case 2:
      return send(input_.PickValueInArray(kSnippets));
    case 3:
      return send(input_.ConsumeRandomLengthString(8));
    case 4:
      return send(std::string(input_.ConsumeIntegralInRange<std::size_t>(0, 120), 'a'));
    case 5:
      read();
      return;
    case 6:
      clock_ns += input_.PickValueInArray(kPauses_ms) * 1'000'000;
      timers_.run_due();
      disturbed_ = disturbed_ || timed_out() || ending();
      return poll();
    default:
      return rarely();
    }
  }

  void rarely() {
    switch (input_.ConsumeIntegralInRange(0, 15)) {
    case 0: {
      boost::system::error_code ignored;
      client_.close(ignored); // sends a reset
      broken_off_ = disturbed_ = true;
      return poll();
    }
    case 1:
      disturbed_ = true;
      context_.draining = context_.ends_idle = true;
      if (alive()) {
        connection_->drain({});
      }
      return poll();
    case 2:
      disturbed_ = true;
      if (alive()) {
        connection_->cut();
      }
      return poll();
    default:
      return poll();
    }
  }

  bool alive() const { return counters_.open != 0; }
  bool ending() const { return counters_.serving() == 0; }

  std::uint64_t closed(CloseReason reason) const {
    return counters_.closed[static_cast<std::size_t>(reason)];
  }
  bool timed_out() const { return closed(CloseReason::idle) + closed(CloseReason::request) != 0; }

  void poll() {
    while (io_.poll() != 0) {
    }
    io_.restart();
  }

  void send(std::string_view bytes) {
    boost::system::error_code error;
    while (!bytes.empty()) {
      // Bytes that come after a close without lingering are answered by a reset, which drops what
      // the client has not read.
      disturbed_ = disturbed_ || (ending() && !linger_);
      const std::size_t size = client_.write_some(asio::buffer(bytes), error);
      if (error && error != asio::error::would_block) {
        disturbed_ = true; // the server has closed the connection
        return;
      }
      sent_.append(bytes.substr(0, size));
      bytes.remove_prefix(size);
      poll();
      if (error) {
        read();
      }
    }
  }

  // Reads what has arrived. False at the end of the stream.
  bool read() {
    std::array<char, 65536> buffer;
    for (;;) {
      boost::system::error_code error;
      const std::size_t size = client_.read_some(asio::buffer(buffer), error);
      if (error) {
        was_reset_ = was_reset_ || error == asio::error::connection_reset;
        return error == asio::error::would_block;
      }
      require(!ended_, "bytes after the end", sent_, received_);
      received_.append(buffer.data(), size);
      poll();
    }
  }

  // The client has sent everything. The server must answer, and close the connection.
  void finish() {
    if (!broken_off_) {
      boost::system::error_code error;
      client_.shutdown(tcp::socket::shutdown_send, error);
      const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      for (bool more = true; more;) {
        poll();
        more = read();
        require(std::chrono::steady_clock::now() < limit, "the server hangs", sent_, received_);
      }
      ended_ = true;
    }
    if (alive()) {
      connection_->cut();
    }
    poll();
    require(!alive(), "the connection outlives its end", sent_, received_);
    require(timers_.counters().live() == 0, "a timer outlives its connection", sent_, received_);
    std::uint64_t ends = 0;
    for (const std::uint64_t count : counters_.closed) {
      ends += count;
    }
    require(ends == 1 && counters_.serving() == 0, "not counted once", sent_, received_);
  }

  void judge() {
    require(count(received_, "HTTP/1.1 100 Continue\r\n") <= count(sent_, "Expect: 100-continue"),
            "more asked to continue than wanted", sent_, received_);
    // After a refusal without lingering, what a transport has not read yet, such as what does not
    // fit the buffers of a ring, makes the kernel send a reset. That drops what the client has not
    // read.
    disturbed_ = disturbed_ || (was_reset_ && !linger_ && closed(CloseReason::error) != 0);
    const std::string expected = expected_answers(sent_);
    const std::string received = normalised(received_);
    if (!disturbed_) {
      return require(received == expected, "not the answers expected:\n" + expected, sent_,
                     received_);
    }
    std::size_t same = 0;
    while (same < received.size() && same < expected.size() && received[same] == expected[same]) {
      ++same;
    }
    // After the common beginning there may be one answer that says it is the last: a 408 to a
    // request that came too late, or the last answer before a drain ended the connection.
    std::string late;
    ResponseFormatter().append(late, {.status = Status::request_timeout}, Persistence::close);
    late = normalised(late);
    const bool is_late = received.ends_with(late) && received.size() - late.size() <= same;
    const std::string drained = without_connection(received);
    const bool is_drained = context_.draining && without_connection(expected).starts_with(drained);
    require(same == received.size() || is_late || is_drained,
            "not a beginning of the answers expected:\n" + expected, sent_, received_);
  }

  static std::size_t count(std::string_view text, std::string_view what) {
    std::size_t found = 0;
    for (std::size_t at = 0; (at = text.find(what, at)) != std::string_view::npos; ++at) {
      ++found;
    }
    return found;
  }

  // Without what an answer says about the connection, which a drain changes.
  static std::string without_connection(std::string text) {
    for (const std::string_view line : {"Connection: close\r\n", "Connection: keep-alive\r\n"}) {
      for (std::size_t at = 0; (at = text.find(line, at)) != std::string::npos;) {
        text.erase(at, line.size());
      }
    }
    return text;
  }

  // Bytes that the server has allocated. 0 without a sanitizer that counts them.
  std::size_t memory() const {
    if (__sanitizer_get_current_allocated_bytes == nullptr) {
      return 0;
    }
    return __sanitizer_get_current_allocated_bytes() - before_ - sent_.capacity() -
           received_.capacity();
  }

  asio::io_context& io_ = loop();
  Transport& transport_ = transport(io_);
  const std::size_t before_ = __sanitizer_get_current_allocated_bytes != nullptr
                                  ? __sanitizer_get_current_allocated_bytes()
                                  : 0;
  Input& input_;
  const bool linger_;
  const WriteWindow window_;
  HandTimers timers_;
  Counters counters_;
  ConnectionContext<HandTimers> context_;
  tcp::socket client_{io_};
  Connection<HandTimers>* connection_ = nullptr;
  std::string sent_;
  std::string received_;
  bool broken_off_ = false; // the client closed before it had read everything
  bool disturbed_ = false;  // something may have ended the connection early
  bool ended_ = false;
  bool was_reset_ = false;
};

} // namespace
} // namespace server

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  server::Input input(data, size);
  server::FuzzedConnection(input).live();
  return 0;
}
