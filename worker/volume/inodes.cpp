#include "worker/volume/inodes.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>

#include "worker/disk/crc32c.h"
#include "worker/volume/allocator.h"
#include "worker/volume/file_data.h"
#include "worker/volume/orphans.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

/// What a new inode takes over from its directory, before its own type is looked at.
constexpr std::uint32_t kInherited = EXT2_SECRM_FL | EXT2_UNRM_FL | EXT2_COMPR_FL | EXT2_SYNC_FL | EXT2_NODUMP_FL |
                                     EXT2_NOATIME_FL | EXT2_NOCOMPR_FL | EXT3_JOURNAL_DATA_FL | EXT2_NOTAIL_FL |
                                     EXT2_DIRSYNC_FL | EXT4_PROJINHERIT_FL | EXT4_CASEFOLD_FL | FS_DAX_FL;
constexpr std::uint32_t kDirectoryOnly = EXT2_DIRSYNC_FL | EXT2_TOPDIR_FL | EXT4_PROJINHERIT_FL | EXT4_CASEFOLD_FL;
constexpr std::uint32_t kForSpecialFiles = EXT2_NODUMP_FL | EXT2_NOATIME_FL;

std::uint32_t inherited_flags(std::uint32_t parent_flags, std::uint32_t mode) noexcept {
  const std::uint32_t flags = parent_flags & kInherited;
  if (S_ISDIR(mode)) return flags;
  return S_ISREG(mode) ? flags & ~kDirectoryOnly : flags & kForSpecialFiles;
}

/// Bytes of an inode that are fields; behind them lie attributes that Xattrs keeps on the volume.
std::size_t field_bytes(const ext2_inode_large& raw, std::size_t inode_size) noexcept {
  if (inode_size == EXT2_GOOD_OLD_INODE_SIZE) return inode_size;
  return std::min(EXT2_GOOD_OLD_INODE_SIZE + std::size_t{raw.i_extra_isize}, sizeof raw);
}

bool plausible_extra(std::uint16_t extra, std::size_t inode_size) noexcept {
  return extra % 4 == 0 && EXT2_GOOD_OLD_INODE_SIZE + std::size_t{extra} <= inode_size;
}

void start_extent_tree(ext2_inode_large& raw) noexcept {
  ext3_extent_header header{};
  header.eh_magic = EXT3_EXT_MAGIC;
  header.eh_max = (sizeof raw.i_block - sizeof header) / sizeof(ext3_extent);
  std::memcpy(raw.i_block, &header, sizeof header);
}

/// Generations have to differ from those of the same inode number's earlier lives; nobody has to be unable to guess
/// them. So nothing secret goes in, which they would give away.
std::uint64_t generation_seed(const ext2_super_block& super) noexcept {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  std::uint64_t seed = 0;
  std::memcpy(&seed, super.s_hash_seed, sizeof seed);
  return seed ^ static_cast<std::uint64_t>(std::chrono::nanoseconds{since_epoch}.count());
}

Error bad_inode(int error, InodeNumber number) { return errno_error(error, "inode " + std::to_string(number)); }

}  // namespace

Inodes::Inodes(Volume& volume)
    : volume_{volume},
      geometry_{.inodes = volume.fs()->super->s_inodes_count,
                .per_group = volume.fs()->super->s_inodes_per_group,
                .inode_size = static_cast<std::uint32_t>(EXT2_INODE_SIZE(volume.fs()->super)),
                .block_size = volume.fs()->blocksize,
                .first_block = volume.fs()->super->s_first_data_block,
                .blocks = ext2fs_blocks_count(volume.fs()->super),
                .checksums = ext2fs_has_feature_metadata_csum(volume.fs()->super) != 0,
                .huge_files = ext2fs_has_feature_huge_file(volume.fs()->super) != 0,
                .seed = volume.fs()->csum_seed},
      random_{generation_seed(*volume.fs()->super)} {
  tables_.reserve(volume.fs()->group_desc_count);
  for (dgrp_t group = 0; group < volume.fs()->group_desc_count; ++group) {
    tables_.push_back(ext2fs_inode_table_loc(volume.fs(), group));
  }
}

