#include "worker/volume/inode_allocator.h"

#include <algorithm>
#include <string>

#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

/// How many flex groups are compared before a directory is placed, however many the volume has.
constexpr std::uint32_t kFlexCandidates = 64;

}  // namespace

InodeAllocator::InodeAllocator(Volume& volume, GroupBitmaps& bitmaps)
    : volume_{volume}, bitmaps_{bitmaps}, held_{volume.fs()->blocksize} {}

std::uint32_t InodeAllocator::flex_groups() const noexcept {
  return (bitmaps_.groups() - 1) / bitmaps_.flex_size() + 1;
}

InodeAllocator::Room InodeAllocator::room_in(std::uint32_t flex) const {
  const std::uint32_t begin = flex * bitmaps_.flex_size();
  const std::uint32_t end = begin + std::min(bitmaps_.flex_size(), bitmaps_.groups() - begin);
  // A flex group that spans the volume is judged by its first groups: no term may grow with the volume.
  const std::uint32_t looked_at = std::min(end, begin + kFlexCandidates);
  Room room;
  for (std::uint32_t group = begin; group < looked_at; ++group) {
    room.inodes += ext2fs_bg_free_inodes_count(volume_.fs(), group);
    room.blocks += ext2fs_bg_free_blocks_count(volume_.fs(), group);
    room.directories += ext2fs_bg_used_dirs_count(volume_.fs(), group);
  }
  return room;
}

InodeAllocator::Room InodeAllocator::decent_room() const {
  ext2_super_block* super = volume_.fs()->super;
  const std::uint64_t average_inodes = super->s_free_inodes_count / flex_groups();
  const std::uint64_t average_blocks = ext2fs_free_blocks_count(super) / flex_groups();
  const std::uint64_t slack_inodes = std::uint64_t{super->s_inodes_per_group} * bitmaps_.flex_size() / 4;
  const std::uint64_t slack_blocks = std::uint64_t{super->s_blocks_per_group} * bitmaps_.flex_size() / 4;
  return {.inodes = average_inodes > slack_inodes ? average_inodes - slack_inodes : 1,
          .blocks = average_blocks > slack_blocks ? average_blocks - slack_blocks : 1};
}

std::uint32_t InodeAllocator::quietest_flex() {
  const std::uint32_t flexes = flex_groups();
  const Room decent = decent_room();
  std::uint32_t best = (last_flex_ + 1) % flexes;
  std::uint64_t fewest = UINT64_MAX;
  for (std::uint32_t step = 0; step < std::min(flexes, kFlexCandidates); ++step) {
    const std::uint32_t flex = (last_flex_ + 1 + step) % flexes;
    const Room room = room_in(flex);
    if (room.inodes >= decent.inodes && room.blocks >= decent.blocks && room.directories < fewest) {
      best = flex;
      fewest = room.directories;
    }
  }
  last_flex_ = best;
  return best;
}

std::uint32_t InodeAllocator::flex_near(std::uint32_t start) const {
  const std::uint32_t flexes = flex_groups();
  const Room decent = decent_room();
  for (std::uint32_t step = 0; step < std::min(flexes, kFlexCandidates); ++step) {
    const std::uint32_t flex = (start + step) % flexes;
    const Room room = room_in(flex);
    if (room.inodes >= decent.inodes && room.blocks >= decent.blocks) return flex;
  }
  return start;
}

std::uint32_t InodeAllocator::group_for_directory(InodeNumber parent) {
  if (parent == kRootInode) return quietest_flex() * bitmaps_.flex_size();
  const std::uint32_t group = (parent - 1) / volume_.fs()->super->s_inodes_per_group;
  const std::uint32_t home = group / bitmaps_.flex_size();
  const std::uint32_t flex = flex_near(home);
  return flex == home ? group : flex * bitmaps_.flex_size();
}

Result<InodeNumber> InodeAllocator::allocate(Operation& operation, InodeNumber parent, bool directory) {
  ext2_super_block* super = volume_.fs()->super;
  if (super->s_free_inodes_count == 0) return errno_error(ENOSPC);
  const std::uint32_t groups = bitmaps_.groups();
  const std::uint32_t start =
      directory ? group_for_directory(parent) : std::min((parent - 1) / super->s_inodes_per_group, groups - 1);

  TRY(at_home, take_from(operation, start, directory));
  if (at_home) return *at_home;

  // The rest of the flex group shares its inode tables' place on the disk.
  const std::uint32_t flex = bitmaps_.flex_size();
  const std::uint32_t flex_begin = start - start % flex;
  for (std::uint32_t step = 1; step < std::min(flex, kFlexCandidates); ++step) {
    const std::uint32_t group = flex_begin + (start - flex_begin + step) % flex;
    if (group >= groups) continue;
    TRY(near, take_from(operation, group, directory));
    if (near) return *near;
  }
  // Growing steps, begun at a place of the directory's own, keep the files of full directories apart from each other.
  std::uint32_t hashed = (start + parent) % groups;
  for (std::uint32_t step = 1; step < groups; step *= 2) {
    hashed = (hashed + step) % groups;
    TRY(far, take_from(operation, hashed, directory));
    if (far) return *far;
  }
  for (std::uint32_t step = 0; step < groups; ++step) {
    TRY(any, take_from(operation, (start + step) % groups, directory));
    if (any) return *any;
  }
  return errno_error(ENOSPC);
}

