// One client connection, as a state machine of turns. A turn takes what has arrived, lets the
// exchange answer all of it, and sends the answers in as few writes as the window allows.
//
//   channel -> on_input -> exchange (bytes in, answers out) -> send -> channel
//      idle.rearm   request.arm                request.disarm, idle.rearm
//
// When one of its two timers expires (connection_timers.hpp), the connection ends.
#pragma once

#include "server/channel.hpp"
#include "server/connection_context.hpp"
#include "server/connection_timers.hpp"

#include <boost/intrusive/list.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string_view>
#include <utility>

namespace server {

template <timers::TimerFacility Timers>
class Connection final : public Channel,
                         private HeldWrites::Holder,
                         public boost::intrusive::list_base_hook<
                             boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
public:
  using Context = ConnectionContext<Timers>;
  using Instant = typename Timers::Instant;

  // Takes over an accepted socket. The connection deletes itself when it has ended. Throws
  // std::bad_alloc, or boost::system::system_error when the transport does not take the socket.
  static Connection& start(Context& context, Socket socket) {
    std::unique_ptr<Connection> connection(new Connection(context, std::move(socket)));
    connection->timers_.bound_silence(context.timers.now());
    connection->read(true);
    ++context.counters.accepted;
    return *connection.release();
  }

  ~Connection() override { context_.count_gone(); }

  // Whether a request is on its way in, or its answer on its way out.
  bool busy() { return exchange_.in_progress() || (state_ == State::open && unread_input() != 0); }

  // Goes on with a request whose answer was awaited. As the next four, it may delete the
  // connection.
  void resume() {
    if (exchange_.awaits()) {
      turn([this] { work(context_.timers.now()); });
    }
  }

  // Answers 503 without waiting for a request, and ends.
  void turn_away() {
    turn([this] {
      borrow_exchange();
      exchange_->refuse(Status::service_unavailable);
      finish(CloseReason::limit, context_.timers.now());
    });
  }

  // Ends it now if it is between requests, and the client has been silent for so long. Otherwise
  // the response to what was received, or to its next request, is its last.
  void drain(std::chrono::milliseconds silence) {
    if (held()) {
      return on_window_closed();
    }
    if (state_ == State::open && !busy() && (silence.count() == 0 || this->silence() >= silence)) {
      turn([this] { end(CloseReason::drain, context_.timers.now()); });
    }
  }

  // The idle timeout has changed: it starts now, or there is none any more.
  void restart_silence() {
    if (state_ == State::open || state_ == State::withheld) {
      turn([this] { timers_.restart_silence(context_.timers.now()); });
    }
  }

  // Ends it at once, whatever it is doing.
  void cut() {
    turn([this] {
      count_end(CloseReason::drain);
      response_is_cut_ = exchange_.owes();
      end_at_once();
    });
  }

private:
  enum class State : std::uint8_t {
    open,      // reads and answers
    withheld,  // waits for the timeout of a request that will not be answered
    finishing, // writes what is owed, then lingers
    lingering, // has sent FIN: discards what arrives until the peer closes or time is up
    closed     // the socket is closed; deleted at the end of the turn
  };

  static constexpr int kTransfersPerTurn = 16; // then other connections have their turn

  Connection(Context& context, Socket socket)
      : Channel(context.transport, std::move(socket)), context_(context),
        timers_(
            context.timers, context.timeouts, [this] { on_idle(); },
            [this] { on_request_timeout(); }),
        exchange_(context.exchanges) {
    ++context_.counters.open;
  }

  // ---- Turns: what the channel or a timer starts.

  void on_input(std::string_view bytes) noexcept override {
    turn([&] { take_input(bytes); });
  }

  void on_end(Transfer how) noexcept override {
    turn([&] { end_of_input(how); });
  }

  void on_writable() noexcept override {
    turn([this] { write_turn(); });
  }

  // What was sent is owed again.
  void on_unsent(std::string_view bytes) noexcept override {
    turn([&] {
      borrow_exchange();
      exchange_->output().put_back(bytes);
      context_.counters.bytes_back += bytes.size();
      if (state_ == State::open) {
        timers_.bound_request(context_.timers.now());
      }
      wait_writable();
    });
  }

  // Runs a step, and deletes the connection if it has ended. An exception that a step throws ends
  // this connection and no other.
  template <class Step> void turn(Step step) noexcept {
    try {
      if (state_ != State::closed) {
        step();
      }
    } catch (const std::exception& error) {
      spdlog::error("a connection failed: {}", error.what());
      count_end(CloseReason::error);
      end_at_once();
    }
    if (state_ == State::closed) {
      delete this;
    } else {
      read(wants_input());
    }
  }

