// The superblock and the group descriptors: in memory where libext2fs keeps them, on their way home through the cache.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "worker/disk/ext2fs.h"
#include "worker/volume/types.h"

namespace worker::volume {

/// Keeps the volume's own record of its state. Nothing here writes to the device: write_back() puts what changed into
/// the block cache, where the next freeze takes it. Backups are never touched. Under the mutator lock.
class Superblock {
 public:
  /// `fs` stays the owner of the bytes.
  Superblock(ext2_filsys fs, disk::BlockCache& cache);

  /// A group's descriptor as the library holds it: the bytes as stored, s_desc_size long.
  std::span<std::byte> descriptor(std::uint32_t group) noexcept;

  /// The descriptor changed or its checksum is to be made anew.
  void mark_group(std::uint32_t group);

  /// Puts changed descriptors, with checksums, and the superblock, with the write time, into the cache: dirty only
  /// where bytes differ. Runs an operation of its own; no other may be running. On an error everything is as before.
  Result<void> write_back();

  /// True if write_back() would have something to do.
  bool changed() const noexcept;
  /// At most so many blocks will write_back() make dirty.
  std::size_t blocks_to_write() const noexcept { return marked_.size() + 1; }

  /// EUCLEAN if the descriptor's checksum is wrong or its bitmaps or inode table lie where they cannot. Remembered once
  /// good.
  Result<void> check_group(std::uint32_t group);

  /// Makes the counts of free blocks and inodes the sums of those of the groups: they are only as fresh as the last
  /// clean unmount, those of the descriptors were written with the bitmaps. Grows with the number of groups.
  void count_free_space() noexcept;

  bool marked_valid() const noexcept;
  /// Was mounted: counted, mount time now, its orphan file worth a look. With a journal a crash needs a recovery, without
  /// one VALID is gone until closed.
  void mark_in_use(bool journaled);
  /// Needs no recovery; is VALID if it was when mark_in_use() was called first; nothing to look for in the orphan file,
  /// unless there is.
  void mark_clean(bool orphans_in_file);

  /// Keeps an error for e2fsck and the next mount, as kernel ext4 does: count, first and last time, inode, block,
  /// place, ERROR_FS.
  void record_error(std::string_view place, InodeNumber inode, BlockNumber block, int error);
  bool has_errors() const noexcept;

  std::string label() const;
  /// Blocks that statfs(2) does not count as space, as kernel ext4 computes them. Grows with the number of groups;
  /// cached.
  std::uint64_t overhead();

 private:
  ext2_super_block& super() noexcept { return *fs_->super; }
  const ext2_super_block& super() const noexcept { return *fs_->super; }
  Result<void> write_descriptors();
  Result<void> write_super();
  std::uint64_t compute_overhead();

  ext2_filsys fs_;
  disk::BlockCache& cache_;
  std::vector<std::uint32_t> marked_;  ///< groups since the last write_back()
  std::vector<bool> is_marked_;        ///< by group
  std::vector<bool> checked_;          ///< by group
  ext2_super_block stored_;            ///< as it lies in the cache
  bool was_valid_;
  std::uint64_t overhead_ = 0;
};

}  // namespace worker::volume
