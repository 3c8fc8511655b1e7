// FileData's changes of size and allocation: truncate, fallocate, and the freeing of what lies behind the end.
#include <linux/falloc.h>

#include <algorithm>

#include "worker/volume/allocator.h"
#include "worker/volume/file_data.h"
#include "worker/volume/file_state.h"
#include "worker/volume/inodes.h"
#include "worker/volume/orphans.h"

namespace worker::volume {
namespace {

constexpr LogicalBlock kEverything = UINT64_MAX;

using State = FileData::State;

/// One fallocate(2), its range in bytes and in the whole blocks that it touches.
struct Range {
  InodeNumber inode;
  std::uint64_t first, last;  ///< bytes, the last one excluded
  bool keep_size;
};

/// Allocates unwritten blocks in the holes between two blocks, as far as one operation goes; returns how far that is.
Result<LogicalBlock> fill_holes(Volume& volume, Operation& operation, Inode& node, LogicalBlock first,
                                LogicalBlock last) {
  FileMapping mapping{volume, node};
  StepBudget budget{operation};
  while (first < last) {
    std::array<Run, 1> run;
    TRY(count, mapping.runs(first, run));
    if (count == 0) return last;
    if (run[0].state != RunState::hole) {
      first = std::min(last, run[0].end());
      continue;
    }
    if (!budget.allows(kBlocksOfExtent + 2 * kBlocksOfGroup)) break;
    TRY(goal, mapping.goal(first));
    Allocator& allocator = volume.allocator();
    TRY(range, allocator.allocate(operation, goal, std::min(last, run[0].end()) - first, allocator.claim_of(node)));
    TRY(mapping.insert(operation, {first, range.first, range.count, RunState::unwritten}));
    first += range.count;
  }
  return first;
}

/// Blocks of holes between two blocks of the file.
Result<std::uint64_t> count_holes(State& state, InodeNumber inode, LogicalBlock first, LogicalBlock last) {
  std::array<Run, 32> runs;
  std::uint64_t holes = 0;
  while (first < last) {
    TRY(look, state.look(inode, first, last, runs));
    if (look.runs == 0) return errno_error(EUCLEAN, "file mapping");
    for (const Run& run : std::span{runs}.first(look.runs)) {
      if (run.state == RunState::hole) holes += run.length;
      first = run.end();
    }
  }
  return holes;
}

/// Gives back what a fallocate(2) that failed has allocated behind the end of the file, and takes it from the orphan
/// list. Where that fails too, the end of the mount does it.
void abandon(State& state, const Range& range, LogicalBlock reached) {
  Volume& volume = state.volume;
  (void)volume.mutate_in_steps([&](Operation& operation) -> Result<bool> {
    TRY(node, volume.inodes().read(range.inode));
    state.cache.drop(range.inode);
    const LogicalBlock first = std::max(state.blocks_for(node.size()), state.block_of(range.first));
    StepBudget budget{operation};
    TRY(gone, FileMapping(volume, node).remove(operation, first, reached, budget));
    TRY(volume.inodes().write(operation, node));
    state.note_change(range.inode);
    if (gone) TRY(volume.orphans().remove(operation, node));
    return gone;
  });
}

/// fallocate(2) without a hole-making flag: every block of the range is there afterwards. What lies behind the end of
/// the file is on the orphan list until the last step, so that after a crash it is there as a whole or not at all.
Result<void> reserve_range(State& state, const Range& range) {
  Volume& volume = state.volume;
  const LogicalBlock last = state.blocks_for(range.last);
  LogicalBlock reached = state.block_of(range.first);
  TRY(needed, count_holes(state, range.inode, reached, last));
  TRY(free, volume.inspect([&]() -> Result<std::uint64_t> {
    TRY(node, volume.inodes().read(range.inode));
    return volume.allocator().available_blocks(volume.allocator().claim_of(node));
  }));
  if (needed > free) return errno_error(ENOSPC);
  bool listed = false;  // by this call
  auto outcome = volume.mutate_in_steps([&](Operation& operation) -> Result<bool> {
    TRY(node, volume.inodes().read(range.inode));
    state.cache.drop(range.inode);
    TRY(filled, fill_holes(volume, operation, node, reached, last));
    const bool done = filled >= last;
    if (done && !range.keep_size && range.last > node.size()) TRY(state.set_size(operation, node, range.last));
    State::stamp(node);
    const bool lists = !done && last > state.blocks_for(node.size()) && !volume.orphans().contains(range.inode);
    if (lists) TRY(volume.orphans().add(operation, node));
    if (done && listed) TRY(volume.orphans().remove(operation, node));
    TRY(volume.inodes().write(operation, node));
    state.note_change(range.inode);
    operation.on_commit([&reached, &listed, filled, lists] {
      reached = filled;
      listed = listed || lists;
    });
    return done;
  });
  if (!outcome.ok() && listed) abandon(state, range, reached);
  return outcome;
}

/// Zeros on the device for the bytes of the range in blocks that it covers only partly.
Result<void> zero_edges(State& state, const Range& range) {
  const std::uint64_t block_size = state.block_size();
  const std::uint64_t first_whole = state.blocks_for(range.first) * block_size;
  const std::uint64_t last_whole = state.block_of(range.last) * block_size;
  TRY(state.zero_in_block(range.inode, range.first, std::min(first_whole, range.last)));
  if (last_whole >= first_whole) TRY(state.zero_in_block(range.inode, last_whole, range.last));
  return {};
}

Result<void> punch(State& state, Range range, std::uint64_t size) {
  Volume& volume = state.volume;
  if (range.first >= size) return {};
  // Blocks kept behind the end are not the hole's business, but the last block of the file is.
  range.last = std::min(range.last, state.blocks_for(size) * state.block_size());
  TRY(zero_edges(state, range));
  // A hole that is only partly there after a crash needs no orphan: nothing is lost but what was to be lost.
  return volume.mutate_in_steps([&](Operation& operation) -> Result<bool> {
    TRY(node, volume.inodes().read(range.inode));
    state.cache.drop(range.inode);
    StepBudget budget{operation};
    TRY(gone,
        FileMapping(volume, node).remove(operation, state.blocks_for(range.first), state.block_of(range.last), budget));
    State::stamp(node);
    TRY(volume.inodes().write(operation, node));
    state.note_change(range.inode);
    return gone;
  });
}

/// ZERO_RANGE: edges are overwritten, whole blocks become unwritten, holes are filled.
Result<void> zero_range(State& state, const Range& range) {
  Volume& volume = state.volume;
  TRY(zero_edges(state, range));
  LogicalBlock reached = state.blocks_for(range.first);
  const LogicalBlock last = state.block_of(range.last);
  const auto step = [&](Operation& operation) -> Result<bool> {
    TRY(node, volume.inodes().read(range.inode));
    state.cache.drop(range.inode);
    StepBudget budget{operation};
    TRY(converted, FileMapping(volume, node).convert(operation, reached, last, RunState::unwritten, budget));
    TRY(volume.inodes().write(operation, node));
    state.note_change(range.inode);
    operation.on_commit([&reached, converted] { reached = converted; });
    return converted >= last;
  };
  TRY(volume.mutate_in_steps(step));
  return reserve_range(state, range);
}

}  // namespace

Result<bool> FileData::free_some(Operation& operation, Inode& inode, std::uint64_t size) {
  FileMapping mapping{state_->volume, inode};
  forget(inode.number);
  if (!mapping.has_blocks()) return true;
  StepBudget budget{operation};
  TRY(done, mapping.remove(operation, state_->blocks_for(size), kEverything, budget));
  TRY(state_->volume.inodes().write(operation, inode));
  return done;
}

Result<void> FileData::truncate(InodeNumber inode, std::uint64_t size) {
  State& state = *state_;
  Volume& volume = state.volume;
  TRY(volume.await_writable());
  State::Gate& gate = state.gate(inode);
  const std::lock_guard mapping{gate.mapping};
  const std::unique_lock transfer{gate.transfer};
  TRY(facts, state.facts(inode));
  if (size > facts.size && size > facts.limit) return errno_error(EFBIG);
  // When the file grows, what comes into it first; when it shrinks, what left it only once that is certain.
  const bool grows = size > facts.size;
  if (grows) TRY(state.zero_block_tail(inode, facts.size));

  // Kept on the orphan list from the first step to the last, unless it is there for another reason.
  bool listed_before = false;
  const auto first_step = [&](Operation& operation) -> Result<bool> {
    TRY(node, volume.inodes().read(inode));
    listed_before = volume.orphans().contains(inode);
    const bool shrinks = size <= node.size();
    TRY(state.set_size(operation, node, size));
    State::stamp(node);
    bool done = true;
    if (shrinks) {
      TRY(freed, free_some(operation, node, size));
      done = freed;
    }
    if (!done && !listed_before) TRY(volume.orphans().add(operation, node));
    forget(inode);
    TRY(volume.inodes().write(operation, node));
    return done;
  };
  const auto next_step = [&](Operation& operation) -> Result<bool> {
    TRY(node, volume.inodes().read(inode));
    TRY(done, free_some(operation, node, size));
    if (done && !listed_before) TRY(volume.orphans().remove(operation, node));
    return done;
  };
  TRY(done, volume.mutate(first_step));
  if (!grows) TRY(state.zero_block_tail(inode, size));
  if (done) return {};
  return volume.mutate_in_steps(next_step);
}

Result<void> FileData::allocate(InodeNumber inode, int mode, std::uint64_t offset, std::uint64_t length) {
  constexpr int kServed = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
  const bool punches = mode & FALLOC_FL_PUNCH_HOLE;
  const bool zeroes = mode & FALLOC_FL_ZERO_RANGE;
  const bool keeps_size = mode & FALLOC_FL_KEEP_SIZE;
  if (mode & ~kServed || (punches && (zeroes || !keeps_size))) return errno_error(EOPNOTSUPP);
  if (length == 0) return errno_error(EINVAL);
  if (offset > INT64_MAX || length > INT64_MAX - offset) return errno_error(EFBIG);
  State& state = *state_;
  TRY(state.volume.await_writable());

  State::Gate& gate = state.gate(inode);
  const std::lock_guard mapping{gate.mapping};
  const std::unique_lock transfer{gate.transfer};
  TRY(facts, state.facts(inode));
  const Range range{.inode = inode, .first = offset, .last = offset + length, .keep_size = keeps_size};
  if (punches) return punch(state, range, facts.size);
  const bool extents = state.volume.inspect([&] {
    auto node = state.volume.inodes().read(inode);
    return node.ok() && (node->flags() & EXT4_EXTENTS_FL);
  });
  // Indirect pointers have no way to say that a block was never written.
  if (!extents) return errno_error(EOPNOTSUPP);
  if (range.last > facts.limit) return errno_error(EFBIG);
  if (!keeps_size && range.last > facts.size) TRY(state.zero_block_tail(inode, facts.size));
  return zeroes ? zero_range(state, range) : reserve_range(state, range);
}

}  // namespace worker::volume