  // A peer that does not read its answers is not read from, and nothing more is read while an
  // answer has to be waited for.
  bool wants_input() const noexcept {
    return state_ == State::lingering || !(waits_writable() || exchange_.awaits());
  }

  // ---- Reading.

  void take_input(std::string_view bytes) {
    const Instant now = context_.timers.now(); // the one clock read of this turn
    if (state_ == State::lingering) {          // a peer may go on sending what was refused
      if (!context_.draining) {                // a server that ends does not wait for all of it
        timers_.bound_discarding(now);
      }
      return;
    }
    context_.loop_probe.note_activity();
    borrow_exchange();
    exchange_->receive(bytes);
    if (!exchange_->silent()) {
      timers_.bound_silence(now);
      if (state_ == State::open) {
        timers_.bound_request(now);
      }
    }
    state_ == State::open ? work(now) : rest(); // withheld or finishing: later input is not parsed
    if (exchange_) {
      exchange_->keep_input();
    }
  }

  // Every complete request was answered before. The answers were sent unless they are held back.
  void end_of_input(Transfer how) {
    if (how == Transfer::failed) {
      return fail();
    }
    input_has_ended_ = true;
    if (state_ == State::open && exchange_.owes()) {
      return finish(CloseReason::client, context_.timers.now());
    }
    count_end(CloseReason::client);
    end_at_once();
  }

  // ---- Answering.

  // Answers requests and writes the answers until there are no more, or the socket is full.
  void work(Instant now) {
    for (int windows = 0; windows < kTransfersPerTurn; ++windows) {
      const Outcome outcome = exchange_->answer(context_.draining && unread_input() == 0);
      if (outcome == Outcome::withheld) {
        state_ = State::withheld;
      } else if (outcome == Outcome::last_response) {
        begin_finishing(exchange_->close_reason());
      }
      if (outcome == Outcome::need_more && may_hold()) {
        return hold(now);
      }
      if (!flush(now)) {
        return;
      }
      if (outcome != Outcome::window_full) {
        return on_all_written(now);
      }
    }
    wait_writable(); // others have their turn before the rest is answered
  }

  // Whether what is queued may wait for later answers to share its write.
  bool may_hold() const noexcept {
    return context_.held_writes.enabled() && !context_.draining && exchange_->may_gather();
  }

  void hold(Instant now) {
    context_.held_writes.hold(*this);
    bound_next_request(now);
  }

  void on_window_closed() override { on_writable(); }

  // To be called when all that can be answered now was answered, and the answers were written.
  void on_all_written(Instant now) {
    if (state_ == State::finishing) {
      return linger(now);
    }
    if (state_ == State::withheld) {
      timers_.bound_withheld(context_.timers.timeout(exchange_->withheld_timeout()), now);
    } else if (context_.ends_idle && !busy()) {
      return end(CloseReason::drain, now);
    } else if (exchange_->between_requests()) {
      timers_.release_request();
    } else {
      bound_next_request(now);
    }
    rest();
  }

  // ---- Writing.

  // Sends what is queued. False when the socket takes no more now, or has failed. A connection that
  // is about to end makes sure that all of it has left.
  bool flush(Instant now) {
    WriteQueue& output = exchange_->output();
    context_.held_writes.forget(*this);
    const bool ends = state_ != State::open || context_.draining;
    const Sending when = ends ? Sending::now : Sending::soon;
    for (int writes = 0; !output.empty(); ++writes) {
      std::size_t size = 0;
      const Transfer transfer =
          writes == kTransfersPerTurn ? Transfer::would_block : send(output.front(), when, size);
      if (transfer == Transfer::would_block) {
        return wait_writable(), false;
      }
      if (transfer != Transfer::done) {
        return fail(), false;
      }
      ++context_.counters.writes;
      context_.counters.count_sent(size);
      output.consume(size);
      timers_.bound_silence(now);
    }
    if (ends && sending()) {
      return wait_writable(), false;
    }
    return true;
  }

  void write_turn() {
    if (state_ == State::lingering) {
      return;
    }
    const Instant now = context_.timers.now();
    if (!exchange_ || flush(now)) {
      state_ == State::open ? work(now) : on_all_written(now);
    }
  }

  // ---- Timeouts.

  // If the request that is arriving began behind one that was answered, its time starts now.
  void bound_next_request(Instant now) {
    if (!exchange_->between_requests() && exchange_->take_answered()) {
      timers_.bound_next_request(now);
    }
  }

