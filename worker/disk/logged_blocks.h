// Which blocks have copies in the live part of the log, and the newest of each.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <span>
#include <vector>

#include "worker/disk/committer.h"

namespace worker::disk {

/// The newest durable version of every block that the live log holds: what a recovery would write, and what the device
/// is still owed. Any thread may look; only the committing thread changes it.
class LoggedBlocks {
 public:
  /// The version that readers must see instead of the device's; null if the device has it.
  Contents find(BlockNumber number) const;

  std::size_t size() const;

  /// Those of the freed blocks that a recovery would bring back: each needs a revoke record. In rising order.
  std::vector<BlockNumber> within(std::span<const BlockRun> freed) const;

  /// All of them, in rising order of number, for writing home.
  std::vector<FrozenBlock> all() const;

  /// A batch is durable: its blocks are the newest versions, and nothing is owed for what it freed.
  void committed(const Batch& batch);

  /// Everything lies at home, and the log does not reach back to it any more.
  void clear();

 private:
  mutable std::mutex mutex_;
  std::map<BlockNumber, Contents> newest_;  ///< guarded by mutex_
};

}  // namespace worker::disk
