// A timer of the operating system's, through Asio: what the server uses for itself, where a timer
// is armed once in a while. Connections have the timers of their backend instead.
#pragma once

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>

#include <chrono>

namespace server {

// A steady_timer whose executor is known at compile time, so that no wait erases its type.
using OsTimer =
    boost::asio::basic_waitable_timer<std::chrono::steady_clock,
                                      boost::asio::wait_traits<std::chrono::steady_clock>,
                                      boost::asio::io_context::executor_type>;

} // namespace server
