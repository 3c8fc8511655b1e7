// Boost.Asio as the broker uses it: one thread, coroutines, readiness of descriptors, timers, signals.
#pragma once

// Boost 1.74's Asio uses std::exchange without including this.
#include <utility>
// Only after it:
#include <poll.h>

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

/// Whether a descriptor is readable right now. Asio's reactor recycles its records of closed descriptors, so a wait can
/// end on an event of one before: whoever does not read without blocking afterwards has to look.
inline bool readable(int descriptor) noexcept {
  pollfd looked{descriptor, POLLIN, 0};
  return ::poll(&looked, 1, 0) > 0;
}

}  // namespace broker
