// One client connection, as a state machine of turns. A turn reads once, lets the exchange answer
// all that arrived, writes the answers in as few writes as the window allows, and waits again.
//
//   socket -> read -> exchange (bytes in, answers out) -> write -> socket
//      idle.rearm   request.arm                request.disarm, idle.rearm
//
// When one of its two timers expires (connection_timers.hpp), the connection ends.
#pragma once

#include "server/channel.hpp"
#include "server/connection_context.hpp"
#include "server/connection_timers.hpp"

#include <boost/intrusive/list.hpp>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
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
  using Channel::silence;

  // Takes over an accepted socket. The connection deletes itself when it has ended and none of its
  // waits is pending. Throws std::bad_alloc.
  static Connection& start(Context& context, Socket socket) {
    std::unique_ptr<Connection> connection(new Connection(context, std::move(socket)));
    connection->timers_.bound_silence(context.timers.now());
    connection->wait_readable();
    ++context.counters.accepted;
    return *connection.release();
  }

  ~Connection() override { context_.count_gone(); }

  // Whether a request is on its way in, or its answer on its way out.
  bool busy() { return exchange_.in_progress() || (state_ == State::open && unread_input() != 0); }

  // Goes on with a request whose answer was awaited. As the next three, it may delete the
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

  // Ends it at once, whatever it is doing.
  void cut() {
    turn([this] {
      count_end(CloseReason::drain);
      response_is_cut_ = exchange_.owes();
      close();
    });
  }

private:
  enum class State : std::uint8_t {
    open,      // reads and answers
    withheld,  // waits for the timeout of a request that will not be answered
    finishing, // writes what is owed, then lingers
    lingering, // has sent FIN: discards what arrives until the peer closes or time is up
    closed     // the socket is closed; deleted when the last pending wait has completed
  };

  static constexpr int kTransfersPerTurn = 16; // then other connections have their turn

  Connection(Context& context, Socket socket)
      : Channel(std::move(socket)), context_(context),
        timers_(
            context.timers, context.timeouts, [this] { on_idle(); },
            [this] { on_request_timeout(); }),
        exchange_(context.exchanges) {
    ++context_.counters.open;
  }

  // ---- Turns: what a completed wait or a timer starts.

  void on_readable(Error error) override {
    prefetch(this, sizeof *this);
    turn([&] { error ? fail() : read_turn(); });
  }

  void on_writable(Error error) override {
    turn([&] { error ? fail() : write_turn(); });
  }

  // Runs a step, and deletes the connection if it has ended. An exception that a step throws ends
  // this connection and no other.
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
      return discard_input();
    }
    if (waits_writable()) {
      return; // a peer that does not read its answers is not read from
    }
    borrow_exchange();
    std::size_t size = 0;
    switch (read(exchange_->prepare(), size)) {
    case Transfer::done:
      return on_input(size);
    case Transfer::would_block:
      return rest();
    case Transfer::end_of_input:
      return on_end_of_input();
    case Transfer::failed:
      return fail();
    }
  }

  void on_input(std::size_t size) {
    const Instant now = context_.timers.now(); // the one clock read of this turn
    exchange_->received(size);
    context_.loop_probe.note_activity();
    if (!exchange_->silent()) {
      timers_.bound_silence(now);
      if (state_ == State::open) {
        timers_.bound_request(now);
      }
    }
    state_ == State::open ? work(now) : rest(); // withheld or finishing: later input is not parsed
  }

  // Every complete request was answered before. The answers were written unless they are held back.
  void on_end_of_input() {
    if (state_ == State::open && exchange_.owes()) {
      return finish(CloseReason::client, context_.timers.now());
    }
    count_end(CloseReason::client);
    close();
  }

  // A peer may go on sending what was refused. A server that ends does not wait for all of it.
  void discard_input() {
    const Transfer transfer = discard(kTransfersPerTurn);
    if (transfer == Transfer::end_of_input || transfer == Transfer::failed) {
      return close();
    }
    if (!context_.draining) {
      const Instant now = context_.timers.now();
      timers_.bound_ending(now);
      timers_.bound_discarding(now);
    }
    wait_readable();
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
    wait_readable();
  }

  void on_window_closed() override {
    turn([this] { write_turn(); });
  }

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

  // Writes what is queued. False when the socket takes no more now, or has failed.
  bool flush(Instant now) {
    WriteQueue& output = exchange_->output();
    context_.held_writes.forget(*this);
    for (int writes = 0; !output.empty(); ++writes) {
      std::size_t size = 0;
      const Transfer transfer =
          writes == kTransfersPerTurn ? Transfer::would_block : write(output.front(), size);
      if (transfer == Transfer::would_block) {
        wait_writable();
        return false;
      }
      if (transfer != Transfer::done) {
        fail();
        return false;
      }
      ++context_.counters.writes;
      context_.counters.bytes_out += size;
      output.consume(size);
      timers_.bound_silence(now);
    }
    return true;
  }

  void write_turn() {
    if (state_ == State::lingering) {
      return;
    }
    const Instant now = context_.timers.now();
    if (flush(now)) {
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
        close();
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
        return close();
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
    for (auto reads = unread_input() / Exchange::kReadSize + 1; reads > 0 && !over(); --reads) {
      if (!waits_readable() || unread_input() == 0) {
        return false;
      }
      read_turn();
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

  // Ends without sending what may still be owed.
  void end(CloseReason reason, Instant now) {
    end_reason_ = reason;
    response_is_cut_ = exchange_.owes();
    linger(now);
  }

  // Sends FIN. The socket stays open until the peer closes or time is up: closing it with unread
  // input would send RST, which may destroy our last response on its way.
  void linger(Instant now) {
    timers_.release_request();
    release_exchange();
    count_end(end_reason_);
    if (!shut_down_send() || !context_.timeouts.linger) {
      return close();
    }
    state_ = State::lingering;
    timers_.bound_ending(now);
    wait_readable();
  }

  void fail() {
    count_end(state_ == State::finishing ? end_reason_ : CloseReason::client);
    close();
  }

  // Counts the end of the connection, the first time it is called.
  void count_end(CloseReason reason) {
    if (state_ != State::lingering && state_ != State::closed) {
      context_.counters.count_close(reason);
    }
  }

  // After a response that was cut short a reset loses nothing more, and frees what the kernel still
  // holds of it.
  void close() {
    state_ = State::closed;
    timers_.stop();
    release_exchange();
    response_is_cut_ ? reset_socket() : close_socket();
  }

  // ---- The exchange.

  void borrow_exchange() {
    exchange_.borrow([this] { return peer(); });
  }

  void release_exchange() noexcept {
    context_.held_writes.forget(*this);
    exchange_.give_back();
  }

  // Waits for more input. Keeps memory only for a request or a response that is not finished.
  void rest() {
    if (exchange_.awaits()) {
      return; // nothing more is read before it is answered
    }
    if (state_ == State::withheld || exchange_->empty()) {
      release_exchange();
    } else {
      exchange_->shrink();
    }
    wait_readable();
  }

  Context& context_;
  ConnectionTimers<Timers> timers_;
  BorrowedExchange exchange_;
  State state_ = State::open;
  CloseReason end_reason_ = CloseReason::client;
  bool response_is_cut_ = false; // true once a response was cut short
};

} // namespace server
