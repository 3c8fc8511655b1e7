#include "worker/volume/group_bitmaps.h"

#include <algorithm>
#include <memory>
#include <string>

#include "worker/volume/superblock.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

/// Members of a flex group are asked one by one where their metadata lies. mke2fs makes 16; larger ones come from -G
/// and from hostile images, and there each group answers only for itself.
constexpr std::uint32_t kMostFlexMembers = 256;

/// libext2fs takes bitmaps as char and does not write to them where it only sums.
char* for_library(std::span<const std::byte> bytes) {
  return const_cast<char*>(reinterpret_cast<const char*>(bytes.data()));
}

/// The part of [first, first + count) that lies in a group of `size` blocks starting at `start`.
BitRun clip(BlockNumber first, std::uint64_t count, BlockNumber start, std::uint32_t size) {
  const BlockNumber begin = std::max(first, start);
  const BlockNumber end = std::min(first + count, start + size);
  if (begin >= end) return {};
  return {static_cast<std::uint32_t>(begin - start), static_cast<std::uint32_t>(end - begin)};
}

}  // namespace

GroupBitmaps::GroupBitmaps(Volume& volume) : volume_{volume}, made_up_(volume.fs()->group_desc_count) {
  if (!flags_count()) return;
  for (std::uint32_t group = 0; group < groups(); ++group)
    made_up_[group] = ext2fs_bg_flags_test(volume.fs(), group, EXT2_BG_BLOCK_UNINIT) != 0;
}

std::uint32_t GroupBitmaps::groups() const noexcept { return volume_.fs()->group_desc_count; }

std::uint32_t GroupBitmaps::flex_size() const noexcept {
  const ext2_super_block& super = *volume_.fs()->super;
  const bool flex = ext2fs_has_feature_flex_bg(volume_.fs()->super) && super.s_log_groups_per_flex < 31;
  return flex ? std::uint32_t{1} << super.s_log_groups_per_flex : 1;
}

std::uint32_t GroupBitmaps::group_of(BlockNumber block) const noexcept {
  const ext2_super_block& super = *volume_.fs()->super;
  return static_cast<std::uint32_t>((block - super.s_first_data_block) / super.s_blocks_per_group);
}

BlockNumber GroupBitmaps::first_block(std::uint32_t group) const noexcept {
  const ext2_super_block& super = *volume_.fs()->super;
  return super.s_first_data_block + BlockNumber{group} * super.s_blocks_per_group;
}

std::uint32_t GroupBitmaps::block_count(std::uint32_t group) const noexcept {
  ext2_super_block* super = volume_.fs()->super;
  const BlockNumber left = ext2fs_blocks_count(super) - first_block(group);
  return static_cast<std::uint32_t>(std::min<BlockNumber>(left, super->s_blocks_per_group));
}

bool GroupBitmaps::flags_count() const noexcept { return ext2fs_has_group_desc_csum(volume_.fs()) != 0; }

template <typename Make, typename Check>
Result<disk::Contents> GroupBitmaps::load(Kind& kind, std::uint32_t group, BlockNumber location, bool unused,
                                          const char* name, Make make, Check check) {
  const auto what = [&] { return std::string{name} + " bitmap of group " + std::to_string(group); };
  if (const auto bad = kind.unusable.find(group); bad != kind.unusable.end()) return errno_error(bad->second, what());

  auto contents = [&]() -> Result<disk::Contents> {
    TRY(volume_.superblock().check_group(group));
    if (unused) return disk::Contents{std::make_shared<const std::vector<std::byte>>(make())};
    return volume_.cache().read(location);
  }();
  if (contents.ok() && kind.believed.contains(group)) return contents;

  // A group once found bad stays bad, also when the device would read it now: its free count cannot be trusted any
  // more.
  const Result<void> verdict = contents.ok() ? check(std::span{**contents}) : Result<void>{contents.error()};
  if (!verdict.ok()) {
    const int number = verdict.error().code == std::errc::io_error ? EIO : EUCLEAN;
    kind.unusable.emplace(group, number);
    volume_.report(errno_error(number, what()));
    return errno_error(number, what());
  }
  kind.believed.insert(group);
  return contents;
}

