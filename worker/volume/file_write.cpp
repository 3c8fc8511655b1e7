// FileData::write: overwriting in place, and everything that changes mapping, size or times.
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "worker/disk/crash_rules.h"
#include "worker/disk/ext2_errors.h"
#include "worker/volume/allocator.h"
#include "worker/volume/file_data.h"
#include "worker/volume/file_state.h"
#include "worker/volume/inodes.h"
#include "worker/volume/xattrs.h"

namespace worker::volume {
namespace {

constexpr std::size_t kRunsPerLook = 32;
/// What a piece adds to the blocks that one operation touches: a group of its own, and its share of the leaves that all
/// pieces of a write have in common.
constexpr std::size_t kBlocksOfPiece = kBlocksOfGroup + 4;
/// A file that is written from its end on will probably get so many times as long.
constexpr std::uint64_t kGrowth = 4;
/// Up to here a write that needs zeros around it is put together in memory, to be one device request.
constexpr std::size_t kComposedWhole = 65536;

bool is_no_space(const Error& error) { return disk::error_number(error.code) == ENOSPC; }

/// Writes zeros, `data`, zeros at `at`. Where that is too long to copy, only the blocks at the edges are put together.
Result<void> write_padded(disk::BlockDevice& device, std::uint32_t block_size, disk::ByteOffset at, std::size_t head,
                          std::span<const std::byte> data, std::size_t tail) {
  if (head == 0 && tail == 0) return device.write(at, data);
  std::vector<std::byte> composed;
  const auto compose = [&](std::size_t zeros_before, std::span<const std::byte> part, std::size_t zeros_behind) {
    composed.assign(zeros_before + part.size() + zeros_behind, std::byte{0});
    if (!part.empty()) std::memcpy(composed.data() + zeros_before, part.data(), part.size());
    return std::span<const std::byte>{composed};
  };
  if (head + data.size() + tail <= kComposedWhole) return device.write(at, compose(head, data, tail));
  if (head > 0) {
    const std::size_t part = block_size - head;
    TRY(device.write(at, compose(head, data.first(part), 0)));
    at += block_size;
    data = data.subspan(part);
  }
  if (tail == 0) return device.write(at, data);
  const std::size_t whole = data.size() - std::min<std::size_t>(data.size(), block_size - tail);
  TRY(device.write(at, data.first(whole)));
  return device.write(at + whole, compose(0, data.subspan(whole), tail));
}

/// One write that needs the mutator lock. Lives while the file's mapping lock is held.
class Writer {
 public:
  Writer(Volume& volume, FileData::State& state, InodeNumber inode, std::uint64_t offset,
         std::span<const std::byte> from, std::size_t done, WriteFlags flags)
      : volume_{volume}, state_{state}, inode_{inode}, offset_{offset}, from_{from}, flags_{flags}, done_{done} {}

  Result<std::size_t> run();

 private:
  struct Piece {
    Run run;  ///< where its blocks are; the state is the one before the write, hole for blocks promised to us
  };

  std::uint64_t position() const noexcept { return offset_ + done_; }
  std::uint64_t end() const noexcept { return offset_ + from_.size(); }
  std::size_t most_pieces() const noexcept {
    return std::clamp<std::size_t>(volume_.most_blocks_per_operation() / kBlocksOfPiece, 1, kRunsPerLook);
  }

  Result<void> write_some();
  Result<void> plan();
  Result<void> plan_hole(const Run& hole, BlockNumber goal);
  Result<BlockNumber> reserve(LogicalBlock logical, BlockNumber goal, std::uint64_t wanted, std::uint64_t& count);
  Result<void> transfer(const Piece& piece);
  Result<void> apply(std::uint64_t reached);
  Result<void> change(Operation& operation, std::uint64_t reached);
  void give_back();

  Volume& volume_;
  FileData::State& state_;
  InodeNumber inode_;
  std::uint64_t offset_;
  std::span<const std::byte> from_;
  WriteFlags flags_;

