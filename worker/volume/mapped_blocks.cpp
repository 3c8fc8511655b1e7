#include "worker/volume/mapped_blocks.h"

#include <endian.h>

#include <cstring>
#include <optional>

#include "worker/volume/allocator.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

/// Looks into a mapping that consists of the extents in the inode alone, as that of nearly every directory does.
std::optional<Run> find_in_inode(const Inode& inode, LogicalBlock block) {
  if ((inode.flags() & EXT4_EXTENTS_FL) == 0) return std::nullopt;
  struct {
    ext3_extent_header header;
    ext3_extent extents[4];
  } root;
  static_assert(sizeof root == sizeof inode.raw.i_block);
  std::memcpy(&root, inode.raw.i_block, sizeof root);
  const std::uint16_t count = le16toh(root.header.eh_entries);
  if (le16toh(root.header.eh_magic) != EXT3_EXT_MAGIC || root.header.eh_depth != 0 || count > 4) return std::nullopt;
  for (std::uint16_t i = 0; i < count; ++i) {
    const ext3_extent& extent = root.extents[i];
    const Run run{.logical = le32toh(extent.ee_block),
                  .physical = std::uint64_t{le16toh(extent.ee_start_hi)} << 32 | le32toh(extent.ee_start),
                  .length = le16toh(extent.ee_len),
                  .state = RunState::written};
    // Anything out of the ordinary is for the full mapping to judge.
    if (run.length == 0 || run.length > EXT_INIT_MAX_LEN) return std::nullopt;
    if (block >= run.logical && block < run.end()) return run;
  }
  return std::nullopt;
}

}  // namespace

std::uint64_t MappedBlocks::count() const noexcept { return inode_.size() / volume_.cache().block_size(); }

Result<BlockNumber> MappedBlocks::locate(LogicalBlock block) {
  const auto physical = [&](const Run& run) { return run.physical + (block - run.logical); };
  for (const Run& run : runs_)
    if (block >= run.logical && block < run.end()) return physical(run);
  TRY(run, map(block));
  runs_[next_run_++ % kRuns] = run;
  return physical(run);
}

Result<Run> MappedBlocks::map(LogicalBlock block) {
  Run run;
  if (const auto found = find_in_inode(inode_, block)) {
    run = *found;
  } else {
    FileMapping mapping{volume_, inode_};
    if (!mapping.has_blocks()) return corrupt(block, "no blocks");
    TRY(count, mapping.runs(block, {&run, 1}));
    if (count == 0 || block < run.logical || block >= run.end()) return corrupt(block, "beyond the mapping");
  }
  if (run.state != RunState::written) return corrupt(block, "not mapped");
  if (!data_range_valid(*volume_.fs()->super, run.physical, run.length)) return corrupt(block, "outside the volume");
  return run;
}

Result<disk::Contents> MappedBlocks::read(LogicalBlock block) {
  TRY(physical, locate(block));
  return volume_.cache().read(physical);
}

Result<std::span<std::byte>> MappedBlocks::modify(Operation& operation, LogicalBlock block, disk::BlockKind kind) {
  TRY(physical, locate(block));
  return operation.modify(physical, kind);
}

Result<std::span<std::byte>> MappedBlocks::append(Operation& operation, disk::BlockKind kind) {
  const LogicalBlock block = count();
  FileMapping mapping{volume_, inode_};
  BlockNumber goal = 0;
  if (block > 0) {
    TRY(before, locate(block - 1));
    goal = before + 1;
  } else {
    goal = volume_.allocator().goal_for(inode_.number);
  }
  Allocator& allocator = volume_.allocator();
  TRY(range, allocator.allocate(operation, goal, 1, allocator.claim_of(inode_)));
  const Run run{.logical = block, .physical = range.first, .length = 1, .state = RunState::written};
  TRY(mapping.insert(operation, run));
  inode_.set_size((block + 1) * volume_.cache().block_size());
  runs_[next_run_++ % kRuns] = run;
  return operation.create(range.first, kind);
}

Error MappedBlocks::corrupt(LogicalBlock block, const char* what) const {
  return errno_error(EUCLEAN,
                     "inode " + std::to_string(inode_.number) + ", block " + std::to_string(block) + ": " + what);
}

}  // namespace worker::volume
