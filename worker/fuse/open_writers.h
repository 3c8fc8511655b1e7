// Which files somebody has open for writing.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "worker/volume/types.h"

namespace worker::fuse {

/// Counts OPENs for writing against their RELEASEs. As long as there is one, the kernel may hold written pages of the
/// file that we have not seen: it sends them before the last RELEASE at the latest. Any thread.
class OpenWriters {
 public:
  /// Counts an open file if its open(2) `flags` allow writing.
  void opened(volume::InodeNumber inode, std::uint32_t flags);
  void released(volume::InodeNumber inode, std::uint32_t flags);

  /// True when nobody has the file open for writing, or ceases to within `patience`.
  bool none(volume::InodeNumber inode, std::chrono::milliseconds patience);

 private:
  struct Shard {
    std::mutex mutex;
    std::condition_variable changed;
    std::unordered_map<volume::InodeNumber, std::uint64_t> counts;
  };
  Shard& shard(volume::InodeNumber inode) noexcept { return shards_[inode % shards_.size()]; }
  std::array<Shard, 16> shards_;
};

}  // namespace worker::fuse
