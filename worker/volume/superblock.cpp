#include "worker/volume/superblock.h"

#include <algorithm>
#include <cstring>

#include "worker/disk/ext2_errors.h"

namespace worker::volume {
namespace {

constexpr std::size_t kSuperOffset = 1024;
constexpr std::size_t kSuperSize = 1024;
static_assert(sizeof(ext2_super_block) == kSuperSize);

/// Times have 40 bits: a word, and a byte elsewhere.
void put_time(__u32& low, __u8& high, std::int64_t seconds) noexcept {
  low = static_cast<__u32>(seconds);
  high = static_cast<__u8>(static_cast<std::uint64_t>(seconds) >> 32);
}

/// The errno as the superblock stores it: a code of its own for the few that ext4 tells apart.
std::uint8_t stored_error(int error) noexcept {
  switch (error) {
    case EIO:
      return 2;
    case ENOMEM:
      return 3;
    case EBADMSG:
      return 4;
    case EUCLEAN:
      return 5;
    case ENOSPC:
      return 6;
    case EROFS:
      return 8;
    default:
      return 1;
  }
}

template <std::size_t size>
void put_text(__u8 (&field)[size], std::string_view text) noexcept {
  std::memset(field, 0, size);
  std::memcpy(field, text.data(), std::min(size, text.size()));
}

}  // namespace

Superblock::Superblock(ext2_filsys fs, disk::BlockCache& cache)
    : fs_{fs},
      cache_{cache},
      is_marked_(fs->group_desc_count),
      checked_(fs->group_desc_count),
      stored_{*fs->super},
      was_valid_{(fs->super->s_state & EXT2_VALID_FS) != 0} {}

std::span<std::byte> Superblock::descriptor(std::uint32_t group) noexcept {
  auto* start = reinterpret_cast<std::byte*>(ext2fs_group_desc(fs_, fs_->group_desc, group));
  return {start, static_cast<std::size_t>(EXT2_DESC_SIZE(fs_->super))};
}

void Superblock::mark_group(std::uint32_t group) {
  if (is_marked_[group]) return;
  marked_.push_back(group);
  is_marked_[group] = true;
}

bool Superblock::changed() const noexcept {
  return !marked_.empty() || std::memcmp(&stored_, fs_->super, kSuperSize) != 0;
}

Result<void> Superblock::write_back() {
  cache_.begin_operation();
  auto outcome = write_descriptors();
  if (outcome.ok()) outcome = write_super();
  if (!outcome.ok()) {
    cache_.roll_back_operation();
    return outcome;
  }
  cache_.commit_operation();
  for (const std::uint32_t group : marked_) is_marked_[group] = false;
  marked_.clear();
  stored_ = super();
  return {};
}

Result<void> Superblock::write_descriptors() {
  std::sort(marked_.begin(), marked_.end());
  const std::uint32_t per_block = EXT2_DESC_PER_BLOCK(fs_->super);
  for (std::size_t i = 0; i < marked_.size();) {
    const std::uint32_t index = marked_[i] / per_block;
    for (; i < marked_.size() && marked_[i] / per_block == index; ++i) ext2fs_group_desc_csum_set(fs_, marked_[i]);

    const auto* bytes = reinterpret_cast<const std::byte*>(fs_->group_desc) + std::size_t{index} * fs_->blocksize;
    const BlockNumber home = ext2fs_descriptor_block_loc2(fs_, fs_->super->s_first_data_block, index);
    TRY(present, cache_.read(home));
    if (std::memcmp(present->data(), bytes, fs_->blocksize) == 0) continue;
    TRY(block, cache_.modify(home, disk::BlockKind::allocation));
    std::memcpy(block.data(), bytes, fs_->blocksize);
  }
  return {};
}

Result<void> Superblock::write_super() {
  if (std::memcmp(&stored_, fs_->super, kSuperSize) == 0) return {};
  put_time(super().s_wtime, super().s_wtime_hi, Timestamp::now().seconds);
  if (const errcode_t failed = ext2fs_superblock_csum_set(fs_, fs_->super); failed != 0)
    return disk::ext2_error(failed);
  TRY(block, cache_.modify(kSuperOffset / fs_->blocksize, disk::BlockKind::superblock));
  std::memcpy(block.data() + kSuperOffset % fs_->blocksize, fs_->super, kSuperSize);
  return {};
}

Result<void> Superblock::check_group(std::uint32_t group) {
  if (group >= fs_->group_desc_count) return errno_error(EUCLEAN, "no such block group");
  if (checked_[group]) return {};
  const std::string name = "block group " + std::to_string(group);
  if (ext2fs_group_desc_csum_verify(fs_, group) == 0) return errno_error(EUCLEAN, name + ": bad descriptor checksum");
  const BlockNumber first = super().s_first_data_block, end = ext2fs_blocks_count(fs_->super);
  const auto inside = [first, end](BlockNumber start, std::uint64_t count) {
    return start > first && start < end && count <= end - start;
  };
  if (!inside(ext2fs_block_bitmap_loc(fs_, group), 1) || !inside(ext2fs_inode_bitmap_loc(fs_, group), 1) ||
      !inside(ext2fs_inode_table_loc(fs_, group), fs_->inode_blocks_per_group))
    return errno_error(EUCLEAN, name + ": bitmap or inode table outside the volume");
  if (ext2fs_bg_free_blocks_count(fs_, group) > super().s_clusters_per_group ||
      ext2fs_bg_free_inodes_count(fs_, group) > super().s_inodes_per_group ||
      ext2fs_bg_itable_unused(fs_, group) > super().s_inodes_per_group)
    return errno_error(EUCLEAN, name + ": impossible counts");
  checked_[group] = true;
  return {};
}

void Superblock::count_free_space() noexcept {
  std::uint64_t clusters = 0, inodes = 0;
  for (dgrp_t group = 0; group < fs_->group_desc_count; ++group) {
    clusters += ext2fs_bg_free_blocks_count(fs_, group);
    inodes += ext2fs_bg_free_inodes_count(fs_, group);
  }
  ext2fs_free_blocks_count_set(fs_->super, EXT2FS_C2B(fs_, clusters));
  super().s_free_inodes_count = static_cast<__u32>(inodes);
}

bool Superblock::marked_valid() const noexcept { return (super().s_state & EXT2_VALID_FS) != 0; }

void Superblock::mark_in_use(bool journaled) {
  was_valid_ = marked_valid();
  if (journaled)
    ext2fs_set_feature_journal_needs_recovery(fs_->super);
  else
    super().s_state &= static_cast<__u16>(~EXT2_VALID_FS);
  if (ext2fs_has_feature_orphan_file(fs_->super)) ext2fs_set_feature_orphan_present(fs_->super);
  if (super().s_max_mnt_count == 0) super().s_max_mnt_count = EXT2_DFL_MAX_MNT_COUNT;
  ++super().s_mnt_count;
  put_time(super().s_mtime, super().s_mtime_hi, Timestamp::now().seconds);
}

void Superblock::mark_clean(bool orphans_in_file) {
  ext2fs_clear_feature_journal_needs_recovery(fs_->super);
  if (was_valid_) super().s_state |= EXT2_VALID_FS;
  if (!orphans_in_file) ext2fs_clear_feature_orphan_present(fs_->super);
}

void Superblock::record_error(std::string_view place, InodeNumber inode, BlockNumber block, int error) {
  const std::int64_t now = Timestamp::now().seconds;
  super().s_state |= EXT2_ERROR_FS;
  put_time(super().s_last_error_time, super().s_last_error_time_hi, now);
  put_text(super().s_last_error_func, place);
  super().s_last_error_ino = inode;
  super().s_last_error_block = block;
  super().s_last_error_line = 0;
  super().s_last_error_errcode = stored_error(error);
  if (super().s_first_error_time == 0 && super().s_first_error_time_hi == 0) {
    put_time(super().s_first_error_time, super().s_first_error_time_hi, now);
    put_text(super().s_first_error_func, place);
    super().s_first_error_ino = inode;
    super().s_first_error_block = block;
    super().s_first_error_line = 0;
    super().s_first_error_errcode = stored_error(error);
  }
  ++super().s_error_count;
}

bool Superblock::has_errors() const noexcept { return (super().s_state & EXT2_ERROR_FS) != 0; }

std::string Superblock::label() const {
  const auto* start = reinterpret_cast<const char*>(super().s_volume_name);
  return {start, ::strnlen(start, sizeof super().s_volume_name)};
}

std::uint64_t Superblock::overhead() {
  if (overhead_ == 0) overhead_ = compute_overhead();
  return overhead_;
}

std::uint64_t Superblock::compute_overhead() {
  if (ext2fs_has_feature_bigalloc(fs_->super)) return super().s_overhead_clusters << fs_->cluster_ratio_bits;
  std::uint64_t blocks = super().s_first_data_block;
  const bool meta_groups = ext2fs_has_feature_meta_bg(fs_->super) != 0;
  const std::uint32_t per_block = EXT2_DESC_PER_BLOCK(fs_->super);
  const std::uint64_t plain = meta_groups ? super().s_first_meta_bg : fs_->desc_blocks;
  for (std::uint32_t group = 0; group < fs_->group_desc_count; ++group) {
    blocks += fs_->inode_blocks_per_group + 2;
    const bool copy = ext2fs_bg_has_super(fs_, group) != 0;
    if (copy) ++blocks;
    // In meta groups the first, second and last of each set of groups carry the set's one descriptor block.
    const std::uint32_t place = group % per_block;
    if (!meta_groups || group / per_block < super().s_first_meta_bg)
      blocks += copy ? plain + super().s_reserved_gdt_blocks : 0;
    else if (place == 0 || place == 1 || place == per_block - 1)
      ++blocks;
  }
  if (ext2fs_has_feature_journal(fs_->super) && super().s_journal_inum != 0) {
    ext2_inode journal{};
    if (ext2fs_read_inode(fs_, super().s_journal_inum, &journal) == 0) blocks += EXT2_I_SIZE(&journal) / fs_->blocksize;
  }
  return blocks;
}

}  // namespace worker::volume
