// How often the kernel knows each inode: its lookup counts.
#pragma once

#include <array>
#include <cstddef>
#include <mutex>
#include <unordered_map>

#include "worker/volume/types.h"

namespace worker::volume {

/// Counts what LOOKUP and its kin lend the kernel and FORGET returns. Any thread. The root is never counted.
/// An inode with link count 0 may be freed when its count reaches 0; the deciding looks happen under the mutator lock.
class References {
 public:
  void lend(InodeNumber inode);
  /// True when none is left. More than was lent counts as all of it: the number comes from the kernel. False for the
  /// root.
  bool give_back(InodeNumber inode, std::uint64_t count);
  bool lent(InodeNumber inode) const;
  std::size_t size() const;  ///< inodes with a count

 private:
  struct Shard {
    mutable std::mutex mutex;
    std::unordered_map<InodeNumber, std::uint64_t> counts;
  };
  static constexpr std::size_t kShards = 16;
  std::array<Shard, kShards> shards_;
};

}  // namespace worker::volume
