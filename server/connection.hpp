// One client connection, as a state machine of turns. A turn reads once, parses and answers all
// that arrived, writes the answers in as few writes as the window allows, and waits again.
//
//   socket -> read -> parser -> scenario -> response -> write queue -> socket
//      idle.rearm      request.arm                        request.disarm, idle.rearm
//
// Two timers. `idle` bounds silence: armed at accept, re-armed by every read and write that moved a
// byte. `request` bounds slowness: armed by the first byte of a request, not extended, disarmed
// when its response has left. When either runs, the connection closes.
//
// A connection that waits for its next request holds no buffers: parser, input and output live in a
// Workspace borrowed from the worker. It waits for readability, not for a read, so that none is
// needed before there is something to read.
#pragma once

#include "server/access_log.hpp"
#include "server/channel.hpp"
#include "server/counters.hpp"
#include "server/held_writes.hpp"
#include "server/loop_probe.hpp"
#include "server/options.hpp"
#include "server/request.hpp"
#include "server/response.hpp"
#include "server/scenario.hpp"
#include "server/write_queue.hpp"
#include "timers/facility.hpp"

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/intrusive/list.hpp>
#include <spdlog/spdlog.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace server {

// What a connection needs while a request is on its way in or a response on its way out.
struct Workspace {
  boost::beast::flat_buffer input;
  std::optional<RequestParser> parser; // of the request that comes next or is half here
  WriteQueue output;
};

// What a worker keeps for the next connections, at most.
inline constexpr std::size_t kPooledWorkspaces = 1024;

// What the connections of one worker share. All of one thread.
template <timers::TimerFacility Timers> struct WorkerContext {
  using Timeout = typename Timers::Timeout;

  const Options& options;
  RequestLimits limits;
  Timers& timers;
  Timeout idle_timeout;
  Timeout request_timeout;
  Timeout linger_timeout;
  ScenarioState scenario;
  ResponseFormatter formatter;
  HeldWrites held_writes;
  AccessLog access_log;
  LoopProbe loop_probe;
  Counters counters;
  std::size_t serving = 0; // connections that have not ended yet, lingering ones not counted
  std::vector<std::unique_ptr<Workspace>> free_workspaces; // at most kPooledWorkspaces
  bool draining = false;
  std::function<void()> on_last_connection = [] {}; // when draining
};

template <timers::TimerFacility Timers>
class Connection final : public Channel,
                         private HeldWrites::Holder,
                         public boost::intrusive::list_base_hook<
                             boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
public:
  using Context = WorkerContext<Timers>;
  using Instant = typename Timers::Instant;

  // Takes over an accepted socket. The connection deletes itself when it has ended and no operation
  // of its is pending. Throws std::bad_alloc.
  static Connection& start(Context& context, Socket socket) {
    std::unique_ptr<Connection> connection(new Connection(context, std::move(socket)));
    connection->begin();
    return *connection.release();
  }

  ~Connection() override {
    if (--context_.counters.open == 0 && context_.draining) {
      context_.on_last_connection();
    }
  }

  // Answers 503 without waiting for a request, and ends.
  void turn_away() {
    turn([this] {
      borrow_workspace();
      respond({.status = Status::service_unavailable}, Persistence::close);
      finish(CloseReason::limit, context_.timers.now());
    });
  }

  // Ends it now if it is between requests; otherwise the response to what was received is the last.
  void drain() {
    if (held()) {
      return on_window_closed();
    }
    if (state_ == State::open && !request_begun() && unread_input() == 0) {
      turn([this] { end(CloseReason::drain, context_.timers.now()); });
    }
  }

  // Ends it whatever it does.
  void cut() {
    turn([this] {
      count_end(CloseReason::drain);
      cut_short_ = owes();
      close();
    });
  }

