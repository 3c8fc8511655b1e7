#include "worker/volume/file_state.h"

#include <algorithm>

namespace worker::volume {
namespace {

/// How many runs one visit to the volume's own structures brings into the cache.
constexpr std::size_t kRunsPerVisit = 64;
/// The largest block size there is.
constexpr std::size_t kLargestBlock = 65536;
constexpr std::array<std::byte, kLargestBlock> kZeros{};

}  // namespace

Result<FileData::State::Look> FileData::State::look(InodeNumber inode, LogicalBlock first, LogicalBlock last,
                                                    std::span<Run> into) {
  if (const auto view = cache.find(inode, first, last, into); view && view->runs > 0)
    return Look{.facts = view->facts, .runs = view->runs};
  return volume.inspect([&]() -> Result<Look> {
    TRY(node, volume.inodes().read(inode));
    Look look{.facts = {.size = node.size(), .modified = node.modified()}};
    if (node.flags() & EXT4_INLINE_DATA_FL) {
      look.inline_data = true;
      return look;
    }
    FileMapping mapping{volume, node};
    if (!mapping.has_blocks() || node.is_directory()) return errno_error(EINVAL, "not a file with blocks");
    look.facts.limit = std::min<std::uint64_t>(mapping.limit() * block_size(), INT64_MAX);
    std::array<Run, kRunsPerVisit> found;
    TRY(count, mapping.runs(first, found));
    // Behind the last block that the mapping can address there is a hole as well.
    if (count == 0) found[count++] = {.logical = first, .length = std::max<std::uint64_t>(last - first, 1)};
    cache.remember(inode, look.facts, std::span{found}.first(count));
    for (std::size_t i = 0; i < count && look.runs < into.size() && found[i].logical < last; ++i)
      into[look.runs++] = found[i].part(found[i].logical, std::min(found[i].end(), last));
    return look;
  });
}

Result<void> FileData::State::zero_in_block(InodeNumber inode, std::uint64_t first, std::uint64_t last) {
  if (first >= last) return {};
  const LogicalBlock block = block_of(first);
  std::array<Run, 1> run;
  TRY(seen, look(inode, block, block + 1, run));
  if (seen.runs == 0 || run[0].state != RunState::written) return {};
  const disk::ByteOffset at = run[0].physical * block_size() + first % block_size();
  return volume.device().write(at, std::span{kZeros}.first(last - first));
}

Result<void> FileData::State::zero_block_tail(InodeNumber inode, std::uint64_t byte) {
  return zero_in_block(inode, byte, blocks_for(byte) * block_size());
}

Result<ExtentCache::Facts> FileData::State::facts(InodeNumber inode) {
  std::array<Run, 1> run;
  TRY(seen, look(inode, 0, 1, run));
  if (seen.inline_data) return errno_error(EOPNOTSUPP, "inline data");
  return seen.facts;
}

Result<void> FileData::State::set_size(Operation&, Inode& inode, std::uint64_t size) {
  ext2_super_block* super = volume.fs()->super;
  if (size > INT32_MAX && !ext2fs_has_feature_large_file(super)) {
    ext2fs_set_feature_large_file(super);
  }
  inode.set_size(size);
  return {};
}

void FileData::State::stamp(Inode& inode) noexcept {
  const Timestamp now = Timestamp::now();
  inode.set_modified(now);
  inode.set_changed(now);
}

void FileData::State::note_change(InodeNumber inode) noexcept {
  changed[inode % kEpochs].store(epoch.load(std::memory_order_relaxed), std::memory_order_relaxed);
}

}  // namespace worker::volume