  ExtentCache::Facts facts_;
  std::vector<Piece> pieces_;
  std::size_t done_;
  bool committed_for_space_ = false;
};

Result<std::size_t> Writer::run() {
  TRY(facts, state_.facts(inode_));
  if (offset_ >= facts.limit) return errno_error(EFBIG);
  // The kernel looks at the error of a page write only, never at how much was written: what a short reply left out
  // would be lost without a word.
  if (flags_.from_page_cache && from_.size() > facts.limit - offset_) return errno_error(EFBIG);
  from_ = from_.first(std::min<std::uint64_t>(from_.size(), facts.limit - offset_));
  while (done_ < from_.size()) {
    auto written = write_some();
    if (written.ok()) continue;
    give_back();
    if (done_ > 0 && !flags_.from_page_cache && is_no_space(written.error())) return done_;
    return std::move(written).error();
  }
  return done_;
}

Result<void> Writer::write_some() {
  pieces_.clear();
  TRY(plan());
  if (position() > facts_.size) {
    const std::uint64_t block_end = state_.blocks_for(facts_.size) * state_.block_size();
    TRY(state_.zero_in_block(inode_, facts_.size, std::min(block_end, position())));
  }
  const std::uint64_t reached = std::min<std::uint64_t>(end(), pieces_.back().run.end() * state_.block_size());
  if (!disk::rule::data_before_metadata) {
    // What the rule forbids: a commit makes the blocks reachable before their data is there.
    TRY(apply(reached));
    TRY(volume_.sync());
    for (const Piece& piece : pieces_) TRY(transfer(piece));
  } else {
    for (const Piece& piece : pieces_) TRY(transfer(piece));
    TRY(apply(reached));
  }
  pieces_.clear();
  done_ = reached - offset_;
  return {};
}

Result<void> Writer::plan() {
  const LogicalBlock first = state_.block_of(position());
  // The block before is looked at too: behind it is the best place for new ones.
  const LogicalBlock from = first > 0 ? first - 1 : 0;
  std::array<Run, kRunsPerLook> runs;
  TRY(look, state_.look(inode_, from, state_.blocks_for(end()), runs));
  if (look.inline_data) return errno_error(EOPNOTSUPP, "inline data");
  facts_ = look.facts;
  BlockNumber goal = 0;
  for (const Run& run : std::span{runs}.first(look.runs)) {
    if (pieces_.size() >= most_pieces()) break;
    if (run.end() > first) {
      const Run here = run.part(std::max(run.logical, first), run.end());
      if (here.state == RunState::hole) {
        auto planned = plan_hole(here, goal);
        if (!planned.ok() && (pieces_.empty() || !is_no_space(planned.error()))) return planned;
        if (!planned.ok() || pieces_.back().run.end() < here.end()) break;
      } else {
        pieces_.push_back({here});
      }
      goal = pieces_.back().run.physical + pieces_.back().run.length;
    } else if (run.state != RunState::hole) {
      goal = run.physical + run.length;
    }
  }
  // Only the block before was known.
  if (pieces_.empty()) {
    TRY(again, state_.look(inode_, first, state_.blocks_for(end()), runs));
    if (again.runs == 0) return errno_error(EUCLEAN, "file mapping");
    if (runs[0].state == RunState::hole) return plan_hole(runs[0], goal);
    pieces_.push_back({runs[0]});
  }
  return {};
}

Result<void> Writer::plan_hole(const Run& hole, BlockNumber goal) {
  LogicalBlock next = hole.logical;
  while (next < hole.end() && pieces_.size() < most_pieces()) {
    std::uint64_t count = 0;
    TRY(physical, reserve(next, goal, hole.end() - next, count));
    pieces_.push_back({{next, physical, count, RunState::hole}});
    next += count;
    goal = physical + count;
  }
  return {};
}

Result<BlockNumber> Writer::reserve(LogicalBlock logical, BlockNumber goal, std::uint64_t wanted,
                                    std::uint64_t& count) {
  const auto attempt = [&] {
    return volume_.inspect([&]() -> Result<BlockRange> {
      if (volume_.read_only()) return errno_error(EROFS);
      TRY(node, volume_.inodes().read(inode_));
      Allocator& allocator = volume_.allocator();
      Wish wish{.goal = goal,
                .wanted = wanted,
                .expected = kGrowth * state_.blocks_for(end()),
                .continues = goal != 0,
                .claim = allocator.claim_of(node)};
      if (goal == 0) {
        TRY(near, FileMapping(volume_, node).goal(logical));
        wish.goal = near;
      }
      return allocator.reserve(wish);
    });
  };
  auto range = attempt();
  if (!range.ok() && is_no_space(range.error()) && !committed_for_space_ &&
      volume_.inspect([&] { return volume_.allocator().has_pending_frees(); })) {
    committed_for_space_ = true;
    TRY(volume_.sync());
    range = attempt();
  }
  if (!range.ok()) return std::move(range).error();
  count = range->count;
  return range->first;
}

Result<void> Writer::transfer(const Piece& piece) {
  const std::uint32_t block_size = state_.block_size();
  const std::uint64_t piece_first = piece.run.logical * block_size;
  const std::uint64_t piece_end = piece.run.end() * block_size;
  const std::uint64_t first = std::max(piece_first, position());
  const std::uint64_t last = std::min(piece_end, end());
  const auto data = from_.subspan(first - offset_, last - first);
  const disk::ByteOffset at = piece.run.physical * block_size;
  if (piece.run.state != RunState::written)
    return write_padded(volume_.device(), block_size, at, first - piece_first, data, piece_end - last);
  // Behind the end of the file a block may hold anything; what this write leaves of it must read as zeros.
  const std::size_t tail = last > facts_.size ? state_.blocks_for(last) * block_size - last : 0;
  return write_padded(volume_.device(), block_size, at + (first - piece_first), 0, data, tail);
}

Result<void> Writer::apply(std::uint64_t reached) {
  const bool maps = std::any_of(pieces_.begin(), pieces_.end(),
                                [](const Piece& piece) { return piece.run.state != RunState::written; });
  const bool restamps = !flags_.from_page_cache && facts_.modified != Timestamp::now();
  if (!maps && !restamps && !flags_.kill_privileges && reached <= facts_.size) return {};
  return volume_.mutate([&](Operation& operation) { return change(operation, reached); });
}

Result<void> Writer::change(Operation& operation, std::uint64_t reached) {
  TRY(node, volume_.inodes().read(inode_));
  FileMapping mapping{volume_, node};
  std::vector<Run> runs;
  for (const Piece& piece : pieces_) {
    Run run = piece.run;
    run.state = RunState::written;
    if (piece.run.state == RunState::hole) {
      TRY(volume_.allocator().use_reserved(operation, {run.physical, run.length}));
      TRY(mapping.insert(operation, run));
    } else if (piece.run.state == RunState::unwritten) {
      StepBudget enough = StepBudget::unbounded(operation);
      TRY(mapping.convert(operation, run.logical, run.end(), RunState::written, enough));
    } else {
      continue;
    }
    runs.push_back(run);
  }
  const bool grows = reached > node.size();
  if (grows) TRY(state_.set_size(operation, node, reached));
  if (!flags_.from_page_cache) FileData::State::stamp(node);
  if (flags_.kill_privileges) {
    TRY(volume_.xattrs().drop_capabilities(operation, node));
    node.raw.i_mode &= static_cast<__u16>(~S_ISUID);
    if (node.raw.i_mode & S_IXGRP) node.raw.i_mode &= static_cast<__u16>(~S_ISGID);
  }
  TRY(volume_.inodes().write(operation, node));
  if (grows || !runs.empty()) state_.note_change(inode_);
  const ExtentCache::Facts facts{.size = node.size(), .limit = facts_.limit, .modified = node.modified()};
  operation.on_commit(
      [&cache = state_.cache, inode = inode_, facts, known = std::move(runs)] { cache.update(inode, facts, known); });
  return {};
}

void Writer::give_back() {
  if (pieces_.empty()) return;
  volume_.inspect([&] {
    for (const Piece& piece : pieces_)
      if (piece.run.state == RunState::hole) volume_.allocator().give_back({piece.run.physical, piece.run.length});
  });
  pieces_.clear();
}

/// Writes as much as lies in blocks that hold data already, inside the size: no metadata changes. Returns how much.
Result<std::size_t> overwrite(Volume& volume, FileData::State& state, InodeNumber inode, std::uint64_t offset,
                              std::span<const std::byte> from) {
  const std::uint32_t block_size = state.block_size();
  const std::shared_lock transfer{state.gate(inode).transfer};
  std::array<Run, kRunsPerLook> runs;
  std::size_t done = 0;
  while (done < from.size()) {
    const std::uint64_t end = offset + from.size();
    TRY(look, state.look(inode, state.block_of(offset + done), state.blocks_for(end), runs));
    if (end > look.facts.size || look.inline_data) break;
    for (const Run& run : std::span{runs}.first(look.runs)) {
      if (run.state != RunState::written) return done;
      const std::uint64_t position = offset + done;
      const auto part = from.subspan(done, std::min<std::uint64_t>(run.end() * block_size, end) - position);
      TRY(volume.device().write(run.physical * block_size + (position - run.logical * block_size), part));
      done += part.size();
    }
  }
  return done;
}

/// Moves the times of a file whose bytes were overwritten in place, unless the clock has not ticked since it last was.
Result<void> stamp_overwritten(FileData::State& state, InodeNumber inode) {
  TRY(facts, state.facts(inode));
  if (facts.modified == Timestamp::now()) return {};
  return state.volume.mutate([&](Operation& operation) -> Result<void> {
    TRY(node, state.volume.inodes().read(inode));
    FileData::State::stamp(node);
    TRY(state.volume.inodes().write(operation, node));
    operation.on_commit([&cache = state.cache, inode, size = node.size(), limit = facts.limit, when = node.modified()] {
      cache.update(inode, {.size = size, .limit = limit, .modified = when}, {});
    });
    return {};
  });
}

}  // namespace

Result<std::size_t> FileData::write(InodeNumber inode, std::uint64_t offset, std::span<const std::byte> from,
                                    WriteFlags flags) {
  State& state = *state_;
  if (from.empty()) return std::size_t{0};
  TRY(state.volume.await_writable());
  if (offset > INT64_MAX || from.size() > INT64_MAX - offset) return errno_error(EFBIG);
  std::size_t done = 0;
  if (!flags.kill_privileges) {
    TRY(overwritten, overwrite(state.volume, state, inode, offset, from));
    done = overwritten;
    if (done == from.size()) {
      if (!flags.from_page_cache) TRY(stamp_overwritten(state, inode));
      return done;
    }
  }
  State::Gate& gate = state.gate(inode);
  const std::lock_guard mapping{gate.mapping};
  const std::shared_lock transfer{gate.transfer};
  return Writer(state.volume, state, inode, offset, from, done, flags).run();
}

}  // namespace worker::volume
