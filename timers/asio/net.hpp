// timers::net: all of boost::asio, with the steady_timer of idlewheel in place of Asio's. In a
// program that names Asio by an alias, this is the one line to change:
//
//   namespace net = timers::net; // was: boost::asio
//
// net::io_context, net::ip::tcp, net::use_awaitable and whatever else Asio has are Asio's own, from
// the headers that the program includes. Only net::steady_timer is another class. A program that
// spells out boost::asio::steady_timer in places, and stores one there, must change these too.
#pragma once

#include "timers/asio/steady_timer.hpp"

namespace timers::net {

// A name that is declared here hides that of boost::asio, because a qualified name is looked up in
// the namespaces of using-directives only when it is not found in the namespace itself.
using namespace boost::asio;

using timers::async_sleep;
using timers::basic_steady_timer;
using timers::steady_timer;

} // namespace timers::net
