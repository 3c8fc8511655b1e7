#include "worker/volume/file_mapping.h"

#include <algorithm>
#include <array>

#include "worker/volume/allocator.h"
#include "worker/volume/extent_tree.h"
#include "worker/volume/indirect_map.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

/// A long extent is freed in pieces of so many groups' length: groups may be small.
constexpr unsigned kGroupsAtOnce = 4;

}  // namespace

Run Run::part(LogicalBlock first, LogicalBlock last) const noexcept {
  return {first, state == RunState::hole ? 0 : physical + (first - logical), last - first, state};
}

bool Run::joins(const Run& next) const noexcept {
  if (state != next.state || end() != next.logical) return false;
  return state == RunState::hole || physical + length == next.physical;
}

bool RunList::add(const Run& run) noexcept {
  if (size_ > 0 && into_[size_ - 1].joins(run)) {
    into_[size_ - 1].length += run.length;
    return true;
  }
  if (size_ == into_.size()) return false;
  into_[size_++] = run;
  return true;
}

bool StepBudget::allows(unsigned blocks) noexcept {
  if (!bounded_ || pieces_++ == 0) return true;
  const std::size_t most = operation_.volume().most_blocks_per_operation();
  return pieces_ <= kMostPieces && operation_.touched_blocks() + blocks <= most;
}

bool data_range_valid(const ext2_super_block& super, BlockNumber first, std::uint64_t length) noexcept {
  const std::uint64_t blocks = super.s_blocks_count | std::uint64_t{super.s_blocks_count_hi} << 32;
  return first > super.s_first_data_block && first < blocks && length <= blocks - first;
}

bool FileMapping::has_blocks() const noexcept {
  return ext2fs_inode_has_valid_blocks2(volume_.fs(), reinterpret_cast<ext2_inode*>(&inode_.raw)) != 0;
}

LogicalBlock FileMapping::limit() const noexcept {
  const std::uint32_t block_size = volume_.cache().block_size();
  const LogicalBlock addressable = has_extents() ? kExtentLimit : IndirectMap::capacity(block_size);
  const std::uint64_t sectors_per_block = block_size / 512;
  if (ext2fs_has_feature_huge_file(volume_.fs()->super)) return addressable;
  // i_blocks has 32 bits of 512-byte units then, and counts the blocks of the mapping as well.
  const std::uint64_t countable = UINT32_MAX / sectors_per_block;
  const std::uint64_t pointers = block_size / 4;
  const std::uint64_t overhead = has_extents() ? 0 : 3 + pointers + pointers + countable / pointers;
  return std::min<LogicalBlock>(addressable, countable - std::min(countable, overhead));
}

Result<std::size_t> FileMapping::runs(LogicalBlock first, std::span<Run> into) {
  if (has_extents()) {
    TRY(tree, ExtentTree::open(volume_, inode_));
    return tree.runs(first, into);
  }
  return IndirectMap{volume_, inode_}.runs(first, into);
}

Result<BlockNumber> FileMapping::goal(LogicalBlock logical) {
  const BlockNumber home = volume_.allocator().goal_for(inode_.number);
  if (logical == 0) return home;
  if (has_extents()) {
    TRY(tree, ExtentTree::open(volume_, inode_));
    TRY(before, tree.before(logical));
    if (!before) return home;
    const BlockNumber behind = before->physical + (logical - before->logical);
    return data_range_valid(*volume_.fs()->super, behind, 1) ? behind : before->physical + before->length - 1;
  }
  std::array<Run, 1> run;
  TRY(count, IndirectMap(volume_, inode_).runs(logical - 1, run));
  if (count == 0 || run[0].state == RunState::hole) return home;
  return run[0].physical + 1;
}

Result<void> FileMapping::insert(Operation& operation, const Run& run) {
  if (run.end() > limit()) return errno_error(EFBIG);
  auto* raw = reinterpret_cast<ext2_inode*>(&inode_.raw);
  if (ext2fs_iblk_add_blocks(volume_.fs(), raw, run.length)) return errno_error(EFBIG);
  if (!has_extents()) return IndirectMap{volume_, inode_}.insert(operation, run);
  TRY(tree, ExtentTree::open(volume_, inode_));
  return tree.insert(run);
}

Result<LogicalBlock> FileMapping::convert(Operation&, LogicalBlock first, LogicalBlock last, RunState state,
                                          StepBudget& budget) {
  TRY(tree, ExtentTree::open(volume_, inode_));
  while (first < last) {
    TRY(extent, tree.before(first));
    std::array<Run, 1> run;
    if (!extent || extent->end() <= first || extent->state == state) {
      // Nothing to do up to the end of this hole, or of what is in this state already.
      TRY(count, tree.runs(first, run));
      if (count == 0) return last;
      if (run[0].state == state || run[0].state == RunState::hole) {
        first = std::min(last, run[0].end());
        continue;
      }
      return errno_error(EUCLEAN, "extent tree");
    }
    const LogicalBlock end = std::min(last, extent->end());
    if (!budget.allows(2 * kBlocksOfExtent)) return first;
    Run changed = extent->part(first, end);
    changed.state = state;
    TRY(tree.cut(*extent, first, end));
    TRY(tree.insert(changed));
    first = end;
  }
  return last;
}

Result<bool> FileMapping::remove(Operation& operation, LogicalBlock first, LogicalBlock last, StepBudget& budget) {
  if (first >= last) return true;
  auto* raw = reinterpret_cast<ext2_inode*>(&inode_.raw);
  const auto uncount = [&](std::uint64_t blocks) -> Result<void> {
    if (ext2fs_iblk_sub_blocks(volume_.fs(), raw, blocks)) return errno_error(EUCLEAN, "block count");
    return {};
  };
  if (!has_extents()) {
    std::uint64_t removed = 0;
    TRY(done, IndirectMap(volume_, inode_).remove(operation, first, last, budget, removed));
    TRY(uncount(removed));
    return done;
  }
  {
    TRY(tree, ExtentTree::open(volume_, inode_));
    last = std::min(last, kExtentLimit);
    while (first < last) {
      TRY(extent, tree.before(last - 1));
      if (!extent || extent->end() <= first) break;
      const LogicalBlock end = std::min(extent->end(), last);
      const std::uint64_t most = kGroupsAtOnce * std::uint64_t{volume_.fs()->super->s_blocks_per_group};
      const LogicalBlock start = std::max({extent->logical, first, end - std::min(end, most)});
      const Run cut = extent->part(start, end);
      if (!budget.allows(kBlocksOfExtent + (kGroupsAtOnce + 1) * kBlocksOfGroup)) return false;
      TRY(tree.cut(*extent, cut.logical, cut.end()));
      TRY(volume_.allocator().free(operation, {cut.physical, cut.length}));
      TRY(uncount(cut.length));
      last = cut.logical;
    }
  }
  TRY(nodes, shrink(operation));
  TRY(uncount(nodes));
  return true;
}

Result<std::uint64_t> FileMapping::shrink(Operation& operation) {
  ExtentTree::Few few;
  {
    TRY(tree, ExtentTree::open(volume_, inode_));
    TRY(found, tree.few());
    if (!found) return std::uint64_t{0};
    few = std::move(*found);
  }
  ExtentTree::store_in_inode(inode_, few.extents);
  for (const BlockNumber node : few.nodes) TRY(volume_.allocator().free(operation, {node, 1}));
  return few.nodes.size();
}

}  // namespace worker::volume
