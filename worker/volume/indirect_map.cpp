#include "worker/volume/indirect_map.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "worker/volume/allocator.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

constexpr std::size_t kPointerSize = 4;
constexpr unsigned kTrees = 3;
/// What one more data block may add to a step: the freeing of the run before it, and its own; each within a group.
constexpr unsigned kBlocksOfPending = 2 * kBlocksOfGroup;
/// Pointers looked at in one call of runs(), so that a long file does not hold the mutator lock.
constexpr std::size_t kScanLimit = 16384;

std::uint32_t load(std::span<const std::byte> pointers, std::size_t index) {
  std::uint32_t raw = 0;
  std::memcpy(&raw, pointers.data() + index * kPointerSize, kPointerSize);
  return ext2fs_le32_to_cpu(raw);
}

void store(std::span<std::byte> pointers, std::size_t index, std::uint32_t block) {
  const std::uint32_t raw = ext2fs_cpu_to_le32(block);
  std::memcpy(pointers.data() + index * kPointerSize, &raw, kPointerSize);
}

Error corrupt() { return errno_error(EUCLEAN, "indirect block"); }

}  // namespace

IndirectMap::IndirectMap(Volume& volume, Inode& inode) noexcept
    : volume_{volume}, inode_{inode}, per_block_{volume.cache().block_size() / kPointerSize} {}

LogicalBlock IndirectMap::capacity(std::uint32_t block_size) noexcept {
  const LogicalBlock pointers = block_size / kPointerSize;
  return EXT2_NDIR_BLOCKS + pointers + pointers * pointers + pointers * pointers * pointers;
}

LogicalBlock IndirectMap::reach(unsigned levels) const noexcept {
  LogicalBlock blocks = 1;
  while (levels-- > 0) blocks *= per_block_;
  return blocks;
}

IndirectMap::Place IndirectMap::place(LogicalBlock logical) const noexcept {
  if (logical < EXT2_NDIR_BLOCKS) return {static_cast<std::size_t>(logical), 0, logical};
  LogicalBlock start = EXT2_NDIR_BLOCKS;
  unsigned levels = 1;
  while (levels < kTrees && logical >= start + reach(levels)) start += reach(levels++);
  return {EXT2_IND_BLOCK + levels - 1, levels, start};
}

Result<void> IndirectMap::check(BlockNumber block) const {
  if (!data_range_valid(*volume_.fs()->super, block, 1)) return corrupt();
  return {};
}

Result<std::size_t> IndirectMap::runs(LogicalBlock first, std::span<Run> into) {
  RunList list{into};
  const LogicalBlock limit = capacity(volume_.cache().block_size());
  std::size_t scanned = 0;
  LogicalBlock next = first;
  while (next < limit && (scanned < kScanLimit || list.size() == 0)) {
    const Place at = place(next);
    std::uint32_t pointer = inode_.raw.i_block[at.slot];
    unsigned levels = at.levels;
    LogicalBlock start = at.start;
    disk::Contents leaf;
    while (pointer != 0 && levels > 0) {
      TRY(check(pointer));
      TRY(contents, volume_.cache().read(pointer));
      --levels;
      const std::size_t index = (next - start) / reach(levels);
      start += index * reach(levels);
      pointer = load(*contents, index);
      if (levels == 0) leaf = contents;
    }
    if (pointer == 0 && levels > 0) {
      const LogicalBlock end = start + reach(levels);
      if (!list.add({.logical = next, .length = end - next})) return list.size();
      next = end;
      continue;
    }
    // All pointers that lie beside this one: the rest of the leaf, or of the direct ones.
    const std::size_t width = leaf ? per_block_ : EXT2_NDIR_BLOCKS;
    std::size_t index = leaf ? static_cast<std::size_t>((start - EXT2_NDIR_BLOCKS) % per_block_) : at.slot;
    for (; index < width; ++index, ++next, ++scanned) {
      pointer = leaf ? load(*leaf, index) : inode_.raw.i_block[index];
      if (pointer) TRY(check(pointer));
      const RunState state = pointer ? RunState::written : RunState::hole;
      if (!list.add({next, pointer, 1, state})) return list.size();
    }
  }
  return list.size();
}

Result<void> IndirectMap::count_blocks(std::int64_t change) {
  auto* raw = reinterpret_cast<ext2_inode*>(&inode_.raw);
  const errcode_t code = change > 0 ? ext2fs_iblk_add_blocks(volume_.fs(), raw, static_cast<blk64_t>(change))
                                    : ext2fs_iblk_sub_blocks(volume_.fs(), raw, static_cast<blk64_t>(-change));
  if (code) return errno_error(change > 0 ? EFBIG : EUCLEAN, "block count");
  return {};
}

Result<std::uint32_t> IndirectMap::new_indirect_block(Operation& operation, BlockNumber goal) {
  TRY(range, volume_.allocator().allocate(operation, goal, 1, Claim::metadata));
  if (range.first > UINT32_MAX) return errno_error(ENOSPC, "no block below 2^32");
  TRY(count_blocks(1));
  operation.create(range.first, disk::BlockKind::inode);
  return static_cast<std::uint32_t>(range.first);
}

