// Boost.Asio as the broker uses it: one thread, coroutines, readiness of descriptors, timers, signals.
#pragma once

// Boost 1.74's Asio uses std::exchange without including this.
#include <utility>
// Only after it:
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace broker {
namespace asio = boost::asio;
}
