// The bitmaps of the block groups: where they are, whether they can be believed, what they hold before their first use.
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "worker/disk/ext2fs.h"
#include "worker/volume/bitmap.h"
#include "worker/volume/operation.h"

namespace worker::volume {

/// Loads bitmaps from the block cache group by group. Each is checked when it is first used: checksum, free count, and
/// that it marks the metadata of its own flex group; one that fails makes its group unusable for good. Bitmaps of
/// groups that were never used (BLOCK_UNINIT, INODE_UNINIT) are made up and reach the disk with their first change.
/// Under the mutator lock.
class GroupBitmaps {
 public:
  explicit GroupBitmaps(Volume& volume);

  std::uint32_t groups() const noexcept;
  std::uint32_t flex_size() const noexcept;  ///< groups in a flex group, 1 without flex_bg
  std::uint32_t group_of(BlockNumber block) const noexcept;
  BlockNumber first_block(std::uint32_t group) const noexcept;
  std::uint32_t block_count(std::uint32_t group) const noexcept;  ///< of this group; the last one may be short
  /// Block numbers have a checksum in their descriptor, so that the UNINIT flags count.
  bool flags_count() const noexcept;

  /// The bitmap as it is; EUCLEAN or EIO for an unusable group.
  Result<disk::Contents> blocks(std::uint32_t group);
  Result<disk::Contents> inodes(std::uint32_t group);

  /// The bitmap for changing it, and the group's descriptor saved for undo; an UNINIT bitmap becomes a real one.
  Result<std::span<std::byte>> change_blocks(Operation& operation, std::uint32_t group);
  Result<std::span<std::byte>> change_inodes(Operation& operation, std::uint32_t group);

  /// True while the group's block bitmap was never written, and is made up.
  bool blocks_made_up(std::uint32_t group) const { return made_up_[group]; }
  /// libext2fs clears BLOCK_UNINIT with everything it counts, saved for undo or not: puts it back where it belongs.
  void restore_flag(std::uint32_t group);

  /// True if one of these blocks of `group` holds the file system's own structures.
  bool touches_metadata(std::uint32_t group, BitRun run) const;

  /// Bitmap checksums of all groups changed since the last call go into their descriptors.
  Result<void> write_checksums();

 private:
  using VisitRun = std::function<void(BitRun)>;
  /// The blocks kept for a growing descriptor table: in use on a sound volume, but their number is only as good as the
  /// superblock's word, so that a bitmap is not judged by them.
  enum class Growth : std::uint8_t { included, left_out };
  void for_each_metadata(std::uint32_t group, Growth growth, const VisitRun& visit) const;
  std::vector<std::byte> make_block_bitmap(std::uint32_t group) const;
  std::vector<std::byte> make_inode_bitmap() const;
  Result<void> check_blocks(std::uint32_t group, std::span<const std::byte> bitmap) const;
  Result<void> check_inodes(std::uint32_t group, std::span<const std::byte> bitmap) const;

  /// One of the two kinds of bitmap, with what is known of each group's.
  struct Kind {
    std::unordered_set<std::uint32_t> believed;
    std::unordered_map<std::uint32_t, int> unusable;  ///< errno
    std::unordered_set<std::uint32_t> changed;        ///< since the last write_checksums()
  };
  template <typename Make, typename Check>
  Result<disk::Contents> load(Kind& kind, std::uint32_t group, BlockNumber location, bool unused, const char* name,
                              Make make, Check check);

  Volume& volume_;
  Kind blocks_, inodes_;
  std::vector<bool> made_up_;  ///< by group: what BLOCK_UNINIT says when nobody but us has changed it
};

}  // namespace worker::volume
