// A volume in a file, a loop device or a disk.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <shared_mutex>

#include "protocol/unique_fd.h"
#include "worker/disk/block_device.h"

namespace worker::disk {

/// The bytes [offset, offset + size) of what a descriptor names. Owns the descriptors. Any thread.
///
/// Small transfers, and so all metadata, go through the page cache, which reads ahead and gathers writes. Long ones of
/// whole pages take the way by it where `direct` is given: one copy and one allocation of every page less.
class FileDevice final : public BlockDevice {
 public:
  /// `size` 0 means up to the end. Fails with EINVAL for a window that does not lie inside. Read-only if the descriptor
  /// is. `direct` is none, or names the same file, opened with O_DIRECT and as much right to write.
  static Result<std::unique_ptr<FileDevice>> open(protocol::UniqueFd fd, ByteOffset offset = 0, std::uint64_t size = 0,
                                                  protocol::UniqueFd direct = {});

  Result<void> read(ByteOffset offset, std::span<std::byte> into) override;
  Result<void> read_past_cache(ByteOffset offset, std::span<std::byte> into) override;
  Result<void> write(ByteOffset offset, std::span<const std::byte> from) override;
  Result<void> flush() override;
  Result<void> discard(ByteOffset offset, std::uint64_t length) override;
  std::uint64_t size() const noexcept override { return size_; }
  bool read_only() const noexcept override { return read_only_; }

 private:
  /// The page cache may hold a long piece of the file in one unit, and a direct write drops what is cached of its
  /// pages. A unit that somebody makes dirty meanwhile stays, stale. So the two ways of writing keep apart: any number
  /// of direct writes of a region at a time, or one buffered one, whoever comes first.
  struct Region {
    std::mutex turn;
    std::shared_mutex writes;
  };
  static constexpr std::size_t kRegions = 64;

  FileDevice(protocol::UniqueFd fd, ByteOffset start, std::uint64_t size, bool read_only, protocol::UniqueFd direct);

  /// How many of these bytes may go by the page cache, from the first on.
  std::size_t direct_part(ByteOffset offset, const std::byte* memory, std::size_t size) const noexcept;
  Result<void> read_whole(int descriptor, ByteOffset offset, std::span<std::byte> into);
  Result<void> write_whole(int descriptor, ByteOffset offset, std::span<const std::byte> from);
  Result<void> write_in_region(ByteOffset offset, std::span<const std::byte> from);
  bool inside(ByteOffset offset, std::uint64_t length) const noexcept {
    return offset <= size_ && length <= size_ - offset;
  }

  protocol::UniqueFd fd_, direct_;
  ByteOffset start_;
  std::uint64_t size_;
  bool read_only_;
  std::size_t page_;
  std::atomic<bool> directly_;  ///< there is a direct descriptor, and it takes what we give it
  std::array<Region, kRegions> regions_;
  std::mutex flush_mutex_;
  bool flush_failed_ = false;  ///< guarded by flush_mutex_
};

}  // namespace worker::disk