Result<IndirectMap::Leaf> IndirectMap::writable_leaf(Operation& operation, LogicalBlock logical, BlockNumber goal) {
  const Place at = place(logical);
  std::uint32_t& root = inode_.raw.i_block[at.slot];
  if (root == 0) {
    TRY(made, new_indirect_block(operation, goal));
    root = made;
  }
  std::uint32_t block = root;
  LogicalBlock start = at.start;
  for (unsigned levels = at.levels - 1;; --levels) {
    TRY(check(block));
    const std::size_t index = (logical - start) / reach(levels);
    if (levels == 0) {
      TRY(pointers, operation.modify(block, disk::BlockKind::inode));
      return Leaf{pointers, index};
    }
    start += index * reach(levels);
    TRY(contents, volume_.cache().read(block));
    std::uint32_t below = load(*contents, index);
    if (below == 0) {
      TRY(made, new_indirect_block(operation, goal));
      TRY(pointers, operation.modify(block, disk::BlockKind::inode));
      store(pointers, index, made);
      below = made;
    }
    block = below;
  }
}

Result<void> IndirectMap::insert(Operation& operation, const Run& run) {
  if (run.physical + run.length > std::uint64_t{UINT32_MAX} + 1) return errno_error(ENOSPC, "no block below 2^32");
  LogicalBlock logical = run.logical;
  while (logical < run.end()) {
    const auto physical = static_cast<std::uint32_t>(run.physical + (logical - run.logical));
    if (logical < EXT2_NDIR_BLOCKS) {
      if (inode_.raw.i_block[logical]) return corrupt();
      inode_.raw.i_block[logical++] = physical;
      continue;
    }
    TRY(leaf, writable_leaf(operation, logical, run.physical + run.length));
    const std::size_t count = std::min<std::uint64_t>(per_block_ - leaf.index, run.end() - logical);
    for (std::size_t i = 0; i < count; ++i) {
      if (load(leaf.pointers, leaf.index + i)) return corrupt();
      store(leaf.pointers, leaf.index + i, static_cast<std::uint32_t>(physical + i));
    }
    logical += count;
  }
  return {};
}

Result<bool> IndirectMap::remove(Operation& operation, LogicalBlock first, LogicalBlock last, StepBudget& budget,
                                 std::uint64_t& removed) {
  Removal removal{.operation = operation, .first = first, .last = last, .budget = budget};
  bool done = true;
  for (unsigned levels = kTrees; done && levels > 0; --levels) {
    LogicalBlock start = EXT2_NDIR_BLOCKS;
    for (unsigned below = 1; below < levels; ++below) start += reach(below);
    std::uint32_t pointer = inode_.raw.i_block[EXT2_IND_BLOCK + levels - 1];
    TRY(gone, remove_below(removal, pointer, levels, start));
    inode_.raw.i_block[EXT2_IND_BLOCK + levels - 1] = pointer;
    done = gone;
  }
  for (LogicalBlock block = EXT2_NDIR_BLOCKS; done && block-- > 0;) {
    std::uint32_t pointer = inode_.raw.i_block[block];
    TRY(gone, remove_below(removal, pointer, 0, block));
    inode_.raw.i_block[block] = pointer;
    done = gone;
  }
  TRY(flush_pending(removal));
  removed = removal.removed;
  return done;
}

Result<bool> IndirectMap::remove_below(Removal& removal, std::uint32_t& pointer, unsigned levels, LogicalBlock start) {
  if (pointer == 0 || start >= removal.last || start + reach(levels) <= removal.first) return true;
  TRY(check(pointer));
  if (levels == 0) return remove_data(removal, pointer);
  if (!removal.budget.allows(1 + kBlocksOfPending + kBlocksOfGroup)) return false;
  TRY(pointers, removal.operation.modify(pointer, disk::BlockKind::inode));
  bool done = true;
  for (std::size_t index = per_block_; done && index-- > 0;) {
    std::uint32_t below = load(pointers, index);
    if (below == 0) continue;
    TRY(gone, remove_below(removal, below, levels - 1, start + index * reach(levels - 1)));
    store(pointers, index, below);
    done = gone;
  }
  const bool empty = std::all_of(pointers.begin(), pointers.end(), [](std::byte byte) { return byte == std::byte{0}; });
  if (!empty) return done;
  TRY(flush_pending(removal));
  TRY(volume_.allocator().free(removal.operation, {pointer, 1}));
  TRY(count_blocks(-1));
  pointer = 0;
  return done;
}

Result<bool> IndirectMap::remove_data(Removal& removal, std::uint32_t& pointer) {
  if (!removal.budget.allows(kBlocksOfPending)) return false;
  const ext2_super_block& super = *volume_.fs()->super;
  const auto group = [&](BlockNumber block) { return (block - super.s_first_data_block) / super.s_blocks_per_group; };
  // Going down, the next block is usually the one before the run.
  const bool continues = removal.pending_count > 0 && pointer + std::uint64_t{1} == removal.pending_first &&
                         group(pointer) == group(removal.pending_first);
  if (!continues) TRY(flush_pending(removal));
  removal.pending_first = pointer;
  ++removal.pending_count;
  pointer = 0;
  return true;
}

Result<void> IndirectMap::flush_pending(Removal& removal) {
  const std::uint64_t count = std::exchange(removal.pending_count, 0);
  if (count == 0) return {};
  removal.removed += count;
  return volume_.allocator().free(removal.operation, {removal.pending_first, count});
}

}  // namespace worker::volume