Result<Inodes::Place> Inodes::find(InodeNumber number) const {
  if (number == 0 || number > geometry_.inodes) return errno_error(ESTALE);
  const std::uint32_t group = (number - 1) / geometry_.per_group;
  if (group >= tables_.size()) return errno_error(ESTALE);
  const std::uint64_t byte = std::uint64_t{(number - 1) % geometry_.per_group} * geometry_.inode_size;
  const BlockNumber block = tables_[group] + byte / geometry_.block_size;
  if (tables_[group] <= geometry_.first_block || block < tables_[group] || block >= geometry_.blocks) {
    return errno_error(EUCLEAN, "inode table of group " + std::to_string(group));
  }
  return Place{block, static_cast<std::uint32_t>(byte % geometry_.block_size)};
}

bool Inodes::checksum_matches(InodeNumber number, std::span<const std::byte> stored) const noexcept {
  if (!geometry_.checksums) return true;
  constexpr std::size_t kLow = offsetof(ext2_inode_large, osd2.linux2.l_i_checksum_lo);
  constexpr std::size_t kHigh = offsetof(ext2_inode_large, i_checksum_hi);
  constexpr std::byte kBlank[2] = {};
  const auto half_at = [&](std::size_t offset) {
    std::uint16_t value = 0;
    std::memcpy(&value, stored.data() + offset, sizeof value);
    return value;
  };

  const auto number_bytes = std::as_bytes(std::span{&number, 1});
  const auto generation = stored.subspan(offsetof(ext2_inode_large, i_generation), sizeof(std::uint32_t));
  std::uint32_t sum = disk::crc32c(disk::crc32c(geometry_.seed, number_bytes), generation);
  sum = disk::crc32c(disk::crc32c(sum, stored.first(kLow)), kBlank);
  const auto rest = stored.subspan(kLow + sizeof kBlank);
  const bool has_high = stored.size() > std::size_t{EXT2_GOOD_OLD_INODE_SIZE} &&
                        std::size_t{EXT2_GOOD_OLD_INODE_SIZE} + half_at(offsetof(ext2_inode_large, i_extra_isize)) >=
                            kHigh + sizeof kBlank;
  if (!has_high) return (disk::crc32c(sum, rest) & 0xffff) == half_at(kLow);
  sum = disk::crc32c(sum, rest.first(kHigh - kLow - sizeof kBlank));
  sum = disk::crc32c(disk::crc32c(sum, kBlank), stored.subspan(kHigh + sizeof kBlank));
  return sum == (half_at(kLow) | std::uint32_t{half_at(kHigh)} << 16);
}

Result<Inode> Inodes::read_stored(InodeNumber number) const {
  TRY(place, find(number));
  TRY(contents, volume_.cache().read(place.block));
  const std::size_t inode_size = geometry_.inode_size;
  const std::span<const std::byte> stored = std::span{*contents}.subspan(place.offset, inode_size);

  Inode inode;
  inode.number = number;
  std::memcpy(&inode.raw, stored.data(), std::min(inode_size, sizeof inode.raw));
  if (inode_size == EXT2_GOOD_OLD_INODE_SIZE) inode.raw.i_extra_isize = 0;
  if (inode.raw.i_mode == 0) return errno_error(ESTALE);
  if (!plausible_extra(inode.raw.i_extra_isize, inode_size)) return bad_inode(EUCLEAN, number);
  if (!checksum_matches(number, stored)) return bad_inode(EUCLEAN, number);
  const std::size_t fields = field_bytes(inode.raw, inode_size);
  std::memset(reinterpret_cast<std::byte*>(&inode.raw) + fields, 0, sizeof inode.raw - fields);
  // Of an orphan i_dtime is the next inode number; greater values are the time at which a freed inode was freed.
  if (inode.links() == 0 && inode.raw.i_dtime > geometry_.inodes) return errno_error(ESTALE);
  return inode;
}

Result<Inode> Inodes::read(InodeNumber number) {
  ext2_filsys fs = volume_.fs();
  if (number == 0 || number > geometry_.inodes) return errno_error(ESTALE);
  if (ext2fs_has_group_desc_csum(fs)) {
    const std::uint32_t per_group = geometry_.per_group;
    const std::uint32_t group = (number - 1) / per_group;
    const bool never_used =
        ext2fs_bg_flags_test(fs, group, EXT2_BG_INODE_UNINIT) ||
        (number - 1) % per_group >= per_group - std::min(per_group, ext2fs_bg_itable_unused(fs, group));
    if (never_used) return errno_error(ESTALE);
  }
  return read_stored(number);
}

