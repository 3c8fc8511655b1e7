// Which blocks and inodes are free: bitmaps loaded group by group, and the policy that picks from them.
#pragma once

#include <cstdint>
#include <memory>

#include "worker/disk/committer.h"
#include "worker/volume/operation.h"

namespace worker::volume {

struct Inode;

/// A run of consecutive blocks of the volume.
struct BlockRange {
  BlockNumber first = 0;
  std::uint64_t count = 0;
};

/// Who asks for blocks, and so how far down free space may be used: behind root's reserve, r_blocks, kernel ext4 keeps
/// a second one for metadata of files whose data found room.
enum class Claim : std::uint8_t { ordinary, root, metadata };

/// What is wanted of a search for blocks.
struct Wish {
  BlockNumber goal = 0;
  std::uint64_t wanted = 1;    ///< blocks
  std::uint64_t expected = 0;  ///< so many will probably follow in the file, these included; 0: no more than these
  bool continues = true;       ///< the goal lies behind the file's own last block, so that it may be in its own window
  Claim claim = Claim::ordinary;
};

/// Allocates and frees blocks and inodes. The cached bitmap block is the bitmap: it is read and checked when its group
/// is first used, and undo and write-back come with the cache. libext2fs's allocations arrive here through its hooks.
/// Everything runs under the mutator lock.
class Allocator {
 public:
  explicit Allocator(Volume& volume);
  ~Allocator();

  /// Installs the hooks in the volume's libext2fs handle, with empty bitmaps so that the library never reads its own.
  Result<void> install_hooks();

  /// Where a file's first block should go: the inode's group, or the flex group's start.
  BlockNumber goal_for(InodeNumber inode) const;

  /// What the data and names in `inode` may use: FUSE does not say who filled a page, so that the owner counts.
  Claim claim_of(const Inode& inode) const;
  /// Free blocks beyond what a claim has to leave.
  std::uint64_t available_blocks(Claim claim) const noexcept;
  /// Blocks that kernel ext4 keeps for metadata.
  std::uint64_t kept_for_metadata() const noexcept;

  /// Up to `wanted` consecutive free blocks as near behind `goal` as can be had, at least one; marks them in use.
  /// ENOSPC when none is left beyond what the claim has to leave.
  Result<BlockRange> allocate(Operation& operation, BlockNumber goal, std::uint64_t wanted,
                              Claim claim = Claim::ordinary);

  /// As allocate(), but only promised to the caller: nothing is marked on the volume until use_reserved(); give_back()
  /// drops the promise. Lets file data be written before the operation that makes it reachable. Needs the mutator lock,
  /// no operation.
  Result<BlockRange> reserve(const Wish& wish);
  Result<void> use_reserved(Operation& operation, BlockRange range);
  void give_back(BlockRange range);

  /// Frees blocks; they can be allocated again only after the commit that holds this operation is durable.
  Result<void> free(Operation& operation, BlockRange range);

  /// Picks an inode near `parent` (directories are spread), marks it in use and counts it.
  Result<InodeNumber> allocate_inode(Operation& operation, InodeNumber parent, bool directory);
  /// Can be allocated again only after the commit that holds this operation is durable, as blocks.
  Result<void> free_inode(Operation& operation, InodeNumber inode, bool directory);
  /// What the inode bitmap says; false for numbers that do not exist.
  Result<bool> inode_in_use(InodeNumber inode);

  /// Called under the mutator lock while a commit freezes the cache: writes the checksums of touched bitmaps into their
  /// descriptors and starts a new epoch of what is freed.
  Result<void> prepare_commit();
  /// What the commit that prepare_commit() began frees. Under the mutator lock.
  std::vector<disk::BlockRun> freed_in_commit() const;
  /// Called under the mutator lock when that commit is durable: what was freed before it may be used again.
  void commit_done();

  /// True when blocks or inodes freed since the last durable commit could satisfy a request that just failed with
  /// ENOSPC.
  bool has_pending_frees() const noexcept;

  std::uint64_t free_blocks() const noexcept;  ///< unreserved by promises, includes the pending ones

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace worker::volume
