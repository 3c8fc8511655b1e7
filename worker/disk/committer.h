// The seam behind which operations become durable: home blocks in a safe order today, a journal where there is one.
#pragma once

#include <vector>

#include "worker/disk/block_cache.h"

namespace worker::disk {

/// Makes a batch of committed operations durable. Called by one thread at a time, without the mutator lock.
class Committer {
 public:
  virtual ~Committer() = default;

  /// On success everything in `blocks`, and all file data written before the call, is durable. After an error
  /// nothing more may be written to the volume.
  virtual Result<void> commit(const std::vector<FrozenBlock>& blocks) = 0;
};

}  // namespace worker::disk
