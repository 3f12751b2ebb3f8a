// One client's conversation: bytes in, answers out.
//
//   received bytes -> parser -> scenario -> resource -> formatter -> write queue
//
// An exchange holds what a conversation needs while a request is on its way in or a response on its
// way out: the input, the parser, and the queue of responses. It knows no socket and no timer. Its
// owner calls receive() and answer(), writes output(), and acts on what answer() returned
// (connection.hpp). Between requests there is nothing in it, so a connection that waits for its
// next request holds none.
#pragma once

#include "server/counters.hpp"
#include "server/documents.hpp"
#include "server/request.hpp"
#include "server/resources.hpp"
#include "server/response.hpp"
#include "server/scenario.hpp"
#include "server/write_queue.hpp"

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace server {

// What the exchanges of one worker share. Everything in it belongs to the worker's thread.
struct ExchangeContext {
  RequestLimits limits;
  WriteWindow window;
  ScenarioState scenario;
  Counters& counters;             // requests and responses are counted here
  ResponseLog* log = nullptr;     // null: no response is logged
  Documents* documents = nullptr; // of Site::admin
  ResponseFormatter formatter{};
};

// What answer() returns.
enum class Outcome {
  need_more,    // Every complete request is answered: write what is queued, and read on.
  window_full,  // Write what is queued, then call answer() again: input may be left.
  withheld,     // The latest request is not to be answered: withheld_timeout().
  awaiting,     // Write what is queued, then call answer() once the latest document may be there.
  last_response // Nothing may follow what is queued: close_reason() says why.
};

class Exchange {
public:
  explicit Exchange(ExchangeContext& context) noexcept : context_(context) {}

  // ---- Input.

  // Takes what has arrived. The bytes must stay valid until keep_input(). Throws std::bad_alloc.
  void receive(std::string_view bytes);

  // Keeps what is left of the input, so that it outlives the bytes that were received. Memory is
  // taken for that alone: slow clients may be many. Throws std::bad_alloc.
  void keep_input();

  // Answers the requests that have arrived until the write window is full. `draining` says that the
  // server is ending and that the socket has nothing left to read. The response to the last request
  // that is here then closes the connection. Not to be called after `withheld`,
  // `last_response` or refuse().
  // Throws std::bad_alloc.
  Outcome answer(bool draining);

  // Queues an error, without a request or in place of its answer. It says that the connection
  // closes, so the owner must close it behind this response. Throws std::bad_alloc.
  void refuse(Status status);

  // ---- What came of it.

  WriteQueue& output() noexcept { return output_; }
  const WriteQueue& output() const noexcept { return output_; }

  // After Outcome::withheld: how soon the request times out.
  std::chrono::milliseconds withheld_timeout() const noexcept { return withheld_timeout_; }

  // After Outcome::last_response: `client` when the client asked for the close, `drain` when the
  // server is ending, `error` when a request was refused.
  CloseReason close_reason() const noexcept { return close_reason_; }

  // Whether the answer of the latest request has to be waited for. No later one is looked at.
  bool awaits() const noexcept { return document_.has_value(); }

  // Whether a request was answered since the last call.
  bool take_answered() noexcept;

  // Whether no part of a request is here. Empty lines before a request are not part of it
  // (RFC 9112, 2.2). Responses may still be queued.
  bool between_requests() const noexcept;

  // Whether nothing is here but line ends before a request, or the second half of one: the peer
  // counts as silent.
  bool silent() const noexcept;

  // Whether nothing would be lost by giving it back.
  bool empty() const noexcept { return input_.empty() && output_.empty() && between_requests(); }

  // Whether a request has begun to arrive and is not answered, or a response is not yet written.
  bool in_progress() const noexcept;

  // Whether a request has begun to arrive, and no response is queued: an error would be its answer.
  bool may_refuse() const noexcept;

  // Whether the queued responses may wait for others to share their write.
  bool may_gather() const noexcept {
    return !output_.empty() && !output_.urgent() && output_.has_room(context_.window);
  }

  // ---- Use and reuse.

  // Who the client is, for the log.
  void set_client(std::string client) { client_ = std::move(client); }

  // Forgets everything, and keeps at most `keep` bytes of memory each for input and output.
  void reset(std::size_t keep) noexcept;

private:
  Outcome on_request(const Request& request, bool draining);
  Outcome on_document(const Request& request, bool draining);
  Outcome conclude(const Request& request, const Answer& answer, bool draining);
  void respond(const Answer& answer, Persistence persistence);
  void continue_if_expected();

  ExchangeContext& context_;
  std::string_view input_;              // what has arrived and was not used yet
  std::string kept_;                    // the memory of input_ between two calls of receive()
  std::optional<RequestParser> parser_; // of the request that is arriving
  WriteQueue output_;
  std::chrono::milliseconds withheld_timeout_{};
  std::optional<std::uint64_t> document_; // the number of the one that is awaited
  CloseReason close_reason_ = CloseReason::client;
  bool answered_ = false;
  std::string client_;
};

// The exchanges of one worker. Up to kMost that are not in use are kept for the next connections,
// so that a request allocates nothing.
class ExchangePool {
public:
  explicit ExchangePool(const ExchangeContext& context) : context_(context) {
    free_.reserve(kMost); // so that giving one back never throws
  }
  ExchangePool(const ExchangePool&) = delete;
  ExchangePool& operator=(const ExchangePool&) = delete;

  // Returns an empty exchange. Throws std::bad_alloc.
  std::unique_ptr<Exchange> borrow();

  // As borrow(). If responses are logged, `client` says who the client is.
  template <class Client> std::unique_ptr<Exchange> borrow_for(Client client) {
    auto exchange = borrow();
    if (context_.log != nullptr) {
      exchange->set_client(client());
    }
    return exchange;
  }

  void give_back(std::unique_ptr<Exchange> exchange) noexcept;

  // Changes these for requests that begin from now on.
  void change(const RequestLimits& limits, ResponseLog* log) noexcept {
    context_.limits = limits;
    context_.log = log;
  }

private:
  static constexpr std::size_t kMost = 1024;
  static constexpr std::size_t kMostBytes = 64 * 1024; // kept for input, and as many for output

  ExchangeContext context_;
  std::vector<std::unique_ptr<Exchange>> free_;
};

// The exchange of a connection. A connection that waits for its next request has none, so it holds
// no buffers.
class BorrowedExchange {
public:
  explicit BorrowedExchange(ExchangePool& pool) noexcept : pool_(pool) {}

  // Does nothing when there is one already. Throws std::bad_alloc.
  template <class Client> void borrow(Client client) {
    if (exchange_ == nullptr) {
      exchange_ = pool_.borrow_for(client);
    }
  }

  void give_back() noexcept {
    if (exchange_ != nullptr) {
      pool_.give_back(std::move(exchange_));
    }
  }

  explicit operator bool() const noexcept { return exchange_ != nullptr; }
  Exchange* operator->() const noexcept { return exchange_.get(); }

  // As those of Exchange; false without one.
  bool in_progress() const noexcept { return exchange_ != nullptr && exchange_->in_progress(); }
  bool awaits() const noexcept { return exchange_ != nullptr && exchange_->awaits(); }
  bool may_refuse() const noexcept { return exchange_ != nullptr && exchange_->may_refuse(); }

  // Whether something is queued.
  bool owes() const noexcept { return exchange_ != nullptr && !exchange_->output().empty(); }

private:
  ExchangePool& pool_;
  std::unique_ptr<Exchange> exchange_;
};

} // namespace server
