#include "worker/volume/file_data.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "worker/disk/ext2_errors.h"
#include "worker/volume/file_state.h"

namespace worker::volume {
namespace {

/// Runs looked up at a time; on the stack.
constexpr std::size_t kRunsPerLook = 32;

/// Small files whose content lies in the inode. Volumes that have them are read-only.
Result<std::size_t> read_inline(Volume& volume, InodeNumber inode, std::uint64_t offset, std::span<std::byte> into) {
  return volume.inspect([&]() -> Result<std::size_t> {
    TRY(node, volume.inodes().read(inode));
    std::size_t stored = 0;
    auto* raw = reinterpret_cast<ext2_inode*>(&node.raw);
    TRY_EXT2(ext2fs_inline_data_size(volume.fs(), inode, &stored));
    std::vector<std::byte> content(std::max<std::size_t>(stored, sizeof(node.raw.i_block)));
    TRY_EXT2(ext2fs_inline_data_get(volume.fs(), inode, raw, content.data(), &stored));
    const std::uint64_t size = node.size();
    if (offset >= size) return std::size_t{0};
    const std::size_t count = std::min<std::uint64_t>(into.size(), size - offset);
    std::fill_n(into.begin(), count, std::byte{0});
    if (offset < stored)
      std::memcpy(into.data(), content.data() + offset, std::min<std::size_t>(count, stored - offset));
    return count;
  });
}

}  // namespace

FileData::FileData(Volume& volume) : state_{std::make_unique<State>(volume)} {}
FileData::~FileData() = default;

Result<std::size_t> FileData::read(InodeNumber inode, std::uint64_t offset, std::span<std::byte> into) {
  State& state = *state_;
  const std::uint32_t block_size = state.block_size();
  if (offset > INT64_MAX) return std::size_t{0};
  into = into.first(std::min<std::uint64_t>(into.size(), INT64_MAX - offset));
  const std::shared_lock transfer{state.gate(inode).transfer};
  std::array<Run, kRunsPerLook> runs;
  std::size_t done = 0;
  while (done < into.size()) {
    const std::uint64_t position = offset + done;
    const std::uint64_t wanted_end = position + (into.size() - done);
    TRY(look, state.look(inode, state.block_of(position), state.blocks_for(wanted_end), runs));
    if (look.inline_data) return read_inline(state.volume, inode, offset, into);
    const std::uint64_t end = std::min(wanted_end, look.facts.size);
    if (position >= end) break;
    for (const Run& run : std::span{runs}.first(look.runs)) {
      const std::uint64_t from = offset + done;
      const std::uint64_t to = std::min<std::uint64_t>(run.end() * block_size, end);
      if (from >= to) break;
      const auto part = into.subspan(done, to - from);
      if (run.state == RunState::written) {
        TRY(state.volume.device().read(run.physical * block_size + (from - run.logical * block_size), part));
      } else {
        std::fill(part.begin(), part.end(), std::byte{0});
      }
      done += part.size();
    }
  }
  return done;
}

Result<std::uint64_t> FileData::seek(InodeNumber inode, std::uint64_t offset, int whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return errno_error(EINVAL);
  if (offset > INT64_MAX) return errno_error(ENXIO);
  State& state = *state_;
  const std::uint32_t block_size = state.block_size();
  std::array<Run, kRunsPerLook> runs;
  std::uint64_t position = offset;
  for (;;) {
    TRY(look, state.look(inode, state.block_of(position), UINT64_MAX, runs));
    const std::uint64_t size = look.facts.size;
    if (offset >= size) return errno_error(ENXIO);
    if (look.inline_data) return whence == SEEK_DATA ? offset : size;
    for (const Run& run : std::span{runs}.first(look.runs)) {
      if (position >= size) break;
      if ((run.state == RunState::written) == (whence == SEEK_DATA)) return position;
      position = run.end() > size / block_size ? size : run.end() * block_size;
    }
    if (position < size) continue;
    // The end of a file counts as a hole.
    if (whence == SEEK_HOLE) return size;
    return errno_error(ENXIO);
  }
}

Result<void> FileData::sync(InodeNumber inode, bool data_only) {
  State& state = *state_;
  if (data_only && !state.volume.read_only() &&
      state.changed[inode % State::kEpochs].load() <= state.durable_epoch.load())
    return state.volume.device().flush();
  // Under the mutator lock: an operation is either over, and so part of the commit, or in the next epoch.
  const std::uint64_t epoch = state.volume.inspect([&] { return state.epoch.fetch_add(1); });
  TRY(state.volume.sync());
  std::uint64_t durable = state.durable_epoch.load();
  while (durable < epoch && !state.durable_epoch.compare_exchange_weak(durable, epoch)) {
  }
  return {};
}

void FileData::forget(InodeNumber inode) {
  state_->note_change(inode);
  state_->cache.drop(inode);
}

}  // namespace worker::volume
