// A timer of the operating system, through Asio. The server uses it for waits of its own, which are
// rare. The timeouts of connections go through the timer backend instead.
#pragma once

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>

namespace server {

// A steady_timer whose executor is known at compile time, so that a wait needs no type erasure.
using OsTimer =
    boost::asio::basic_waitable_timer<std::chrono::steady_clock,
                                      boost::asio::wait_traits<std::chrono::steady_clock>,
                                      boost::asio::io_context::executor_type>;

} // namespace server
