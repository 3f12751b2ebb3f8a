#include "server/exchange.hpp"

#include "server/grammar.hpp"

#include <utility>

namespace server {

void Exchange::receive(std::string_view bytes) {
  if (input_.empty()) {
    input_ = bytes;
  } else {
    keep_input();
    kept_.append(bytes);
    input_ = kept_;
  }
}

void Exchange::keep_input() {
  if (input_.size() == kept_.size() && input_.data() == kept_.data()) {
    return;
  }
  std::string rest(input_);
  kept_.swap(rest);
  input_ = kept_;
}

Outcome Exchange::answer(bool draining) {
  if (awaits()) {
    if (const auto outcome = on_document(parser_->request(), draining);
        outcome != Outcome::need_more) {
      return outcome;
    }
  }
  while (output_.has_room(context_.window)) {
    if (!parser_) {
      if (input_.empty()) {
        return Outcome::need_more;
      }
      parser_.emplace(context_.limits, context_.log != nullptr);
    }
    std::size_t used = 0;
    const auto state = parser_->put(input_, used);
    input_.remove_prefix(used);
    if (state == RequestParser::State::need_more) {
      continue_if_expected();
      return Outcome::need_more;
    }
    if (state == RequestParser::State::bad) {
      refuse(parser_->error());
      return Outcome::last_response;
    }
    const Outcome outcome = on_request(parser_->request(), draining);
    if (outcome != Outcome::need_more) {
      return outcome;
    }
  }
  return Outcome::window_full;
}

// RFC 9110, 10.1.1. The client waits for this before it sends the body.
void Exchange::continue_if_expected() {
  if (parser_->take_expect_continue() && input_.empty()) {
    output_.bytes() += "HTTP/1.1 100 Continue\r\n\r\n";
    output_.mark_urgent();
  }
}

// Queues the answer. Returns Outcome::need_more when the next request may follow. Inlined like
// on_request() and respond(), so that the request path does not pay for their other callers.
[[gnu::always_inline]] inline Outcome Exchange::conclude(const Request& request,
                                                         const Answer& answer, bool draining) {
  const bool drained = draining && is_blank(input_);
  const bool last = !request.keep_alive || drained;
  respond(answer, last               ? Persistence::close
                  : request.http_1_0 ? Persistence::keep_1_0
                                     : Persistence::keep);
  answered_ = true;
  if (last) {
    close_reason_ = request.keep_alive ? CloseReason::drain : CloseReason::client;
  }
  parser_.reset();
  return last ? Outcome::last_response : Outcome::need_more;
}

// Returns Outcome::need_more when the next request may follow.
[[gnu::always_inline]] inline Outcome Exchange::on_request(const Request& request, bool draining) {
  ++context_.counters.requests;
  if (context_.scenario.withholds()) {
    if (const auto timeout = context_.scenario.withhold(request.resource)) {
      withheld_timeout_ = *timeout;
      return Outcome::withheld;
    }
  }
  if (is_answered_empty(request.resource, request.method)) {
    return conclude(request, kEmptyAnswer, draining);
  }
  if (is_document(request.resource.kind) && is_read(request.method)) {
    document_ = context_.documents->request(request.resource.kind);
    return on_document(request, draining);
  }
  return conclude(request, answer_to(request.resource, request.method, request.body), draining);
}

Outcome Exchange::on_document(const Request& request, bool draining) {
  const auto document = context_.documents->take(request.resource.kind, *document_);
  if (!document) {
    return Outcome::awaiting;
  }
  document_.reset();
  Answer answer{.status = document->status,
                .content_length = document->body.size(),
                .content_type = document->content_type};
  if (request.method == Method::get) {
    answer.body = document->body;
  }
  return conclude(request, answer, draining);
}

[[gnu::always_inline]] inline void Exchange::respond(const Answer& answer,
                                                     Persistence persistence) {
  context_.formatter.append(output_.bytes(), answer, persistence);
  if (!answer.body.empty()) {
    output_.bytes().append(answer.body);
  }
  output_.start_filler(answer.filler_bytes);
  output_.end_response();
  ++context_.counters.responses;
  if (context_.log != nullptr) {
    context_.log->note(client_, parser_ ? parser_->request().line : std::string_view(),
                       answer.status, answer.content_length);
  }
}

// After a malformed request it is unknown where the next one begins, so the error is the last
// response.
void Exchange::refuse(Status status) {
  document_.reset();
  respond({.status = status}, Persistence::close);
  close_reason_ = CloseReason::error;
}

bool Exchange::take_answered() noexcept { return std::exchange(answered_, false); }

bool Exchange::between_requests() const noexcept {
  return !(parser_ && parser_->begun()) && is_blank(input_);
}

bool Exchange::silent() const noexcept {
  return !(parser_ && parser_->begun()) &&
         input_.find_first_not_of("\r\n") == std::string_view::npos;
}

bool Exchange::in_progress() const noexcept { return !output_.empty() || !between_requests(); }

bool Exchange::may_refuse() const noexcept {
  return output_.empty() && parser_ && parser_->begun();
}

void Exchange::reset(std::size_t keep) noexcept {
  input_ = {};
  kept_.clear();
  if (kept_.capacity() > keep) {
    kept_.shrink_to_fit();
  }
  parser_.reset();
  document_.reset();
  output_.clear();
  output_.shrink(keep);
  answered_ = false;
  client_.clear();
}

std::unique_ptr<Exchange> ExchangePool::borrow() {
  if (free_.empty()) {
    return std::make_unique<Exchange>(context_);
  }
  auto exchange = std::move(free_.back());
  free_.pop_back();
  return exchange;
}

void ExchangePool::give_back(std::unique_ptr<Exchange> exchange) noexcept {
  if (free_.size() < kMost) {
    exchange->reset(kMostBytes);
    free_.push_back(std::move(exchange));
  }
}

} // namespace server