Result<void> Inodes::write(Operation& operation, const Inode& inode) {
  TRY(place, find(inode.number));
  TRY(block, operation.modify(place.block, disk::BlockKind::inode));
  ext2_filsys fs = volume_.fs();
  const std::size_t inode_size = EXT2_INODE_SIZE(fs->super);
  ext2_inode_large raw = inode.raw;
  // The caller's copy may be older than a change of its neighbour's place in the list.
  if (const auto next = volume_.orphans().next_of(inode.number)) raw.i_dtime = *next;

  std::byte* stored = block.data() + place.offset;
  std::memcpy(stored, &raw, field_bytes(raw, inode_size));
  ext2fs_inode_csum_set(fs, inode.number, reinterpret_cast<ext2_inode_large*>(stored));
  // The library keeps a raw block of the inode table, which is stale now.
  ext2fs_flush_icache(fs);
  return {};
}

std::uint32_t Inodes::next_generation() noexcept {
  // splitmix64
  std::uint64_t value = (random_ += 0x9e3779b97f4a7c15);
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return static_cast<std::uint32_t>((value ^ (value >> 31)) >> 32);
}

Result<Inode> Inodes::create(Operation& operation, const Inode& parent, const NewInode& wanted) {
  const bool directory = S_ISDIR(wanted.mode);
  TRY(number, volume_.allocator().allocate_inode(operation, parent.number, directory));
  TRY(place, find(number));
  TRY(block, operation.modify(place.block, disk::BlockKind::inode));
  ext2_filsys fs = volume_.fs();
  const std::size_t inode_size = EXT2_INODE_SIZE(fs->super);
  std::fill_n(block.begin() + place.offset, inode_size, std::byte{0});

  Inode inode;
  inode.number = number;
  ext2_inode_large& raw = inode.raw;
  if (inode_size > EXT2_GOOD_OLD_INODE_SIZE) {
    const std::size_t fields =
        std::max<std::size_t>(sizeof raw - EXT2_GOOD_OLD_INODE_SIZE, fs->super->s_want_extra_isize);
    const std::size_t room = inode_size - EXT2_GOOD_OLD_INODE_SIZE;
    raw.i_extra_isize = static_cast<std::uint16_t>(fields % 4 == 0 && fields <= room ? fields : 32);
  }
  raw.i_mode = static_cast<std::uint16_t>(wanted.mode);
  inode.set_uid(wanted.uid);
  inode.set_gid(wanted.gid);
  if (parent.mode() & S_ISGID) {
    inode.set_gid(parent.gid());
    if (directory) raw.i_mode |= S_ISGID;
  }
  raw.i_flags = inherited_flags(parent.flags(), wanted.mode);
  const bool mapped = S_ISREG(wanted.mode) || directory || S_ISLNK(wanted.mode);
  if (mapped && ext2fs_has_feature_extents(fs->super)) {
    raw.i_flags |= EXT4_EXTENTS_FL;
    start_extent_tree(raw);
  }
  if (S_ISCHR(wanted.mode) || S_ISBLK(wanted.mode)) inode.set_device(wanted.device);
  raw.i_generation = next_generation();
  const Timestamp now = Timestamp::now();
  inode.set_accessed(now);
  inode.set_modified(now);
  inode.set_changed(now);
  inode.set_born(now);
  TRY(write(operation, inode));
  // Nothing is known of the number's former bearer, and fdatasync of this one must commit.
  volume_.files().forget(number);
  return inode;
}

Result<void> Inodes::destroy(Operation& operation, Inode& inode) {
  const InodeNumber last = geometry_.inodes;
  const auto now = static_cast<std::uint32_t>(std::clamp<std::int64_t>(Timestamp::now().seconds, 0, UINT32_MAX));
  inode.raw.i_dtime = std::max(now, last == UINT32_MAX ? last : last + 1);
  inode.raw.i_links_count = 0;
  inode.set_size(0);
  TRY(write(operation, inode));
  return volume_.allocator().free_inode(operation, inode.number, inode.is_directory());
}

}  // namespace worker::volume
