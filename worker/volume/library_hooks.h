// libext2fs's own allocations, led to our allocator.
#pragma once

#include "worker/disk/ext2fs.h"
#include "worker/volume/block_allocator.h"

namespace worker::volume {

/// Owns the hooks in one libext2fs handle: extent and indirect blocks that the library needs come from the
/// BlockAllocator, may use the reserve, and what it frees goes there. The library keeps empty bitmaps of its own, which
/// it marks but never asks. The library keeps free counts itself. Works only inside an operation; outside of one every
/// allocation fails with EROFS.
class LibraryHooks {
 public:
  LibraryHooks(Volume& volume, GroupBitmaps& bitmaps, BlockAllocator& blocks)
      : volume_{volume}, bitmaps_{bitmaps}, blocks_{blocks} {}
  LibraryHooks(const LibraryHooks&) = delete;
  LibraryHooks& operator=(const LibraryHooks&) = delete;

  /// Uses fs->priv_data to find its way back. Stays installed for the life of the handle, which must not be used to
  /// change anything once this object is gone.
  Result<void> install();

  /// Forgets what the library has marked in its empty bitmaps, so that they stay empty.
  void clear_library_bitmaps();

 private:
  static errcode_t get_block(ext2_filsys fs, blk64_t goal, blk64_t* found, blk_alloc_ctx* context) noexcept;
  static errcode_t get_range(ext2_filsys fs, int flags, blk64_t goal, blk64_t wanted, blk64_t* first,
                             blk64_t* count) noexcept;
  static void block_counted(ext2_filsys fs, blk64_t block, int in_use) noexcept;
  static void range_counted(ext2_filsys fs, blk64_t first, blk_t count, int in_use) noexcept;

  Result<BlockRange> allocate(BlockNumber goal, std::uint64_t wanted);
  void counted(BlockRange range, int in_use);
  void undo_counting_of_free(BlockRange range);

  Volume& volume_;
  GroupBitmaps& bitmaps_;
  BlockAllocator& blocks_;
};

}  // namespace worker::volume
