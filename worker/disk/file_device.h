// A volume in a file, a loop device or a disk: buffered positioned I/O on one descriptor.
#pragma once

#include <memory>
#include <mutex>

#include "protocol/unique_fd.h"
#include "worker/disk/block_device.h"

namespace worker::disk {

/// The bytes [offset, offset + size) of what a descriptor names. Owns the descriptor. Any thread.
class FileDevice final : public BlockDevice {
 public:
  /// `size` 0 means up to the end. Fails with EINVAL for a window that does not lie inside. Read-only if the descriptor
  /// is.
  static Result<std::unique_ptr<FileDevice>> open(protocol::UniqueFd fd, ByteOffset offset = 0, std::uint64_t size = 0);

  Result<void> read(ByteOffset offset, std::span<std::byte> into) override;
  Result<void> read_past_cache(ByteOffset offset, std::span<std::byte> into) override;
  Result<void> write(ByteOffset offset, std::span<const std::byte> from) override;
  Result<void> flush() override;
  Result<void> discard(ByteOffset offset, std::uint64_t length) override;
  std::uint64_t size() const noexcept override { return size_; }
  bool read_only() const noexcept override { return read_only_; }

 private:
  FileDevice(protocol::UniqueFd fd, ByteOffset start, std::uint64_t size, bool read_only)
      : fd_{std::move(fd)}, start_{start}, size_{size}, read_only_{read_only} {}
  bool inside(ByteOffset offset, std::uint64_t length) const noexcept {
    return offset <= size_ && length <= size_ - offset;
  }

  protocol::UniqueFd fd_;
  ByteOffset start_;
  std::uint64_t size_;
  bool read_only_;
  std::mutex flush_mutex_;
  bool flush_failed_ = false;  ///< guarded by flush_mutex_
};

}  // namespace worker::disk
