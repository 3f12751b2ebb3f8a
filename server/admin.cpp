#include "server/admin.hpp"

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <spdlog/spdlog.h>

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <utility>

namespace server {

// A descriptor in reserve. It is given up when the process has no other left for a session.
class SpareDescriptor {
public:
  SpareDescriptor() { take(); }
  ~SpareDescriptor() { give_up(); }
  SpareDescriptor(const SpareDescriptor&) = delete;
  SpareDescriptor& operator=(const SpareDescriptor&) = delete;

  void take() noexcept {
    if (descriptor_ < 0) {
      descriptor_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
  }
  void give_up() noexcept {
    if (descriptor_ >= 0) {
      close(std::exchange(descriptor_, -1));
    }
  }

private:
  int descriptor_ = -1;
};

struct AdminShared {
  explicit AdminShared(AdminSource from) : source(std::move(from)) {}

  AdminSource source;
  std::size_t sessions = 0;
  SpareDescriptor spare;
};

namespace {

constexpr std::size_t kMostSessions = 32;

namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::asio::ip::tcp;

// One admin client. A session lives as long as it waits for a read, a write or a snapshot.
class Session : public std::enable_shared_from_this<Session> {
public:
  Session(tcp::socket socket, std::shared_ptr<AdminShared> shared)
      : stream_(std::move(socket)), shared_(std::move(shared)) {
    ++shared_->sessions;
  }

  ~Session() {
    --shared_->sessions;
    stream_.close();
    shared_->spare.take();
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void read() {
    parser_.emplace();
    stream_.expires_after(kTimeout);
    http::async_read_header(stream_, buffer_, *parser_,
                            [self = shared_from_this()](beast::error_code error, std::size_t) {
                              self->on_header(error);
                            });
  }

private:
  static constexpr auto kTimeout = std::chrono::seconds(30);

  // No resource of the admin listener takes a body, so a request with one is refused.
  void on_header(beast::error_code error) {
    if (error == http::error::header_limit) {
      refuse(http::status::request_header_fields_too_large);
    } else if (error.category() == http::make_error_code(http::error::end_of_stream).category() &&
               error != http::error::end_of_stream && error != http::error::partial_message) {
      refuse(http::status::bad_request);
    } else if (!error) {
      const bool body = parser_->chunked() || parser_->content_length().value_or(0) != 0;
      body ? refuse(http::status::payload_too_large) : answer();
    }
  }

  void refuse(http::status status) {
    parser_.emplace(); // a request that could not be read has no fields to rely on
    parser_->get().version(11);
    parser_->get().keep_alive(false);
    write(status, "text/plain", std::string(http::obsolete_reason(status)) + "\n");
  }

  void answer() {
    const auto& request = parser_->get();
    const auto target = request.target().substr(0, request.target().find('?'));
    const bool read = request.method() == http::verb::get || request.method() == http::verb::head;
    if (!read) {
      write(http::status::method_not_allowed, "text/plain", "GET or HEAD\n");
    } else if (target == "/healthz") {
      write(http::status::ok, "text/plain", "ok\n");
    } else if (target == "/readyz") {
      const bool ready = shared_->source.ready();
      write(ready ? http::status::ok : http::status::service_unavailable, "text/plain",
            ready ? "ready\n" : "draining\n");
    } else if (target == "/stats") {
      write_snapshot("application/json", stats_json);
    } else if (target == "/metrics") {
      write_snapshot("text/plain; version=0.0.4", metrics_text);
    } else {
      write(http::status::not_found, "text/plain", "/healthz /readyz /stats /metrics\n");
    }
  }

  template <class Format> void write_snapshot(beast::string_view type, Format format) {
    shared_->source.snapshot([self = shared_from_this(), type, format](const Snapshot& snapshot) {
      self->write(http::status::ok, type,
                  format(self->shared_->source.backend, self->shared_->source.rearm, snapshot));
    });
  }

  void write(http::status status, beast::string_view type, std::string body) {
    const auto& request = parser_->get();
    response_ = http::response<http::string_body>(status, request.version());
    response_.set(http::field::content_type, type);
    response_.keep_alive(request.keep_alive());
    if (status == http::status::method_not_allowed) {
      response_.set(http::field::allow, "GET, HEAD");
    }
    const std::size_t size = body.size();
    response_.body() = request.method() == http::verb::head ? std::string() : std::move(body);
    response_.content_length(size);
    stream_.expires_after(kTimeout);
    http::async_write(stream_, response_,
                      [self = shared_from_this()](beast::error_code error, std::size_t) {
                        if (!error && self->response_.keep_alive()) {
                          self->read();
                        }
                      });
  }

  beast::tcp_stream stream_;
  beast::flat_buffer buffer_{16 * 1024};
  std::optional<http::request_parser<http::empty_body>> parser_;
  http::response<http::string_body> response_;
  std::shared_ptr<AdminShared> shared_;
};

} // namespace

Admin::Admin(boost::asio::io_context& io, const tcp::endpoint& endpoint, AdminSource source)
    : acceptor_(io, endpoint), pause_(io),
      shared_(std::make_shared<AdminShared>(std::move(source))) {
  acceptor_.non_blocking(true);
  accept();
}

void Admin::accept() {
  acceptor_.async_wait(tcp::acceptor::wait_read, [this](beast::error_code error) {
    waiting_ = false;
    if (!error) {
      accept_one();
    }
  });
  waiting_ = true;
}

void Admin::resume() {
  if (!waiting_) {
    accept();
  }
}

void Admin::accept_one() {
  tcp::socket socket(acceptor_.get_executor());
  beast::error_code error;
  acceptor_.accept(socket, error);
  if (error == boost::asio::error::no_descriptors) {
    shared_->spare.give_up();
    acceptor_.accept(socket, error);
  }
  if (!error && shared_->sessions < kMostSessions) {
    std::make_shared<Session>(std::move(socket), shared_)->read();
  } else if (error && error != boost::asio::error::would_block) {
    spdlog::warn("the admin listener cannot accept: {}", error.message());
    return wait_and_accept();
  }
  accept();
}

// The process is most likely out of descriptors, so the next attempt is a second later.
void Admin::wait_and_accept() {
  pause_.expires_after(std::chrono::seconds(1));
  pause_.async_wait([this](beast::error_code cancelled) {
    waiting_ = false;
    if (!cancelled) {
      accept();
    }
  });
  waiting_ = true;
}

} // namespace server
