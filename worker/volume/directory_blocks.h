// The blocks of one directory, checked against their checksums as they are read.
#pragma once

#include <optional>

#include "worker/volume/directory_block.h"
#include "worker/volume/mapped_blocks.h"

namespace worker::volume {

/// What Directory, DirectoryIndex and DirectoryListing share. Under the mutator lock.
class DirectoryBlocks {
 public:
  DirectoryBlocks(Volume& volume, Inode& inode);

  Volume& volume() noexcept { return mapped_.volume(); }
  Inode& inode() noexcept { return mapped_.inode(); }
  const Inode& inode() const noexcept { return mapped_.inode(); }
  const DirectoryFormat& format() const noexcept { return format_; }
  std::uint64_t count() const noexcept { return mapped_.count(); }

  /// True if names are found by hash: the volume has dir_index and the inode its flag.
  bool indexed() const noexcept;
  /// True if the directory is listed by hash, which one with a single block already is, so that cookies survive its
  /// growth.
  bool listed_by_hash() const noexcept;

  /// ENOTDIR, or EUCLEAN for a size that no directory on this volume has.
  Result<void> check() const;

  /// The contents as stored, unjudged.
  Result<disk::Contents> read(LogicalBlock block) { return mapped_.read(block); }
  /// A leaf with a right checksum.
  Result<disk::Contents> leaf(LogicalBlock block);
  /// A leaf or a node of the index (which reads as an empty block), with a right checksum: for walks over all blocks.
  Result<disk::Contents> any(LogicalBlock block);
  /// Where the entries of such a block end.
  std::uint32_t end_of(LogicalBlock block, std::span<const std::byte> contents) const noexcept {
    return pairs_in(block, contents) ? format_.block_size : format_.leaf_end();
  }
  /// Where the pairs begin, if the block is the root or a node of an index with checksums. (Without checksums such a
  /// block can be handled as a leaf that has no room.)
  std::optional<std::uint32_t> pairs_in(LogicalBlock block, std::span<const std::byte> contents) const noexcept;

  Result<std::span<std::byte>> modify(Operation& operation, LogicalBlock block);
  /// A new block at the end, zeroed. ENOSPC also when the inode cannot record more blocks.
  Result<std::span<std::byte>> append(Operation& operation);

  Error corrupt(LogicalBlock block, const char* what) const;

 private:
  Result<disk::Contents> sound_leaf(LogicalBlock block, disk::Contents contents);

  MappedBlocks mapped_;
  DirectoryFormat format_;
  bool has_index_feature_ = false;
  std::uint64_t volume_blocks_ = 0;
  // The leaf last found sound; the same version needs no second look.
  disk::Contents sound_;
};

}  // namespace worker::volume
