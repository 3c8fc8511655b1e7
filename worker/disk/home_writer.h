// Blocks that go straight to their places on the volume.
#pragma once

#include <span>

#include "worker/disk/committer.h"

namespace worker::disk {

/// Writes the blocks in the order given, neighbours of one kind in one request of at most 1 MiB. Nothing is flushed.
Result<void> write_home(BlockDevice& device, std::uint32_t block_size, std::span<const FrozenBlock> blocks);

/// The committer of a volume without a journal, and of the states before a journal's first and after its last commit.
/// Writes frozen blocks home in the order given (kind, then number), then flushes once. A crash in between leaves a
/// volume that e2fsck repairs without loss of what earlier commits made durable; atomic it is not.
class HomeWriter final : public Committer {
 public:
  HomeWriter(BlockDevice& device, std::uint32_t block_size) : device_{device}, block_size_{block_size} {}

  Result<void> commit(const Batch& batch) override;
  std::size_t most_blocks() const noexcept override { return SIZE_MAX; }

 private:
  BlockDevice& device_;
  std::uint32_t block_size_;
};

}  // namespace worker::disk
