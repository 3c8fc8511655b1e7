// Boost.Asio as the broker uses it: one thread, coroutines, readiness of descriptors, timers.
#pragma once

// Boost 1.74's Asio uses std::exchange without including this.
#include <utility>
// Only after it:
#include <fcntl.h>
#include <poll.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
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

/// Until something can be read, or will never be: whoever reads next will see.
inline asio::awaitable<void> until_readable(asio::io_context& context, int descriptor) {
  // Asio wants a descriptor of its own.
  asio::posix::stream_descriptor watched{context, ::fcntl(descriptor, F_DUPFD_CLOEXEC, 3)};
  boost::system::error_code failure;
  do {
    co_await watched.async_wait(asio::posix::stream_descriptor::wait_read,
                                asio::redirect_error(asio::use_awaitable, failure));
  } while (!failure && !readable(descriptor));
}

}  // namespace broker
