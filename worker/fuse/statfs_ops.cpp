// The volume as a whole: STATFS, SYNCFS.
#include <sys/statvfs.h>

#include "worker/fuse/answer.h"
#include "worker/fuse/operations.h"

namespace worker::fuse::ops {

void volume_usage(fuse_req_t request, fuse_ino_t) noexcept {
  const volume::SpaceUsage space = Request{request}.volume().space();
  struct statvfs usage {};
  usage.f_bsize = space.block_size;
  usage.f_frsize = space.block_size;
  usage.f_blocks = space.blocks;
  usage.f_bfree = space.free_blocks;
  usage.f_bavail = space.available_blocks;
  usage.f_files = space.inodes;
  usage.f_ffree = space.free_inodes;
  usage.f_favail = space.free_inodes;
  usage.f_namemax = 255;
  fuse_reply_statfs(request, &usage);
}

void sync_volume(const Request& request, const Incoming&) {
  answer(request, [](Volume& volume) { return volume.sync(); });
}

}  // namespace worker::fuse::ops
