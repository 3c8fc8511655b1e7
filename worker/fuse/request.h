// One request on its way through us, and the way its one reply takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "worker/fuse/kernel_abi.h"
#include "worker/fuse/libfuse.h"
#include "worker/volume/types.h"

namespace worker::volume {
class Volume;
}

namespace worker::fuse {

class Dispatcher;

/// A request that awaits its reply, decoded by libfuse or by us. Exactly one of the reply functions is called, once and
/// last: the reply may be what the asker waited for before it gives up the inode. They return 0, or an errno when the
/// kernel did not take the reply, so that what it would have lent is lent no more.
class Request {
 public:
  explicit Request(fuse_req_t decoded_by_library) noexcept;
  Request(Dispatcher& dispatcher, const fuse_in_header& header) noexcept;

  Dispatcher& dispatcher() const noexcept { return dispatcher_; }
  volume::Volume& volume() const noexcept;
  std::uint32_t uid() const noexcept { return uid_; }  ///< the asker's, for file access
  std::uint32_t gid() const noexcept { return gid_; }
  std::uint32_t umask() const noexcept;  ///< of requests that create something and that libfuse decoded

  int reply_done() const noexcept { return reply_error(0); }
  int reply_error(int number) const noexcept;
  int reply(std::span<const std::byte> body) const noexcept;

  template <typename Structure>
  int reply_structure(const Structure& structure) const noexcept {
    return reply(std::as_bytes(std::span{&structure, 1}));
  }

 private:
  Dispatcher& dispatcher_;
  fuse_req_t library_ = nullptr;  ///< if libfuse decoded it; freed by the reply
  std::uint64_t unique_ = 0;
  std::uint32_t uid_ = 0;
  std::uint32_t gid_ = 0;
};

}  // namespace worker::fuse
