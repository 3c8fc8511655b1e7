#include "worker/volume/block_allocator.h"

#include <algorithm>
#include <string>

#include "worker/disk/crash_rules.h"
#include "worker/volume/volume.h"

namespace worker::volume {

BlockAllocator::BlockAllocator(Volume& volume, GroupBitmaps& bitmaps)
    : volume_{volume}, bitmaps_{bitmaps}, held_{volume.fs()->blocksize}, search_{volume, bitmaps, held_} {}

std::uint64_t BlockAllocator::free_blocks() const noexcept {
  const std::uint64_t counted = ext2fs_free_blocks_count(volume_.fs()->super);
  return counted - std::min(counted, promised_);
}

bool BlockAllocator::in_volume(BlockRange range) const {
  ext2_super_block* super = volume_.fs()->super;
  const std::uint64_t end = ext2fs_blocks_count(super);
  return range.count > 0 && range.first >= super->s_first_data_block && range.first < end &&
         range.count <= end - range.first;
}

std::vector<BlockAllocator::Part> BlockAllocator::parts_of(BlockRange range) const {
  std::vector<Part> parts;
  while (range.count > 0) {
    const std::uint32_t group = bitmaps_.group_of(range.first);
    const auto bit = static_cast<std::uint32_t>(range.first - bitmaps_.first_block(group));
    const auto count =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(range.count, bitmaps_.block_count(group) - bit));
    parts.push_back({group, {bit, count}});
    range.first += count;
    range.count -= count;
  }
  return parts;
}

std::uint64_t BlockAllocator::kept_for_metadata() const noexcept {
  constexpr std::uint64_t kMost = 4096;
  ext2_filsys fs = volume_.fs();
  // Extents split; the indirect blocks of a file can be counted beforehand.
  if (!ext2fs_has_feature_extents(fs->super)) return 0;
  const std::uint64_t clusters = ext2fs_blocks_count(fs->super) >> fs->cluster_ratio_bits;
  return std::min(clusters / 50, kMost) << fs->cluster_ratio_bits;
}

std::uint64_t BlockAllocator::available(Claim claim) const noexcept {
  const std::uint64_t free = free_blocks();
  std::uint64_t kept = claim == Claim::metadata ? 0 : kept_for_metadata();
  if (claim == Claim::ordinary) kept += ext2fs_r_blocks_count(volume_.fs()->super);
  return free - std::min(free, kept);
}

Result<FoundRun> BlockAllocator::find(const Wish& wish) {
  const std::uint64_t most = std::min<std::uint64_t>(available(wish.claim), volume_.fs()->super->s_blocks_per_group);
  if (most == 0) return errno_error(ENOSPC);
  Wish bounded = wish;
  bounded.wanted = std::clamp<std::uint64_t>(wish.wanted, 1, most);
  if (auto found = search_.find(bounded)) return *found;
  return errno_error(ENOSPC);
}

Result<BlockRange> BlockAllocator::allocate(Operation& operation, const Wish& wish, Counting counting) {
  TRY(found, find(wish));
  TRY(mark(operation, found.group, found.run, counting));
  return BlockRange{bitmaps_.first_block(found.group) + found.run.first, found.run.count};
}

Result<BlockRange> BlockAllocator::reserve(const Wish& wish) {
  TRY(found, find(wish));
  held_.hold(found.group, found.run);
  promised_ += found.run.count;
  return BlockRange{bitmaps_.first_block(found.group) + found.run.first, found.run.count};
}

void BlockAllocator::give_back(BlockRange range) {
  for (const Part& part : parts_of(range)) {
    held_.let_go(part.group, part.run);
    search_.freed(part.group);
  }
  promised_ -= range.count;
}

Result<void> BlockAllocator::use_reserved(Operation& operation, BlockRange range) {
  if (!in_volume(range)) return errno_error(EINVAL, "use of blocks that were never promised");
  const std::vector<Part> parts = parts_of(range);
  for (const Part& part : parts) {
    if (!held_.holds(part.group, part.run)) return errno_error(EINVAL, "use of blocks that were never promised");
  }
  join(operation);
  for (const Part& part : parts) {
    TRY(mark(operation, part.group, part.run, Counting::ours));
    held_.let_go(part.group, part.run);
    promised_ -= part.run.count;
    used_promises_.push_back({bitmaps_.first_block(part.group) + part.run.first, part.run.count});
  }
  return {};
}

