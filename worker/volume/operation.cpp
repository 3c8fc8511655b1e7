#include "worker/volume/operation.h"

#include <algorithm>
#include <cstring>
#include <ranges>

#include "worker/volume/superblock.h"
#include "worker/volume/volume.h"

namespace worker::volume {

Operation::Operation(Volume& volume) : volume_{volume}, super_{*volume.fs()->super} {
  volume_.cache().begin_operation();
  volume_.running_operation_ = this;
}

Operation::~Operation() {
  if (running_) roll_back();
}

Result<std::span<std::byte>> Operation::modify(BlockNumber number, disk::BlockKind kind) {
  return volume_.cache().modify(number, kind);
}

std::span<std::byte> Operation::create(BlockNumber number, disk::BlockKind kind) {
  return volume_.cache().create(number, kind);
}

void Operation::forget(BlockNumber first, std::uint64_t count) { volume_.cache().forget(first, count); }

void Operation::touch_group(std::uint32_t group) {
  if (std::ranges::any_of(groups_, [group](const SavedGroup& saved) { return saved.group == group; })) return;
  const auto bytes = volume_.superblock().descriptor(group);
  groups_.push_back({group, descriptors_.size()});
  descriptors_.insert(descriptors_.end(), bytes.begin(), bytes.end());
}

std::size_t Operation::touched_blocks() const noexcept {
  return volume_.cache().operation_blocks() + groups_.size() + 1;
}

void Operation::commit() noexcept {
  volume_.cache().commit_operation();
  for (const SavedGroup& saved : groups_) volume_.superblock().mark_group(saved.group);
  running_ = false;
  volume_.running_operation_ = nullptr;
  for (const auto& done : done_) done();
}

void Operation::roll_back() {
  running_ = false;
  volume_.running_operation_ = nullptr;
  volume_.cache().roll_back_operation();
  *volume_.fs()->super = super_;
  for (const SavedGroup& saved : groups_) {
    const auto bytes = volume_.superblock().descriptor(saved.group);
    std::memcpy(bytes.data(), descriptors_.data() + saved.at, bytes.size());
  }
  // The library keeps a raw block of the inode table and a few inodes of its own.
  ext2fs_flush_icache(volume_.fs());
  for (const auto& undo : std::views::reverse(undo_)) undo();
}

}  // namespace worker::volume
