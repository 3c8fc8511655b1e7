#include "worker/volume/library_hooks.h"

#include "worker/disk/ext2_errors.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

LibraryHooks& hooks_of(ext2_filsys fs) noexcept { return *static_cast<LibraryHooks*>(fs->priv_data); }

}  // namespace

Result<void> LibraryHooks::install() {
  ext2_filsys fs = volume_.fs();
  // A tree that holds nothing costs nothing, whatever the size of the volume; the default type would be an array of all
  // bits.
  fs->default_bitmap_type = EXT2FS_BMAP64_RBTREE;
  TRY_EXT2(ext2fs_allocate_block_bitmap(fs, "library blocks", &fs->block_map));
  TRY_EXT2(ext2fs_allocate_inode_bitmap(fs, "library inodes", &fs->inode_map));
  // Set by the calls above; ext2fs_flush() would write the empty bitmaps over the real ones.
  fs->write_bitmaps = nullptr;
  fs->priv_data = this;
  fs->get_alloc_block2 = get_block;
  fs->new_range = get_range;
  fs->block_alloc_stats = block_counted;
  fs->block_alloc_stats_range = range_counted;
  return {};
}

void LibraryHooks::clear_library_bitmaps() {
  ext2fs_clear_block_bitmap(volume_.fs()->block_map);
  ext2fs_clear_inode_bitmap(volume_.fs()->inode_map);
}

Result<BlockRange> LibraryHooks::allocate(BlockNumber goal, std::uint64_t wanted) {
  Operation* operation = volume_.running_operation();
  if (!operation) return errno_error(EROFS);
  // Metadata may use the reserve: a write that found room for its data should not fail for a block of its extent tree.
  return blocks_.allocate(*operation, {.goal = goal, .wanted = wanted, .claim = Claim::metadata}, Counting::by_library);
}

errcode_t LibraryHooks::get_block(ext2_filsys fs, blk64_t goal, blk64_t* found, blk_alloc_ctx*) noexcept {
  const auto range = hooks_of(fs).allocate(goal, 1);
  if (!range.ok()) return disk::to_errcode(range.error().code);
  *found = range->first;
  return 0;
}

errcode_t LibraryHooks::get_range(ext2_filsys fs, int flags, blk64_t goal, blk64_t wanted, blk64_t* first,
                                  blk64_t* count) noexcept {
  LibraryHooks& hooks = hooks_of(fs);
  const auto range = hooks.allocate(goal, wanted);
  if (!range.ok()) return disk::to_errcode(range.error().code);
  const bool elsewhere = (flags & EXT2_NEWRANGE_FIXED_GOAL) != 0 && range->first != goal;
  const bool shorter = (flags & EXT2_NEWRANGE_MIN_LENGTH) != 0 && range->count < wanted;
  if (elsewhere || shorter) {
    hooks.blocks_.unmark(*hooks.volume_.running_operation(), *range);
    return EXT2_ET_BLOCK_ALLOC_FAIL;
  }
  *first = range->first;
  *count = range->count;
  return 0;
}

void LibraryHooks::block_counted(ext2_filsys fs, blk64_t block, int in_use) noexcept {
  hooks_of(fs).counted({block, 1}, in_use);
}

void LibraryHooks::range_counted(ext2_filsys fs, blk64_t first, blk_t count, int in_use) noexcept {
  // libext2fs before 1.47.4 has run its loop variables down by now and names no blocks. They were marked when they were
  // found.
  if (count > 0) hooks_of(fs).counted({first, count}, in_use);
}

void LibraryHooks::counted(BlockRange range, int in_use) {
  Operation* operation = volume_.running_operation();
  if (!operation) return;
  if (in_use > 0) {
    if (!blocks_.in_use(range)) operation->fail(errno_error(EUCLEAN, "libext2fs took blocks it was not given"));
    return;
  }
  // The library has counted already, before anything was saved for undo: count back, then free in the orderly way.
  undo_counting_of_free(range);
  if (const auto freed = blocks_.free(*operation, range); !freed.ok()) operation->fail(freed.error());
}

void LibraryHooks::undo_counting_of_free(BlockRange range) {
  ext2_filsys fs = volume_.fs();
  for (BlockNumber block = range.first; block < range.first + range.count; ++block) {
    const std::uint32_t group = bitmaps_.group_of(block);
    ext2fs_bg_free_blocks_count_set(fs, group, ext2fs_bg_free_blocks_count(fs, group) - 1);
    ext2fs_free_blocks_count_set(fs->super, ext2fs_free_blocks_count(fs->super) - 1);
    bitmaps_.restore_flag(group);
    ext2fs_group_desc_csum_set(fs, group);
  }
}

}  // namespace worker::volume
