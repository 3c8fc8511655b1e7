// A file's blocks through direct and indirect pointers, as ext2 and ext3 store them.
#pragma once

#include <array>

#include "worker/volume/file_mapping.h"

namespace worker::volume {

/// The pointers of one inode: 12 direct ones, then one each to a tree of one, two and three levels of indirect blocks,
/// each full of little-endian 32-bit block numbers. For one operation or inspection. Counts the indirect blocks in the
/// inode, not the data.
class IndirectMap {
 public:
  IndirectMap(Volume& volume, Inode& inode) noexcept;

  static LogicalBlock capacity(std::uint32_t block_size) noexcept;

  Result<std::size_t> runs(LogicalBlock first, std::span<Run> into);
  Result<void> insert(Operation& operation, const Run& run);

  /// Unmaps and frees from the end on, data and emptied indirect blocks; true when nothing is left between the two.
  /// `removed` counts the data blocks.
  Result<bool> remove(Operation& operation, LogicalBlock first, LogicalBlock last, StepBudget& budget,
                      std::uint64_t& removed);

 private:
  /// Where the pointer of a logical block hangs: the slot in the inode, and how many levels of indirect blocks lie
  /// below it.
  struct Place {
    std::size_t slot;
    unsigned levels;
    LogicalBlock start;  ///< first logical block of that slot's tree
  };
  struct Leaf {
    std::span<std::byte> pointers;  ///< a whole block of them
    std::size_t index;
  };
  struct Removal {
    Operation& operation;
    LogicalBlock first, last;
    StepBudget& budget;
    BlockNumber pending_first = 0;  ///< data blocks unmapped but not freed yet, one run within a group
    std::uint64_t pending_count = 0;
    std::uint64_t removed = 0;
  };

  Place place(LogicalBlock logical) const noexcept;
  /// Data blocks below one pointer of an indirect block that has `levels` levels below itself.
  LogicalBlock reach(unsigned levels) const noexcept;
  Result<void> check(BlockNumber block) const;
  Result<Leaf> writable_leaf(Operation& operation, LogicalBlock logical, BlockNumber goal);
  Result<std::uint32_t> new_indirect_block(Operation& operation, BlockNumber goal);
  Result<void> count_blocks(std::int64_t change);
  /// Cuts the tree below `pointer`; sets it to 0 when nothing of it is left. True when all of the range in it is gone.
  Result<bool> remove_below(Removal& removal, std::uint32_t& pointer, unsigned levels, LogicalBlock start);
  Result<bool> remove_data(Removal& removal, std::uint32_t& pointer);
  Result<void> flush_pending(Removal& removal);

  Volume& volume_;
  Inode& inode_;
  std::size_t per_block_;
};

}  // namespace worker::volume
