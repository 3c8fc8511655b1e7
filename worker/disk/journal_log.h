// Where the blocks of a log lie on the volume.
#pragma once

#include <span>
#include <vector>

#include "worker/disk/block_device.h"
#include "worker/disk/journal_superblock.h"

namespace worker::disk {

/// The log as an array of blocks, numbered from its superblock 0 on. Reads and writes go to the volume's device.
class JournalLog {
 public:
  /// Consecutive blocks of the log that are consecutive on the volume.
  struct Piece {
    LogBlock first = 0;
    std::uint64_t home = 0;  ///< volume block of `first`
    std::uint32_t count = 0;
  };

  /// `pieces` cover [0, end) without gaps, in order.
  JournalLog(BlockDevice& device, std::uint32_t block_size, std::vector<Piece> pieces, LogBlock first, LogBlock end)
      : device_{&device}, block_size_{block_size}, pieces_{std::move(pieces)}, first_{first}, end_{end} {}

  LogBlock first() const noexcept { return first_; }
  LogBlock end() const noexcept { return end_; }

  /// Whole blocks from `at` on, none behind end(): the caller wraps.
  Result<void> read(LogBlock at, std::span<std::byte> into) const;
  Result<void> write(LogBlock at, std::span<const std::byte> from) const;

 private:
  BlockDevice* device_;
  std::uint32_t block_size_;
  std::vector<Piece> pieces_;
  LogBlock first_, end_;
};

}  // namespace worker::disk
