// Where a file's blocks lie on the volume: runs of blocks, stored as extents or through indirect blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "worker/volume/inodes.h"

namespace worker::volume {

enum class RunState : std::uint8_t {
  hole,       ///< nothing allocated
  unwritten,  ///< allocated, reads as zeros whatever the device holds
  written,
};

/// Consecutive blocks of a file that lie consecutively on the volume, or a hole.
struct Run {
  LogicalBlock logical = 0;
  BlockNumber physical = 0;  ///< 0 for a hole
  std::uint64_t length = 0;  ///< blocks
  RunState state = RunState::hole;

  LogicalBlock end() const noexcept { return logical + length; }
  bool operator==(const Run&) const = default;

  /// The part of the run from `first` to before `last`, both inside it.
  Run part(LogicalBlock first, LogicalBlock last) const noexcept;
  /// True if `next` continues this run, in the file and on the volume.
  bool joins(const Run& next) const noexcept;
};

/// Appends runs to a caller's array, merging those that continue each other.
class RunList {
 public:
  explicit RunList(std::span<Run> into) noexcept : into_{into} {}

  /// False if there was no room; the list is unchanged then.
  bool add(const Run& run) noexcept;
  std::size_t size() const noexcept { return size_; }

 private:
  std::span<Run> into_;
  std::size_t size_ = 0;
};

/// Ends one step of a long change before it touches more blocks than an operation may, so that it always fits into a
/// journal, and before it keeps others waiting for long.
class StepBudget {
 public:
  /// `operation` may have changed something already.
  explicit StepBudget(Operation& operation) noexcept : operation_{operation} {}
  /// For work that is known to be small and must not end half-way.
  static StepBudget unbounded(Operation& operation) noexcept {
    StepBudget budget{operation};
    budget.bounded_ = false;
    return budget;
  }

  /// True if a piece of work that may touch `blocks` more still belongs to this step. The first call always says so, or
  /// nothing would ever be done.
  bool allows(unsigned blocks) noexcept;

 private:
  static constexpr unsigned kMostPieces = 1024;  ///< however few blocks they touch

  Operation& operation_;
  bool bounded_ = true;
  unsigned pieces_ = 0;
};

/// What freeing or allocating within one group may touch: its bitmap and its descriptor.
inline constexpr unsigned kBlocksOfGroup = 2;
/// What adding or removing one extent may touch: a node of each of three levels, split or freed, with its group.
inline constexpr unsigned kBlocksOfExtent = 12;

/// The mapping of one inode: a view for one operation or inspection, under the mutator lock. Changes `inode` in memory
/// (its block map and its count of blocks); the caller writes it. Corrupt structures give EUCLEAN.
class FileMapping {
 public:
  FileMapping(Volume& volume, Inode& inode) noexcept : volume_{volume}, inode_{inode} {}

  /// True for inodes whose i_block maps blocks: not for devices, short symlinks and inline data.
  bool has_blocks() const noexcept;
  bool has_extents() const noexcept { return (inode_.raw.i_flags & EXT4_EXTENTS_FL) != 0; }

  /// How many blocks the kind of mapping, and the counters of the inode, can address.
  LogicalBlock limit() const noexcept;

  /// The runs from `first` on, holes included, without gaps. At least one unless `first` is at the limit; where the
  /// array is not filled and the limit not reached, a later call goes on behind the last one.
  Result<std::size_t> runs(LogicalBlock first, std::span<Run> into);

  /// Where the block `logical` is best allocated: behind the one mapped before it.
  Result<BlockNumber> goal(LogicalBlock logical);

  /// Maps allocated blocks where there was a hole. Only files with extents take unwritten runs.
  Result<void> insert(Operation& operation, const Run& run);

  /// Marks what is mapped between `first` and before `last` as `state`; blocks stay where they are. Returns how far it
  /// got within the budget. Only for files with extents.
  Result<LogicalBlock> convert(Operation& operation, LogicalBlock first, LogicalBlock last, RunState state,
                               StepBudget& budget);

  /// Unmaps and frees what is mapped between `first` and before `last`, from the end on, within the budget; true when
  /// nothing is left there.
  Result<bool> remove(Operation& operation, LogicalBlock first, LogicalBlock last, StepBudget& budget);

 private:
  /// Moves the few extents left of a tree into the inode; returns how many nodes that freed.
  Result<std::uint64_t> shrink(Operation& operation);

  Volume& volume_;
  Inode& inode_;
};

/// True if the blocks can belong to a file: inside the volume, behind its superblock.
bool data_range_valid(const ext2_super_block& super, BlockNumber first, std::uint64_t length) noexcept;

}  // namespace worker::volume