Result<disk::Contents> GroupBitmaps::blocks(std::uint32_t group) {
  return load(
      blocks_, group, ext2fs_block_bitmap_loc(volume_.fs(), group), made_up_[group], "block",
      [&] { return make_block_bitmap(group); },
      [&](std::span<const std::byte> bitmap) { return check_blocks(group, bitmap); });
}

Result<disk::Contents> GroupBitmaps::inodes(std::uint32_t group) {
  ext2_filsys fs = volume_.fs();
  const bool unused = flags_count() && ext2fs_bg_flags_test(fs, group, EXT2_BG_INODE_UNINIT);
  return load(
      inodes_, group, ext2fs_inode_bitmap_loc(fs, group), unused, "inode", [&] { return make_inode_bitmap(); },
      [&](std::span<const std::byte> bitmap) { return check_inodes(group, bitmap); });
}

Result<void> GroupBitmaps::check_blocks(std::uint32_t group, std::span<const std::byte> bitmap) const {
  ext2_filsys fs = volume_.fs();
  const bool stored = !made_up_[group];
  const int summed = static_cast<int>(fs->super->s_clusters_per_group / 8);
  if (stored && !ext2fs_block_bitmap_csum_verify(fs, group, for_library(bitmap), summed)) return errno_error(EUCLEAN);
  const BitmapView view{.bits = bitmap, .size = block_count(group)};
  if (count_free(view) != ext2fs_bg_free_blocks_count(fs, group)) return errno_error(EUCLEAN);
  bool marked = true;
  for_each_metadata(group, Growth::left_out, [&](BitRun run) { marked = marked && all_set(bitmap, run); });
  if (!marked) return errno_error(EUCLEAN);
  return {};
}

Result<void> GroupBitmaps::check_inodes(std::uint32_t group, std::span<const std::byte> bitmap) const {
  ext2_filsys fs = volume_.fs();
  const bool stored = !flags_count() || !ext2fs_bg_flags_test(fs, group, EXT2_BG_INODE_UNINIT);
  const int summed = static_cast<int>(fs->super->s_inodes_per_group / 8);
  if (stored && !ext2fs_inode_bitmap_csum_verify(fs, group, for_library(bitmap), summed)) return errno_error(EUCLEAN);
  const BitmapView view{.bits = bitmap, .size = fs->super->s_inodes_per_group};
  if (count_free(view) != ext2fs_bg_free_inodes_count(fs, group)) return errno_error(EUCLEAN);
  if (!flags_count()) return {};
  // What is said to be unused will be zeroed before it is used.
  const std::uint32_t per_group = fs->super->s_inodes_per_group;
  const std::uint32_t unused = std::min(ext2fs_bg_itable_unused(fs, group), per_group);
  if (!all_clear(bitmap, {per_group - unused, unused})) return errno_error(EUCLEAN);
  return {};
}

void GroupBitmaps::for_each_metadata(std::uint32_t group, Growth growth, const VisitRun& visit) const {
  ext2_filsys fs = volume_.fs();
  const BlockNumber start = first_block(group);
  const std::uint32_t size = block_count(group);
  const auto report = [&](BlockNumber first, std::uint64_t count) {
    if (const BitRun run = clip(first, count, start, size); run.count > 0) visit(run);
  };

  blk64_t super_block = 0, old_descriptors = 0, new_descriptors = 0;
  ext2fs_super_and_bgd_loc2(fs, group, &super_block, &old_descriptors, &new_descriptors, nullptr);
  if (super_block != 0 || group == 0) report(super_block, 1);
  const bool meta_groups = ext2fs_has_feature_meta_bg(fs->super) != 0;
  std::uint64_t old_count = meta_groups ? fs->super->s_first_meta_bg : fs->desc_blocks;
  if (!meta_groups && growth == Growth::included) old_count += fs->super->s_reserved_gdt_blocks;
  if (old_descriptors != 0) report(old_descriptors, old_count);
  if (new_descriptors != 0) report(new_descriptors, 1);

  const std::uint32_t flex = flex_size() <= kMostFlexMembers ? flex_size() : 1;
  const std::uint32_t begin = group - group % flex;
  for (std::uint32_t member = begin; member < groups() && member - begin < flex; ++member) {
    report(ext2fs_block_bitmap_loc(fs, member), 1);
    report(ext2fs_inode_bitmap_loc(fs, member), 1);
    report(ext2fs_inode_table_loc(fs, member), fs->inode_blocks_per_group);
  }
}

