// The committer of a volume without a journal: blocks go straight home.
#pragma once

#include "worker/disk/committer.h"

namespace worker::disk {

/// Writes frozen blocks to their places, in the order given (kind, then number), then flushes once. A crash in between
/// leaves a volume that e2fsck repairs without loss of what earlier commits made durable; atomic it is not.
class HomeWriter final : public Committer {
 public:
  explicit HomeWriter(BlockDevice& device, std::uint32_t block_size) : device_{device}, block_size_{block_size} {}

  Result<void> commit(const std::vector<FrozenBlock>& blocks) override;

 private:
  BlockDevice& device_;
  std::uint32_t block_size_;
  std::vector<std::byte> run_;  ///< where neighbours are put together for one write; kept to be allocated once
};

}  // namespace worker::disk
