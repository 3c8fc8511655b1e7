#include "worker/fuse/open_writers.h"

#include <fcntl.h>

namespace worker::fuse {

namespace {

bool writes(std::uint32_t flags) noexcept { return (flags & O_ACCMODE) != O_RDONLY; }

}  // namespace

void OpenWriters::opened(volume::InodeNumber inode, std::uint32_t flags) {
  if (!writes(flags)) return;
  Shard& in = shard(inode);
  const std::lock_guard lock{in.mutex};
  ++in.counts[inode];
}

void OpenWriters::released(volume::InodeNumber inode, std::uint32_t flags) {
  if (!writes(flags)) return;
  Shard& in = shard(inode);
  const std::lock_guard lock{in.mutex};
  const auto found = in.counts.find(inode);
  if (found == in.counts.end() || --found->second != 0) return;
  in.counts.erase(found);
  in.changed.notify_all();
}

bool OpenWriters::none(volume::InodeNumber inode, std::chrono::milliseconds patience) {
  Shard& in = shard(inode);
  std::unique_lock lock{in.mutex};
  return in.changed.wait_for(lock, patience, [&] { return !in.counts.contains(inode); });
}

}  // namespace worker::fuse
