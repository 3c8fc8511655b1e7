// Taking, promising and freeing blocks: what changes when a search has found them.
#pragma once

#include <cstdint>
#include <vector>

#include "worker/volume/allocator.h"
#include "worker/volume/block_search.h"
#include "worker/volume/group_bitmaps.h"
#include "worker/volume/held_bits.h"

namespace worker::volume {

/// Who keeps the free counts: the allocator, or libext2fs, which changes them itself around its hooks.
enum class Counting : std::uint8_t { ours, by_library };

/// The block half of Allocator; the calls mean what they mean there. Under the mutator lock.
class BlockAllocator {
 public:
  BlockAllocator(Volume& volume, GroupBitmaps& bitmaps);

  Result<BlockRange> allocate(Operation& operation, const Wish& wish, Counting counting = Counting::ours);
  Result<BlockRange> reserve(const Wish& wish);
  Result<void> use_reserved(Operation& operation, BlockRange range);
  void give_back(BlockRange range);
  /// Takes back an allocate() of this operation that was counted by nobody yet.
  void unmark(Operation& operation, BlockRange range);
  /// True if the bitmap says so of all of them.
  bool in_use(BlockRange range);
  Result<void> free(Operation& operation, BlockRange range);

  void prepare_commit();
  void commit_done();
  /// What the prepared commit frees.
  const std::vector<BlockRange>& committing() const noexcept { return committing_; }
  bool has_pending_frees() const noexcept { return !freed_.empty() || !committing_.empty(); }
  std::uint64_t free_blocks() const noexcept;
  std::uint64_t available(Claim claim) const noexcept;
  std::uint64_t kept_for_metadata() const noexcept;

 private:
  struct Part {
    std::uint32_t group;
    BitRun run;
  };
  std::vector<Part> parts_of(BlockRange range) const;
  bool in_volume(BlockRange range) const;
  Result<FoundRun> find(const Wish& wish);
  Result<void> mark(Operation& operation, std::uint32_t group, BitRun run, Counting counting);
  Result<void> free_part(Operation& operation, const Part& part);
  void hold_freed(const Part& part);
  void let_go_freed(const Part& part);
  void join(Operation& operation);
  void undo();

  Volume& volume_;
  GroupBitmaps& bitmaps_;
  HeldBits held_;
  BlockSearch search_;
  std::uint64_t promised_ = 0;
  std::vector<BlockRange> freed_;       ///< since the last prepare_commit(): held
  std::vector<BlockRange> committing_;  ///< before it, but not yet durable: held

  // Of the running operation, for undo.
  bool joined_ = false;
  std::size_t freed_before_ = 0;
  std::vector<BlockRange> used_promises_;
};

}  // namespace worker::volume
