#include "worker/volume/directory_blocks.h"

#include <array>

#include "worker/volume/index_format.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

std::uint32_t checksum_seed(const ext2_filsys fs, const Inode& inode) {
  std::array<std::byte, 8> identity;
  store32(identity, 0, inode.number);
  store32(identity, 4, inode.raw.i_generation);
  return checksum(fs->csum_seed, identity);
}

/// Without large_dir the upper half of the size does not count for directories.
constexpr std::uint64_t kSmallDirectoryLimit = 0x7FFFFFFF;

}  // namespace

DirectoryBlocks::DirectoryBlocks(Volume& volume, Inode& inode) : mapped_{volume, inode} {
  const ext2_filsys fs = volume.fs();
  format_.block_size = fs->blocksize;
  format_.inode_count = fs->super->s_inodes_count;
  format_.checksums = ext2fs_has_feature_metadata_csum(fs->super);
  format_.types = ext2fs_has_feature_filetype(fs->super);
  if (format_.checksums) format_.seed = checksum_seed(fs, inode);
  has_index_feature_ = ext2fs_has_feature_dir_index(fs->super);
  volume_blocks_ = ext2fs_blocks_count(fs->super);
}

bool DirectoryBlocks::indexed() const noexcept {
  return has_index_feature_ && (mapped_.inode().flags() & EXT2_INDEX_FL) != 0;
}

bool DirectoryBlocks::listed_by_hash() const noexcept { return has_index_feature_ && (indexed() || count() == 1); }

Result<void> DirectoryBlocks::check() const {
  const Inode& inode = mapped_.inode();
  if (!inode.is_directory()) return errno_error(ENOTDIR);
  if (count() == 0 || count() > volume_blocks_) return corrupt(0, "impossible size");
  return {};
}

std::optional<std::uint32_t> DirectoryBlocks::pairs_in(LogicalBlock block,
                                                       std::span<const std::byte> contents) const noexcept {
  // Only shapes tell: the kernel turns a leaf into a root around the leaf's tail, which stays there.
  if (!format_.checksums) return std::nullopt;
  if (block == 0 && root_has_right_shape(format_, contents)) return kRootPairs;
  if (node_has_right_shape(format_, contents)) return kNodePairs;
  return std::nullopt;
}

Result<disk::Contents> DirectoryBlocks::leaf(LogicalBlock block) {
  TRY(contents, mapped_.read(block));
  return sound_leaf(block, std::move(contents));
}

Result<disk::Contents> DirectoryBlocks::any(LogicalBlock block) {
  TRY(contents, mapped_.read(block));
  const auto pairs = pairs_in(block, *contents);
  if (!pairs) return sound_leaf(block, std::move(contents));
  if (!index_is_sound(format_, *contents, *pairs)) return corrupt(block, "bad index checksum");
  return contents;
}

Result<disk::Contents> DirectoryBlocks::sound_leaf(LogicalBlock block, disk::Contents contents) {
  if (contents == sound_) return contents;
  if (!leaf_is_sound(format_, *contents)) return corrupt(block, "bad checksum");
  if (format_.checksums) sound_ = contents;
  return contents;
}

Result<std::span<std::byte>> DirectoryBlocks::modify(Operation& operation, LogicalBlock block) {
  sound_.reset();
  return mapped_.modify(operation, block, disk::BlockKind::directory);
}

Result<std::span<std::byte>> DirectoryBlocks::append(Operation& operation) {
  const std::uint64_t size = (count() + 1) * format_.block_size;
  if (size > kSmallDirectoryLimit && !ext2fs_has_feature_largedir(volume().fs()->super)) return errno_error(ENOSPC);
  return mapped_.append(operation, disk::BlockKind::directory);
}

Error DirectoryBlocks::corrupt(LogicalBlock block, const char* what) const {
  return errno_error(EUCLEAN, "directory inode " + std::to_string(mapped_.inode().number) + ", block " +
                                  std::to_string(block) + ": " + what);
}

}  // namespace worker::volume
