// What the pieces of code in README.md and MIGRATION.md take for granted (snippets_test.py): the
// names, and the members of a session in the midst of its work.
#pragma once

#include "timers/asio/beast.hpp"
#include "timers/asio/cancel_after.hpp"
#include "timers/asio/net.hpp"
#include "timers/asio/remote_timer.hpp"

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/beast.hpp>
#include <boost/beast/websocket.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include <sys/epoll.h>

namespace asio = boost::asio;
namespace beast = timers::beast;
namespace http = beast::http;
namespace net = timers::net;
namespace websocket = beast::websocket;
using asio::ip::tcp;
using boost::system::error_code;
using namespace std::chrono_literals;

struct Session : std::enable_shared_from_this<Session> {
  void close() {}
  void on_read(error_code, std::size_t) {}

  asio::io_context io_;
  asio::strand<asio::io_context::executor_type> strand_{asio::make_strand(io_)};
  tcp::socket socket_{strand_};
  beast::tcp_stream stream_{strand_};
  websocket::stream<beast::tcp_stream> websocket_{strand_};
  asio::steady_timer asio_timer_{strand_};
  timers::steady_timer timer_{strand_};
  timers::deadline deadline_{strand_};

  int epoll_ = -1;
  epoll_event event_{};

  std::array<char, 1024> data_{};
  asio::mutable_buffer buffers_{data_.data(), data_.size()};
  beast::flat_buffer buffer_;
  http::request<http::string_body> request_;
  std::function<void(error_code, std::size_t)> handler_;
};
