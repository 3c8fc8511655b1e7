// A file's extents, through libext2fs.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "worker/volume/file_mapping.h"

namespace worker::volume {

/// Longest extents that the format can hold, in blocks.
inline constexpr std::uint64_t kLongestWritten = 32768;
inline constexpr std::uint64_t kLongestUnwritten = 32767;
/// One more than the last block that an extent can map.
inline constexpr LogicalBlock kExtentLimit = 0xFFFFFFFF;

/// The open extent tree of one inode, for one operation or inspection. Block counts and the inode's write-back are the
/// caller's business, except for the tree's own blocks, which the library counts and writes.
class ExtentTree {
 public:
  static Result<ExtentTree> open(Volume& volume, Inode& inode);
  ExtentTree(ExtentTree&& other) noexcept : volume_{other.volume_}, handle_{std::exchange(other.handle_, nullptr)} {}
  ExtentTree& operator=(ExtentTree&&) = delete;
  ~ExtentTree();

  Result<std::size_t> runs(LogicalBlock first, std::span<Run> into);
  /// The extent that holds `logical`, or else the last one before it.
  Result<std::optional<Run>> before(LogicalBlock logical);
  Result<void> insert(Run run);
  /// Unmaps the part of `extent` (as stored) between `first` and before `last`.
  Result<void> cut(const Run& extent, LogicalBlock first, LogicalBlock last);

  /// All extents, if they have room in the inode itself though they are stored in nodes.
  struct Few {
    std::vector<Run> extents;
    std::vector<BlockNumber> nodes;
  };
  Result<std::optional<Few>> few();
  /// Makes them the inode's only extents; the nodes are the caller's to free. No tree may be open.
  static void store_in_inode(Inode& inode, const std::vector<Run>& extents);

 private:
  ExtentTree(Volume& volume, ext2_extent_handle_t handle) noexcept : volume_{volume}, handle_{handle} {}

  /// Stands on the extent that holds `logical`, else on the last one before it, else on the first of all.
  Result<std::optional<Run>> seek(LogicalBlock logical);
  Result<std::optional<Run>> next();
  Result<Run> checked(const ext2fs_extent& extent) const;
  Result<void> insert_one(const Run& run);
  Result<void> replace(const Run& run);
  Result<void> insert_here(const Run& run, bool behind);
  Result<void> fix_parents();
  Result<void> join_behind(Run run);

  Volume& volume_;
  ext2_extent_handle_t handle_;
};

}  // namespace worker::volume