  void on_idle() {
    turn([this] {
      const Instant now = context_.timers.now();
      if (state_ == State::lingering) {
        end_at_once();
      } else if (state_ == State::finishing) {
        end(end_reason_, now);
      } else if (held()) {
        timers_.bound_silence(now);
        write_turn();
      } else if (!last_look([this] { return timers_.bounds_silence(); })) {
        end(CloseReason::idle, now);
      }
    });
  }

  void on_request_timeout() {
    turn([this] {
      if (state_ == State::lingering) {
        return end_at_once();
      }
      if (held()) {
        write_turn();
        if (!exchange_.in_progress()) {
          return; // it was answered in time
        }
      }
      const auto requests = context_.counters.requests;
      if (!last_look([&] { return context_.counters.requests != requests; })) {
        time_out(context_.timers.now());
      }
    });
  }

  // Bytes that came while the loop was busy are not late. Reads them, but none that come meanwhile.
  // True when `in_time` said that they were what the timer waited for, or the connection ended.
  template <class InTime> bool last_look(InTime in_time) {
    if (state_ != State::open) {
      return false;
    }
    const auto over = [&] { return state_ != State::open || in_time(); };
    for (auto rest = unread_input(); rest > 0 && wants_input() && !over();) {
      std::string_view bytes;
      if (const Transfer transfer = take(bytes); transfer != Transfer::done) {
        return transfer != Transfer::would_block && (end_of_input(transfer), true);
      }
      rest -= std::min(rest, bytes.size());
      take_input(bytes);
    }
    return over();
  }

  void time_out(Instant now) {
    timers_.release_request(); // the last look may have armed it
    if (state_ == State::open && exchange_.may_refuse()) {
      exchange_->refuse(Status::request_timeout);
      finish(CloseReason::request, now);
    } else {
      end(CloseReason::request, now);
    }
  }

  // ---- Ending.

  void begin_finishing(CloseReason reason) noexcept {
    state_ = State::finishing;
    end_reason_ = reason;
  }

  // Sends what is owed, then ends. The peer may take as long to read it as its request has left, or
  // the linger timeout when no request is bounded.
  void finish(CloseReason reason, Instant now) {
    begin_finishing(reason);
    if (flush(now)) {
      linger(now);
    } else if (state_ == State::finishing && !timers_.bounds_request()) {
      timers_.bound_ending(now);
    }
  }

  // Ends without sending what may still be owed. What was sent leaves first, or is owed again.
  void end(CloseReason reason, Instant now) {
    response_is_cut_ = exchange_.owes();
    release_exchange();
    begin_finishing(reason);
    if (sending()) {
      wait_writable();
      timers_.release_request();
      timers_.bound_ending(now);
    } else {
      linger(now);
    }
  }

  // Sends FIN. The socket stays open until the peer closes or time is up: closing it with unread
  // input would send RST, which may destroy our last response on its way.
  void linger(Instant now) {
    timers_.release_request();
    release_exchange();
    count_end(end_reason_);
    if (!shut_down_send() || !context_.timeouts.linger || input_has_ended_) {
      return end_at_once();
    }
    state_ = State::lingering;
    timers_.bound_ending(now);
  }

  void fail() {
    count_end(state_ == State::finishing ? end_reason_ : CloseReason::client);
    end_at_once();
  }

  // Counts the end of the connection, the first time it is called.
  void count_end(CloseReason reason) {
    if (state_ != State::lingering && state_ != State::closed) {
      context_.counters.count_close(reason);
    }
  }

  // After a response that was cut short a reset loses nothing more, and frees what the kernel still
  // holds of it.
  void end_at_once() noexcept {
    state_ = State::closed;
    timers_.stop();
    release_exchange();
    response_is_cut_ ? reset() : close();
  }

  // ---- The exchange.

  void borrow_exchange() {
    exchange_.borrow([this] { return peer(); });
  }

  void release_exchange() noexcept {
    context_.held_writes.forget(*this);
    exchange_.give_back();
  }

  // Keeps memory only for a request or a response that is not finished.
  void rest() {
    if (state_ == State::withheld || exchange_->empty()) {
      release_exchange();
    }
  }

  Context& context_;
  ConnectionTimers<Timers> timers_;
  BorrowedExchange exchange_;
  State state_ = State::open;
  CloseReason end_reason_ = CloseReason::client;
  bool response_is_cut_ = false; // a response was cut short
  bool input_has_ended_ = false;
};

} // namespace server