bool GroupBitmaps::touches_metadata(std::uint32_t group, BitRun run) const {
  bool touched = false;
  for_each_metadata(group, Growth::included, [&](BitRun metadata) {
    touched = touched || (run.first < metadata.first + metadata.count && metadata.first < run.first + run.count);
  });
  return touched;
}

std::vector<std::byte> GroupBitmaps::make_block_bitmap(std::uint32_t group) const {
  const std::uint32_t bits = volume_.fs()->blocksize * 8;
  std::vector<std::byte> bitmap(volume_.fs()->blocksize);
  const std::uint32_t size = block_count(group);
  set_bits(bitmap, {size, bits - size});
  for_each_metadata(group, Growth::included, [&](BitRun run) { set_bits(bitmap, run); });
  return bitmap;
}

std::vector<std::byte> GroupBitmaps::make_inode_bitmap() const {
  const std::uint32_t bits = volume_.fs()->blocksize * 8;
  std::vector<std::byte> bitmap(volume_.fs()->blocksize);
  const std::uint32_t size = volume_.fs()->super->s_inodes_per_group;
  set_bits(bitmap, {size, bits - size});
  return bitmap;
}

Result<std::span<std::byte>> GroupBitmaps::change_blocks(Operation& operation, std::uint32_t group) {
  TRY(contents, blocks(group));
  ext2_filsys fs = volume_.fs();
  operation.touch_group(group);
  blocks_.changed.insert(group);
  const BlockNumber location = ext2fs_block_bitmap_loc(fs, group);
  if (!made_up_[group]) return operation.modify(location, disk::BlockKind::allocation);
  ext2fs_bg_flags_clear(fs, group, EXT2_BG_BLOCK_UNINIT);
  made_up_[group] = false;
  operation.on_roll_back([this, group] { made_up_[group] = true; });
  const std::span<std::byte> fresh = operation.create(location, disk::BlockKind::allocation);
  std::copy(contents->begin(), contents->end(), fresh.begin());
  return fresh;
}

void GroupBitmaps::restore_flag(std::uint32_t group) {
  if (made_up_[group]) ext2fs_bg_flags_set(volume_.fs(), group, EXT2_BG_BLOCK_UNINIT);
}

Result<std::span<std::byte>> GroupBitmaps::change_inodes(Operation& operation, std::uint32_t group) {
  TRY(contents, inodes(group));
  ext2_filsys fs = volume_.fs();
  operation.touch_group(group);
  inodes_.changed.insert(group);
  const BlockNumber location = ext2fs_inode_bitmap_loc(fs, group);
  if (!flags_count() || !ext2fs_bg_flags_test(fs, group, EXT2_BG_INODE_UNINIT)) {
    return operation.modify(location, disk::BlockKind::allocation);
  }
  ext2fs_bg_flags_clear(fs, group, EXT2_BG_INODE_UNINIT);
  const std::span<std::byte> fresh = operation.create(location, disk::BlockKind::allocation);
  std::copy(contents->begin(), contents->end(), fresh.begin());
  return fresh;
}

Result<void> GroupBitmaps::write_checksums() {
  ext2_filsys fs = volume_.fs();
  for (const std::uint32_t group : blocks_.changed) {
    if (made_up_[group]) continue;  // was rolled back
    TRY(bitmap, volume_.cache().read(ext2fs_block_bitmap_loc(fs, group)));
    const int summed = static_cast<int>(fs->super->s_clusters_per_group / 8);
    ext2fs_block_bitmap_csum_set(fs, group, for_library(*bitmap), summed);
    ext2fs_group_desc_csum_set(fs, group);
  }
  for (const std::uint32_t group : inodes_.changed) {
    if (flags_count() && ext2fs_bg_flags_test(fs, group, EXT2_BG_INODE_UNINIT)) continue;
    TRY(bitmap, volume_.cache().read(ext2fs_inode_bitmap_loc(fs, group)));
    const int summed = static_cast<int>(fs->super->s_inodes_per_group / 8);
    ext2fs_inode_bitmap_csum_set(fs, group, for_library(*bitmap), summed);
    ext2fs_group_desc_csum_set(fs, group);
  }
  blocks_.changed.clear();
  inodes_.changed.clear();
  return {};
}

}  // namespace worker::volume