private:
  enum class State : std::uint8_t {
    open,      // reads and answers
    withheld,  // has a request that will not be answered: waits for its timeout
    finishing, // writes what is owed, then lingers
    lingering, // has sent FIN: discards what arrives until the peer closes or time is up
    closed     // the socket is closed; deleted when the last pending wait has completed
  };

  static constexpr std::size_t kReadSize = 16 * 1024;
  static constexpr int kTransfersPerTurn = 16;            // before other connections have theirs
  static constexpr std::size_t kPooledBuffer = 64 * 1024; // in and out, each
  Connection(Context& context, Socket socket)
      : Channel(std::move(socket)), context_(context), idle_(context.timers, [this] { on_idle(); }),
        request_(context.timers, [this] { on_request_timeout(); }) {
    ++context_.counters.open;
  }

  void begin() {
    touch_idle(context_.timers.now());
    wait_readable();
    ++context_.counters.accepted;
    ++context_.serving;
  }

  // ---- Turns: what a completed wait or a timer starts.

  void on_readable(Error error) override {
    prefetch();
    turn([&] { error ? fail() : read_turn(); });
  }

  void on_writable(Error error) override {
    turn([&] { error ? fail() : write_turn(); });
  }

  // With thousands of connections this one is in no cache: all of it comes from memory at once,
  // while the kernel works on the read, instead of timer by timer behind it.
  void prefetch() const noexcept {
    constexpr std::size_t kCacheLine = 64;
    for (std::size_t at = 0; at < sizeof *this; at += kCacheLine) {
      __builtin_prefetch(reinterpret_cast<const char*>(this) + at, 1);
    }
  }

  // Runs a step and deletes the connection if that was its last. What a step throws ends this
  // connection and no other.
  template <class Step> void turn(Step step) {
    try {
      if (state_ != State::closed) {
        step();
      }
    } catch (const std::exception& error) {
      spdlog::error("a connection failed: {}", error.what());
      count_end(CloseReason::error);
      close();
    }
    if (state_ == State::closed && !pending()) {
      delete this;
    }
  }

  // ---- Reading.

  void read_turn() {
    if (state_ == State::lingering) {
      return discard();
    }
    if (waits_writable()) {
      return; // no reading from a peer that does not read; rest() waits again
    }
    borrow_workspace();
    std::size_t size = 0;
    const Transfer outcome = read(workspace_->input.prepare(kReadSize), size);
    if (outcome == Transfer::would_block) {
      return rest();
    }
    if (outcome == Transfer::failed) {
      return fail();
    }
    if (outcome == Transfer::end_of_input) {
      return on_end_of_input();
    }
    const Instant now = context_.timers.now(); // the one clock read of this turn
    workspace_->input.commit(size);
    context_.loop_probe.note_activity();
    touch_idle(now);
    if (state_ == State::open) {
      begin_request(now);
      work(now);
    } else {
      rest(); // withheld, or finishing: what follows is not looked at
    }
  }

  // What came before was answered, or cannot be; the answers were written unless they are held.
  void on_end_of_input() {
    if (state_ == State::open && !workspace_->output.empty()) {
      return finish(CloseReason::client, context_.timers.now());
    }
    count_end(CloseReason::client);
    close();
  }

  void discard() {
    std::array<char, 4096> bytes;
    std::size_t size = 0;
    Transfer outcome = Transfer::done;
    for (int reads = 0; reads < kTransfersPerTurn && outcome == Transfer::done; ++reads) {
      outcome = read(boost::asio::buffer(bytes), size);
    }
    if (outcome == Transfer::end_of_input || outcome == Transfer::failed) {
      return close();
    }
    wait_readable();
  }

  // ---- Parsing and answering.

  // The timer of the request whose first byte is in this read, unless an older one is not answered.
  void begin_request(Instant now) {
    if (!request_.armed() && limits_requests()) {
      request_.arm(context_.request_timeout, now);
    }
    if (!workspace_->parser) {
      workspace_->parser.emplace(context_.limits);
    }
  }

  // Answers what is there and writes the answers, until there is neither, or the socket is full.
  void work(Instant now) {
    bool more = true;
    for (int batches = 0; more && state_ == State::open; ++batches) {
      if (batches == kTransfersPerTurn) {
        return wait_writable(); // the rest after others had their turn
      }
      more = answer_batch();
      if (!more && may_hold()) {
        return hold(now);
      }
      if (!flush(now)) {
        return;
      }
    }
    settle(now);
  }

  // Fills the write window. Returns whether input may be left that it has no room for.
  bool answer_batch() {
    Workspace& work = *workspace_;
    while (state_ == State::open && !work.output.has_filler() && window_open()) {
      std::size_t used = 0;
      const auto input = work.input.cdata();
      const auto state =
          work.parser->put({static_cast<const char*>(input.data()), input.size()}, used);
      work.input.consume(used);
      if (state == RequestParser::State::need_more) {
        need_more();
        return false;
      }
      if (state == RequestParser::State::bad) {
        refuse(work.parser->error());
        return false;
      }
      on_request(work.parser->request());
    }
    return true;
  }

  bool window_open() const noexcept {
    const WriteQueue& output = workspace_->output;
    const Options& options = context_.options;
    return output.size() == 0 || (output.size() < options.write_window_bytes &&
                                  (options.write_window_responses == 0 ||
                                   output.responses() < options.write_window_responses));
  }

  // Whether more may come in time to share the write of what is queued.
  bool may_hold() const noexcept {
    return context_.held_writes.enabled() && state_ == State::open && !context_.draining &&
           !workspace_->output.empty() && !workspace_->output.has_filler() &&
           !workspace_->output.urgent() && window_open();
  }

  void hold(Instant now) {
    context_.held_writes.hold(*this);
    begin_half_request(now);
    wait_readable();
  }

  void on_window_closed() override {
    turn([this] { write_turn(); });
  }

  void need_more() {
    Workspace& work = *workspace_;
    if (work.parser->take_expect_continue() && work.input.size() == 0) {
      work.output.bytes() += "HTTP/1.1 100 Continue\r\n\r\n";
      work.output.hurry();
    }
  }

  void on_request(const Request& request) {
    ++context_.counters.requests;
    if (const auto timeout = context_.scenario.withhold(request)) {
      state_ = State::withheld;
      withheld_timeout_ = *timeout;
      return;
    }
    const Answer reply = answer(request);
    // A drain answers what was received with this request, too.
    const bool last = !request.keep_alive ||
                      (context_.draining && workspace_->input.size() == 0 && unread_input() == 0);
    respond(reply, last               ? Persistence::close
                   : request.http_1_0 ? Persistence::keep_1_0
                                      : Persistence::keep);
    answered_ = true;
    if (last) {
      end_reason_ = request.keep_alive ? CloseReason::drain : CloseReason::client;
      state_ = State::finishing;
    }
    workspace_->parser.emplace(context_.limits);
  }

  void respond(const Answer& reply, Persistence persistence) {
    WriteQueue& output = workspace_->output;
    context_.formatter.append(output.bytes(), reply.status, reply.content_length, persistence,
                              reply.allow);
    output.bytes().append(reply.body);
    output.start_filler(reply.filler_bytes);
    output.end_response();
    ++context_.counters.responses;
    if (context_.access_log.enabled()) {
      const auto& parser = workspace_->parser;
      context_.access_log.note(peer(), parser ? parser->request().line : std::string_view(),
                               reply.status, reply.content_length);
    }
  }

  // The error is the last response: what follows a request that we did not understand is not one.
  void refuse(Status status) {
    respond({.status = status}, Persistence::close);
    end_reason_ = CloseReason::error;
    state_ = State::finishing;
  }

  // After all that can be done now has been done.
  void settle(Instant now) {
    if (state_ == State::finishing) {
      return linger(now);
    }
    if (state_ == State::withheld) {
      request_.rearm(context_.timers.timeout(withheld_timeout_), now);
    } else if (context_.draining && !request_begun() && unread_input() == 0) {
      return end(CloseReason::drain, now);
    } else if (!between_requests()) {
      begin_half_request(now);
    } else {
      answered_ = false;
      request_.disarm();
    }
    rest();
  }

  // When the batch ends in half a request, that may have begun behind others just answered.
  void begin_half_request(Instant now) {
    if (!between_requests() && std::exchange(answered_, false) && limits_requests()) {
      request_.rearm(context_.request_timeout, now);
    }
  }

  // Or its response is not written yet.
  bool request_begun() const noexcept {
    return workspace_ != nullptr && (workspace_->input.size() != 0 || !workspace_->output.empty() ||
                                     (workspace_->parser && workspace_->parser->begun()));
  }

  bool between_requests() const noexcept {
    return workspace_->input.size() == 0 &&
           (!workspace_->parser || workspace_->parser->untouched());
  }

  // ---- Writing.

  // Writes until the queue is empty (true) or no more goes now (false).
  bool flush(Instant now) {
    WriteQueue& output = workspace_->output;
    context_.held_writes.forget(*this);
    for (int writes = 0; !output.empty(); ++writes) {
      std::size_t size = 0;
      const Transfer outcome =
          writes == kTransfersPerTurn ? Transfer::would_block : write(output.front(), size);
      if (outcome == Transfer::would_block) {
        wait_writable();
        return false;
      }
      if (outcome != Transfer::done) {
        fail();
        return false;
      }
      ++context_.counters.writes;
      context_.counters.bytes_out += size;
      output.consume(size);
      touch_idle(now);
    }
    return true;
  }

  void write_turn() {
    if (state_ == State::lingering) {
      return;
    }
    const Instant now = context_.timers.now();
    if (!flush(now)) {
      return;
    }
    if (state_ == State::open) {
      work(now);
    } else {
      settle(now);
    }
  }

  // ---- Timeouts.

  void touch_idle(Instant now) {
    if (context_.options.idle_timeout.count() != 0) {
      idle_.rearm(context_.idle_timeout, now);
    }
  }

  bool limits_requests() const noexcept { return context_.options.request_timeout.count() != 0; }

  void on_idle() {
    if (state_ == State::lingering) {
      return turn([this] { close(); });
    }
    const Instant now = context_.timers.now();
    if (held()) {
      return turn([&] {
        touch_idle(now);
        write_turn();
      });
    }
    // A request that came while the loop was busy is not silence.
    if (state_ == State::open && waits_readable() && unread_input() != 0) {
      return touch_idle(now);
    }
    turn([&] { end(state_ == State::finishing ? end_reason_ : CloseReason::idle, now); });
  }

  void on_request_timeout() {
    turn([this] {
      if (held()) {
        write_turn();
        if (workspace_ == nullptr) {
          return; // it was answered in time
        }
      }
      if (!last_look()) {
        time_out(context_.timers.now());
      }
    });
  }

  // Bytes that came while the loop was busy are not late: reads them, but none that come now.
  // Returns whether the request that timed out is answered by that, or the connection has ended
  // otherwise.
  bool last_look() {
    if (state_ != State::open) {
      return false;
    }
    const auto requests = context_.counters.requests;
    const auto over = [&] {
      return state_ != State::open || context_.counters.requests != requests;
    };
    for (std::size_t reads = unread_input() / kReadSize + 1; reads > 0 && !over(); --reads) {
      if (!waits_readable() || unread_input() == 0) {
        return false;
      }
      read_turn();
    }
    return over();
  }

  void time_out(Instant now) {
    request_.disarm(); // the last look may have armed it
    const bool may_answer = state_ == State::open && workspace_ != nullptr &&
                            workspace_->output.empty() && workspace_->parser &&
                            workspace_->parser->begun();
    if (may_answer) {
      respond({.status = Status::request_timeout}, Persistence::close);
      finish(CloseReason::request, now);
    } else {
      end(CloseReason::request, now);
    }
  }

  // ---- Ending.

  bool owes() const noexcept { return workspace_ != nullptr && !workspace_->output.empty(); }

  // Sends what is owed, then ends. A peer that does not read it has as long as its request, or the
  // linger timeout when that is over.
  void finish(CloseReason reason, Instant now) {
    state_ = State::finishing;
    end_reason_ = reason;
    if (flush(now)) {
      linger(now);
    } else if (state_ == State::finishing && !request_.armed()) {
      idle_.rearm(context_.linger_timeout, now);
    }
  }

  // Ends without sending what may still be owed.
  void end(CloseReason reason, Instant now) {
    end_reason_ = reason;
    cut_short_ = owes();
    linger(now);
  }

  // FIN first; the socket stays until the peer has read what we sent, or time is up: closing it
  // with unread input would send RST, which may destroy our last response on its way.
  void linger(Instant now) {
    request_.disarm();
    release_workspace();
    count_end(end_reason_);
    if (!shut_down_send() || context_.options.linger_timeout.count() == 0) {
      return close();
    }
    state_ = State::lingering;
    idle_.rearm(context_.linger_timeout, now);
    wait_readable();
  }

  void fail() {
    count_end(state_ == State::finishing ? end_reason_ : CloseReason::client);
    close();
  }

  // Once per connection.
  void count_end(CloseReason reason) {
    if (state_ != State::lingering && state_ != State::closed) {
      context_.counters.count_close(reason);
      --context_.serving;
    }
  }

  void close() {
    state_ = State::closed;
    idle_.disarm();
    request_.disarm();
    release_workspace();
    // Of a response that was cut short nothing more is lost by a reset, and the kernel keeps
    // nothing.
    cut_short_ ? reset_socket() : close_socket();
  }

  // ---- The workspace.

  void borrow_workspace() {
    if (workspace_ != nullptr) {
      return;
    }
    auto& pool = context_.free_workspaces;
    if (pool.empty()) {
      workspace_ = std::make_unique<Workspace>();
      return;
    }
    workspace_ = std::move(pool.back());
    pool.pop_back();
  }

  void release_workspace() {
    if (workspace_ == nullptr) {
      return;
    }
    context_.held_writes.forget(*this);
    workspace_->input.consume(workspace_->input.size());
    if (workspace_->input.capacity() > kPooledBuffer) {
      workspace_->input.shrink_to_fit();
    }
    workspace_->parser.reset();
    workspace_->output.clear();
    workspace_->output.shrink(kPooledBuffer);
    if (context_.free_workspaces.size() < kPooledWorkspaces) {
      context_.free_workspaces.push_back(std::move(workspace_));
    }
    workspace_ = nullptr;
  }

  // Waits for what comes next, holding buffers only for what is half done, and no larger than that:
  // slow clients may be many.
  void rest() {
    if (state_ == State::withheld || (between_requests() && workspace_->output.empty())) {
      release_workspace();
    } else {
      workspace_->input.shrink_to_fit();
    }
    wait_readable();
  }

  Context& context_;
  typename Timers::Timer idle_;
  typename Timers::Timer request_;
  std::unique_ptr<Workspace> workspace_;
  std::chrono::milliseconds withheld_timeout_{};
  State state_ = State::open;
  CloseReason end_reason_ = CloseReason::client;
  bool cut_short_ = false; // a response was
  bool answered_ = false;  // a request was, since the request timer was armed
};

} // namespace server
