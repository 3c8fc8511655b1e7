// How requests come in and replies go out.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>

#include "protocol/result.h"

namespace worker::fuse {

using protocol::Result;

/// Carries whole messages between the kernel, or a test that plays it, and us. Any thread.
class Transport {
 public:
  virtual ~Transport() = default;

  /// Waits for the next request and puts it at the start of `into`; returns its length in bytes. Interruptions and
  /// requests that were withdrawn are waited through. ENODEV when the session is over: there will never be another
  /// request.
  virtual Result<std::size_t> receive(std::span<std::byte> into) = 0;

  /// Sends one reply in one piece; the fuse_out_header comes first. 0, or an errno: ENOENT when the asker does not wait
  /// any more. Whatever the error, the kernel did not take the reply.
  virtual int send(std::span<const iovec> pieces) noexcept = 0;
};

/// Messages over a descriptor that keeps their bounds: /dev/fuse, or a SOCK_SEQPACKET socket.
class DescriptorTransport final : public Transport {
 public:
  /// `descriptor` stays the caller's and has to outlive this object.
  explicit DescriptorTransport(int descriptor) noexcept : descriptor_{descriptor} {}

  Result<std::size_t> receive(std::span<std::byte> into) override;
  int send(std::span<const iovec> pieces) noexcept override;

 private:
  int descriptor_;
};

}  // namespace worker::fuse
