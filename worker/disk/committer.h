// The seam behind which operations become durable: home blocks in a safe order, or a journal where there is one.
#pragma once

#include <cstddef>
#include <vector>

#include "worker/disk/block_cache.h"

namespace worker::disk {

/// Consecutive blocks of the volume.
struct BlockRun {
  BlockNumber first = 0;
  std::uint64_t count = 0;
};

/// What the operations since the last commit amount to. A block stands in `blocks` at most once, and not at all if an
/// operation of the batch freed it: freed blocks are not given out again before the batch is durable.
struct Batch {
  std::vector<FrozenBlock> blocks = {};
  std::vector<BlockRun> freed = {};
};

/// Makes batches durable. Called by one thread at a time, without the mutator lock.
class Committer {
 public:
  virtual ~Committer() = default;

  /// On success everything in the batch, and all file data written before the call, is durable. After an error nothing
  /// more may be written to the volume.
  virtual Result<void> commit(const Batch& batch) = 0;

  /// A batch may not have more blocks than this.
  virtual std::size_t most_blocks() const noexcept = 0;
};

}  // namespace worker::disk
