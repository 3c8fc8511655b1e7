#include "worker/volume/allocator.h"

#include "worker/volume/block_allocator.h"
#include "worker/volume/group_bitmaps.h"
#include "worker/volume/inode_allocator.h"
#include "worker/volume/inodes.h"
#include "worker/volume/library_hooks.h"
#include "worker/volume/superblock.h"
#include "worker/volume/volume.h"

namespace worker::volume {

struct Allocator::State {
  explicit State(Volume& owner)
      : volume{owner}, bitmaps{owner}, blocks{owner, bitmaps}, inodes{owner, bitmaps}, hooks{owner, bitmaps, blocks} {}

  Volume& volume;
  GroupBitmaps bitmaps;
  BlockAllocator blocks;
  InodeAllocator inodes;
  LibraryHooks hooks;
};

Allocator::Allocator(Volume& volume) : state_{std::make_unique<State>(volume)} {}

Allocator::~Allocator() = default;

Result<void> Allocator::install_hooks() {
  TRY(state_->hooks.install());
  // The superblock's counts are only as fresh as the last clean unmount, and kernel ext4 does not journal them.
  state_->volume.superblock().count_free_space();
  return {};
}

BlockNumber Allocator::goal_for(InodeNumber inode) const {
  const GroupBitmaps& bitmaps = state_->bitmaps;
  std::uint32_t group = (inode - 1) / state_->volume.fs()->super->s_inodes_per_group;
  group -= group % bitmaps.flex_size();
  return bitmaps.first_block(group < bitmaps.groups() ? group : 0);
}

Claim Allocator::claim_of(const Inode& inode) const {
  const ext2_super_block& super = *state_->volume.fs()->super;
  const bool group = super.s_def_resgid != 0 && inode.gid() == super.s_def_resgid;
  return inode.uid() == 0 || inode.uid() == super.s_def_resuid || group ? Claim::root : Claim::ordinary;
}

std::uint64_t Allocator::available_blocks(Claim claim) const noexcept { return state_->blocks.available(claim); }

std::uint64_t Allocator::kept_for_metadata() const noexcept { return state_->blocks.kept_for_metadata(); }

Result<BlockRange> Allocator::allocate(Operation& operation, BlockNumber goal, std::uint64_t wanted, Claim claim) {
  return state_->blocks.allocate(operation, {.goal = goal, .wanted = wanted, .claim = claim});
}

Result<BlockRange> Allocator::reserve(const Wish& wish) { return state_->blocks.reserve(wish); }

Result<void> Allocator::use_reserved(Operation& operation, BlockRange range) {
  return state_->blocks.use_reserved(operation, range);
}

void Allocator::give_back(BlockRange range) { state_->blocks.give_back(range); }

Result<void> Allocator::free(Operation& operation, BlockRange range) { return state_->blocks.free(operation, range); }

Result<InodeNumber> Allocator::allocate_inode(Operation& operation, InodeNumber parent, bool directory) {
  return state_->inodes.allocate(operation, parent, directory);
}

Result<void> Allocator::free_inode(Operation& operation, InodeNumber inode, bool directory) {
  return state_->inodes.free(operation, inode, directory);
}

Result<bool> Allocator::inode_in_use(InodeNumber inode) { return state_->inodes.in_use(inode); }

Result<void> Allocator::prepare_commit() {
  TRY(state_->bitmaps.write_checksums());
  state_->blocks.prepare_commit();
  state_->inodes.prepare_commit();
  state_->hooks.clear_library_bitmaps();
  return {};
}

std::vector<disk::BlockRun> Allocator::freed_in_commit() const {
  std::vector<disk::BlockRun> runs;
  runs.reserve(state_->blocks.committing().size());
  for (const BlockRange& range : state_->blocks.committing()) runs.push_back({range.first, range.count});
  return runs;
}

void Allocator::commit_done() {
  state_->blocks.commit_done();
  state_->inodes.commit_done();
}

bool Allocator::has_pending_frees() const noexcept {
  return state_->blocks.has_pending_frees() || state_->inodes.has_pending_frees();
}

std::uint64_t Allocator::free_blocks() const noexcept { return state_->blocks.free_blocks(); }

}  // namespace worker::volume
