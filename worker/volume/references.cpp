#include "worker/volume/references.h"

namespace worker::volume {

void References::lend(InodeNumber inode) {
  if (inode == kRootInode) return;
  Shard& shard = shards_[inode % kShards];
  const std::lock_guard lock{shard.mutex};
  ++shard.counts[inode];
}

bool References::give_back(InodeNumber inode, std::uint64_t count) {
  if (inode == kRootInode) return false;
  Shard& shard = shards_[inode % kShards];
  const std::lock_guard lock{shard.mutex};
  const auto found = shard.counts.find(inode);
  if (found == shard.counts.end()) return true;
  if (found->second > count) {
    found->second -= count;
    return false;
  }
  shard.counts.erase(found);
  return true;
}

bool References::lent(InodeNumber inode) const {
  const Shard& shard = shards_[inode % kShards];
  const std::lock_guard lock{shard.mutex};
  return shard.counts.contains(inode);
}

std::size_t References::size() const {
  std::size_t size = 0;
  for (const Shard& shard : shards_) {
    const std::lock_guard lock{shard.mutex};
    size += shard.counts.size();
  }
  return size;
}

}  // namespace worker::volume
