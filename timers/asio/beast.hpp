// All of boost::beast, with this library's streams in the place of its own. A program that says
//
//   namespace beast = boost::beast;
//
// includes this header and says
//
//   namespace beast = timers::beast;
//
// Then beast::tcp_stream and beast::basic_stream are those of basic_stream.hpp, and every other
// name is Beast's own: beast::http, beast::websocket, beast::flat_buffer, beast::error. It does not
// matter which header is included first. What is spelled boost::beast::tcp_stream stays Beast's.
#pragma once

#include "timers/asio/basic_stream.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/beast/core/rate_policy.hpp>

namespace timers::beast {

// A name is looked up here first, and in boost::beast only if it is not found here.
using namespace boost::beast;

template <class Protocol, class Executor = boost::asio::any_io_executor,
          class RatePolicy = boost::beast::unlimited_rate_policy>
using basic_stream = timers::basic_stream<Protocol, Executor, RatePolicy>;

using tcp_stream = timers::tcp_stream;

} // namespace timers::beast