Result<std::optional<InodeNumber>> InodeAllocator::take_from(Operation& operation, std::uint32_t group,
                                                             bool directory) {
  ext2_filsys fs = volume_.fs();
  if (ext2fs_bg_free_inodes_count(fs, group) == 0) return std::optional<InodeNumber>{};
  const auto bitmap = bitmaps_.inodes(group);
  if (!bitmap.ok()) return std::optional<InodeNumber>{};
  const std::uint32_t per_group = fs->super->s_inodes_per_group;
  const std::uint64_t first = std::uint64_t{group} * per_group + 1;
  const std::uint64_t first_usable = EXT2_FIRST_INO(fs->super);
  const auto from =
      static_cast<std::uint32_t>(first_usable > first ? std::min<std::uint64_t>(first_usable - first, per_group) : 0);
  const auto index = find_free({.bits = **bitmap, .held = held_.mask(group), .size = per_group}, from, per_group);
  if (!index || first + *index > fs->super->s_inodes_count) return std::optional<InodeNumber>{};
  TRY(take(operation, group, *index, directory));
  return std::optional{static_cast<InodeNumber>(first + *index)};
}

Result<void> InodeAllocator::take(Operation& operation, std::uint32_t group, std::uint32_t index, bool directory) {
  ext2_filsys fs = volume_.fs();
  // The inode table and bitmaps lie in blocks that a made-up block bitmap of this group vouches for: it becomes real
  // together with the inode bitmap, as in kernel ext4.
  const bool both_unused =
      bitmaps_.flags_count() && ext2fs_bg_flags_test(fs, group, EXT2_BG_INODE_UNINIT) && bitmaps_.blocks_made_up(group);
  if (both_unused && bitmaps_.blocks(group).ok()) TRY(bitmaps_.change_blocks(operation, group));

  TRY(bits, bitmaps_.change_inodes(operation, group));
  set_bits(bits, {index, 1});
  if (bitmaps_.flags_count()) {
    const std::uint32_t per_group = fs->super->s_inodes_per_group;
    const std::uint32_t used = per_group - std::min(per_group, ext2fs_bg_itable_unused(fs, group));
    if (index >= used) {
      TRY(clear_table(operation, group, used, index));
      ext2fs_bg_itable_unused_set(fs, group, per_group - index - 1);
    }
  }
  ext2fs_bg_free_inodes_count_set(fs, group, ext2fs_bg_free_inodes_count(fs, group) - 1);
  if (directory) ext2fs_bg_used_dirs_count_set(fs, group, ext2fs_bg_used_dirs_count(fs, group) + 1);
  --fs->super->s_free_inodes_count;
  return {};
}

Result<void> InodeAllocator::clear_table(Operation& operation, std::uint32_t group, std::uint32_t from,
                                         std::uint32_t to) {
  ext2_filsys fs = volume_.fs();
  const std::uint32_t inode_size = EXT2_INODE_SIZE(fs->super);
  const std::uint32_t per_block = fs->blocksize / inode_size;
  const BlockNumber table = ext2fs_inode_table_loc(fs, group);
  for (std::uint32_t block = from / per_block; block <= to / per_block; ++block) {
    const BlockNumber number = table + block;
    if (table <= fs->super->s_first_data_block || number >= ext2fs_blocks_count(fs->super)) {
      return errno_error(EUCLEAN, "inode table of group " + std::to_string(group));
    }
    if (block * per_block >= from) {
      operation.create(number, disk::BlockKind::inode);  // nothing in it was ever used: no need to read it
      continue;
    }
    if (ext2fs_bg_flags_test(fs, group, EXT2_BG_INODE_ZEROED)) continue;
    TRY(bytes, operation.modify(number, disk::BlockKind::inode));
    const std::uint32_t begin = (from - block * per_block) * inode_size;
    const std::uint32_t end = std::min((to - block * per_block + 1) * inode_size, fs->blocksize);
    std::fill(bytes.begin() + begin, bytes.begin() + end, std::byte{0});
  }
  return {};
}

Result<bool> InodeAllocator::in_use(InodeNumber inode) {
  const ext2_super_block& super = *volume_.fs()->super;
  if (inode == 0 || inode > super.s_inodes_count) return false;
  TRY(bitmap, bitmaps_.inodes((inode - 1) / super.s_inodes_per_group));
  return all_set(*bitmap, {(inode - 1) % super.s_inodes_per_group, 1});
}

Result<void> InodeAllocator::free(Operation& operation, InodeNumber inode, bool directory) {
  ext2_filsys fs = volume_.fs();
  if (inode < EXT2_FIRST_INO(fs->super) || inode > fs->super->s_inodes_count) {
    return errno_error(EUCLEAN, "freeing inode " + std::to_string(inode));
  }
  const std::uint32_t group = (inode - 1) / fs->super->s_inodes_per_group;
  const std::uint32_t index = (inode - 1) % fs->super->s_inodes_per_group;
  TRY(bits, bitmaps_.change_inodes(operation, group));
  if (!all_set(bits, {index, 1})) return errno_error(EUCLEAN, "freeing free inode " + std::to_string(inode));
  clear_bits(bits, {index, 1});
  ext2fs_bg_free_inodes_count_set(fs, group, ext2fs_bg_free_inodes_count(fs, group) + 1);
  if (directory) {
    const std::uint32_t directories = ext2fs_bg_used_dirs_count(fs, group);
    ext2fs_bg_used_dirs_count_set(fs, group, directories - std::min<std::uint32_t>(directories, 1));
  }
  ++fs->super->s_free_inodes_count;

  held_.hold(group, {index, 1});
  freed_.push_back({group, index});
  operation.on_roll_back([this] {
    held_.let_go(freed_.back().group, {freed_.back().index, 1});
    freed_.pop_back();
  });
  return {};
}

void InodeAllocator::prepare_commit() {
  committing_.insert(committing_.end(), freed_.begin(), freed_.end());
  freed_.clear();
}

void InodeAllocator::commit_done() {
  for (const Place& place : committing_) held_.let_go(place.group, {place.index, 1});
  committing_.clear();
}

}  // namespace worker::volume