Result<void> BlockAllocator::mark(Operation& operation, std::uint32_t group, BitRun run, Counting counting) {
  ext2_filsys fs = volume_.fs();
  const std::uint32_t in_group = ext2fs_bg_free_blocks_count(fs, group);
  if (in_group < run.count || ext2fs_free_blocks_count(fs->super) < run.count) {
    return errno_error(EUCLEAN, "free block count of group " + std::to_string(group));
  }
  join(operation);
  TRY(bits, bitmaps_.change_blocks(operation, group));
  if (!all_clear(bits, run)) return errno_error(EUCLEAN, "block bitmap of group " + std::to_string(group));
  set_bits(bits, run);
  if (counting == Counting::ours) {
    ext2fs_bg_free_blocks_count_set(fs, group, in_group - run.count);
    ext2fs_free_blocks_count_set(fs->super, ext2fs_free_blocks_count(fs->super) - run.count);
  }
  return {};
}

void BlockAllocator::unmark(Operation& operation, BlockRange range) {
  for (const Part& part : parts_of(range)) {
    if (auto bits = bitmaps_.change_blocks(operation, part.group); bits.ok()) clear_bits(*bits, part.run);
    search_.freed(part.group);
  }
}

bool BlockAllocator::in_use(BlockRange range) {
  if (!in_volume(range)) return false;
  for (const Part& part : parts_of(range)) {
    const auto bitmap = bitmaps_.blocks(part.group);
    if (!bitmap.ok() || !all_set(**bitmap, part.run)) return false;
  }
  return true;
}

Result<void> BlockAllocator::free(Operation& operation, BlockRange range) {
  if (!in_volume(range)) return errno_error(EUCLEAN, "freeing blocks outside the volume");
  join(operation);
  for (const Part& part : parts_of(range)) TRY(free_part(operation, part));
  volume_.cache().forget(range.first, range.count);
  return {};
}

Result<void> BlockAllocator::free_part(Operation& operation, const Part& part) {
  ext2_filsys fs = volume_.fs();
  if (bitmaps_.touches_metadata(part.group, part.run)) {
    return errno_error(EUCLEAN, "freeing metadata of group " + std::to_string(part.group));
  }
  TRY(bits, bitmaps_.change_blocks(operation, part.group));
  if (!all_set(bits, part.run)) {
    return errno_error(EUCLEAN, "freeing free blocks of group " + std::to_string(part.group));
  }
  clear_bits(bits, part.run);
  ext2fs_bg_free_blocks_count_set(fs, part.group, ext2fs_bg_free_blocks_count(fs, part.group) + part.run.count);
  ext2fs_free_blocks_count_set(fs->super, ext2fs_free_blocks_count(fs->super) + part.run.count);

  hold_freed(part);
  const BlockRange range{bitmaps_.first_block(part.group) + part.run.first, part.run.count};
  const bool extends = freed_.size() > freed_before_ && freed_.back().first + freed_.back().count == range.first;
  if (extends) {
    freed_.back().count += range.count;
  } else {
    freed_.push_back(range);
  }
  return {};
}

void BlockAllocator::hold_freed(const Part& part) {
  if (disk::rule::delay_reuse)
    held_.hold(part.group, part.run);
  else
    search_.freed(part.group);
}

void BlockAllocator::let_go_freed(const Part& part) {
  if (disk::rule::delay_reuse) held_.let_go(part.group, part.run);
}

void BlockAllocator::join(Operation& operation) {
  if (joined_) return;
  joined_ = true;
  freed_before_ = freed_.size();
  operation.on_roll_back([this] { undo(); });
  operation.on_commit([this] {
    joined_ = false;
    used_promises_.clear();
  });
}

void BlockAllocator::undo() {
  for (std::size_t i = freed_before_; i < freed_.size(); ++i) {
    for (const Part& part : parts_of(freed_[i])) let_go_freed(part);
  }
  freed_.resize(freed_before_);
  for (const BlockRange& range : used_promises_) {
    for (const Part& part : parts_of(range)) held_.hold(part.group, part.run);
    promised_ += range.count;
  }
  used_promises_.clear();
  search_.forget();
  joined_ = false;
}

void BlockAllocator::prepare_commit() {
  committing_.insert(committing_.end(), freed_.begin(), freed_.end());
  freed_.clear();
}

void BlockAllocator::commit_done() {
  for (const BlockRange& range : committing_) {
    for (const Part& part : parts_of(range)) {
      let_go_freed(part);
      search_.freed(part.group);
    }
  }
  committing_.clear();
}

}  // namespace worker::volume
