#include "worker/fuse/transport.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace worker::fuse {

namespace {

/// For descriptors that somebody made non-blocking: sleeps until there is something to do.
void wait_until(int descriptor, short events) noexcept {
  pollfd waiting{.fd = descriptor, .events = events, .revents = 0};
  ::poll(&waiting, 1, -1);
}

}  // namespace

Result<std::size_t> DescriptorTransport::receive(std::span<std::byte> into) {
  for (;;) {
    const ssize_t length = ::read(descriptor_, into.data(), into.size());
    if (length > 0) return static_cast<std::size_t>(length);
    if (length == 0) return protocol::errno_error(ENODEV);
    switch (errno) {
      case EINTR:
      case ENOENT:  // the request was interrupted while it was handed over
        continue;
      case EAGAIN:
        wait_until(descriptor_, POLLIN);
        continue;
      case ECONNABORTED:  // /dev/fuse after an abort
      case ECONNRESET:    // a socket whose peer has gone
        return protocol::errno_error(ENODEV);
      default:
        return protocol::last_error("reading requests");
    }
  }
}

int DescriptorTransport::send(std::span<const iovec> pieces) noexcept {
  for (;;) {
    if (::writev(descriptor_, pieces.data(), static_cast<int>(pieces.size())) >= 0) return 0;
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return errno;
    wait_until(descriptor_, POLLOUT);
  }
}

}  // namespace worker::fuse
