// Positioned I/O on the bytes of one volume: every write and flush of the worker passes here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "protocol/result.h"

namespace worker::disk {

using protocol::Error;
using protocol::Result;

/// Bytes from the start of the volume (not of the file or disk that it lies in).
using ByteOffset = std::uint64_t;

/// What carries a volume. Implementations are safe to call from any thread; a test's recorder or fault injector is one
/// more implementation. Short transfers are completed inside; an error leaves the contents of the range undefined.
class BlockDevice {
 public:
  virtual ~BlockDevice() = default;

  virtual Result<void> read(ByteOffset offset, std::span<std::byte> into) = 0;

  /// As read(), but as far as possible what lies on the medium, where another host may have put it, and not what this
  /// host remembers of it.
  virtual Result<void> read_past_cache(ByteOffset offset, std::span<std::byte> into) { return read(offset, into); }

  /// On return the bytes are readable through this device, but durable only after the next flush().
  virtual Result<void> write(ByteOffset offset, std::span<const std::byte> from) = 0;

  /// On return every write that had returned before the call is durable. A failed flush must never be retried: the
  /// kernel may have dropped the pages.
  virtual Result<void> flush() = 0;

  /// Tells the backing store that a range is not needed any more. Contents afterwards are undefined. Best effort.
  virtual Result<void> discard(ByteOffset offset, std::uint64_t length) = 0;

  virtual std::uint64_t size() const noexcept = 0;  ///< bytes
  virtual bool read_only() const noexcept = 0;
};

}  // namespace worker::disk
