// The blocks of one inode that are metadata: those of directories, and the targets of long symbolic links.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "worker/volume/file_mapping.h"

namespace worker::volume {

/// Finds, reads, changes and adds such blocks, by extents or by indirect blocks. Remembers what it found, so it must
/// not outlive the operation or inspection that made it. Under the mutator lock.
class MappedBlocks {
 public:
  MappedBlocks(Volume& volume, Inode& inode) : volume_{volume}, inode_{inode} {}
  MappedBlocks(const MappedBlocks&) = delete;
  MappedBlocks& operator=(const MappedBlocks&) = delete;

  Volume& volume() noexcept { return volume_; }
  Inode& inode() noexcept { return inode_; }
  const Inode& inode() const noexcept { return inode_; }

  /// Whole blocks within the inode's size.
  std::uint64_t count() const noexcept;

  /// EUCLEAN for a hole, an unwritten block, one outside the volume, and whatever else a mapping should not say.
  Result<BlockNumber> locate(LogicalBlock block);
  Result<disk::Contents> read(LogicalBlock block);
  Result<std::span<std::byte>> modify(Operation& operation, LogicalBlock block, disk::BlockKind kind);

  /// Allocates block number count() and grows the inode by it. The inode in memory is changed; the caller writes it.
  Result<std::span<std::byte>> append(Operation& operation, disk::BlockKind kind);

 private:
  static constexpr std::size_t kRuns = 8;

  Result<Run> map(LogicalBlock block);
  Error corrupt(LogicalBlock block, const char* what) const;

  Volume& volume_;
  Inode& inode_;
  std::array<Run, kRuns> runs_{};
  std::size_t next_run_ = 0;
};

}  // namespace worker::volume
