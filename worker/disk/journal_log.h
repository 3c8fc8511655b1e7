// Where the blocks of a log lie on the volume, and I/O on them.
#pragma once

#include <span>
#include <vector>

#include "worker/disk/block_cache.h"
#include "worker/disk/journal_superblock.h"

namespace worker::disk {

/// mke2fs makes no greater journals. Bounds what an image can make us remember.
inline constexpr std::uint32_t kMostLogBlocks = 10'240'000;

/// Blocks of the log that lie side by side on the volume.
struct LogExtent {
  BlockNumber home = 0;     ///< on the volume
  std::uint32_t count = 0;  ///< blocks
};

/// The blocks of one log in their order; knows nothing of what is in them. Does not cache. Any thread, as the device.
class JournalLog {
 public:
  /// `extents` in the order of the log, without gaps. EUCLEAN where they overlap, lie outside the device or are too
  /// many. The device must outlive the log.
  static Result<JournalLog> open(BlockDevice& device, std::uint32_t block_size, std::vector<LogExtent> extents);

  std::uint32_t block_size() const noexcept { return block_size_; }
  LogBlock blocks() const noexcept { return blocks_; }
  BlockDevice& device() const noexcept { return *device_; }

  /// True if a block of the volume is one of the log's.
  bool holds(BlockNumber home) const noexcept { return overlaps(home, 1); }
  bool overlaps(BlockNumber first, std::uint64_t count) const noexcept;

  /// Whole blocks from `first` on; EUCLEAN beyond the end. There is no wrap here: where a log begins and ends anew is
  /// for its superblock to say. A write is durable after the device's next flush.
  Result<void> read(LogBlock first, std::span<std::byte> into) const;
  Result<void> write(LogBlock first, std::span<const std::byte> from) const;

 private:
  struct Piece {
    LogBlock first;
    BlockNumber home;
    std::uint32_t count;
  };

  JournalLog(BlockDevice& device, std::uint32_t block_size) noexcept : device_{&device}, block_size_{block_size} {}

  /// Calls transfer(offset on the device, part of `bytes`) for each extent that the range meets.
  template <typename Bytes, typename Transfer>
  Result<void> for_each_part(LogBlock first, Bytes bytes, Transfer transfer) const;

  BlockDevice* device_;
  std::uint32_t block_size_;
  LogBlock blocks_ = 0;
  std::vector<Piece> pieces_;   ///< in the log's order
  std::vector<Piece> by_home_;  ///< in the volume's
};

}  // namespace worker::disk
