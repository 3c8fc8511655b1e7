// Files without a name, and volumes that a killed worker left behind.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "tests/support/image.h"
#include "tests/worker/volume/writable_volume.h"
#include "worker/volume/file_data.h"
#include "worker/volume/names.h"
#include "worker/volume/orphans.h"
#include "worker/volume/references.h"

namespace tests {

/// A file in the root directory, held as the kernel would hold it.
inline worker::volume::InodeNumber make_file(worker::volume::Volume& volume, const std::string& name,
                                             std::size_t bytes = 0) {
  const auto made = volume.names().create(worker::volume::kRootInode, name, {.mode = S_IFREG | 0644});
  EXPECT_TRUE(made.ok()) << made.error().message();
  if (bytes > 0) {
    const std::vector<std::byte> data(bytes, std::byte{'x'});
    EXPECT_TRUE(volume.files().write(made->inode, 0, data, {}).ok());
  }
  return made->inode;
}

/// A file without a name that is still held.
inline worker::volume::InodeNumber make_orphan(worker::volume::Volume& volume, std::size_t bytes = 0) {
  const auto inode = make_file(volume, "gone", bytes);
  EXPECT_TRUE(volume.names().unlink(worker::volume::kRootInode, "gone").ok());
  return inode;
}

/// Nobody holds it any more.
inline void forget(worker::volume::Volume& volume, worker::volume::InodeNumber inode) {
  EXPECT_TRUE(volume.references().give_back(inode, 1));
  const auto released = volume.orphans().release(inode);
  EXPECT_TRUE(released.ok()) << released.error().message();
}

struct Space {
  std::uint64_t blocks, inodes;
  bool operator==(const Space&) const = default;
};
inline Space free_space(worker::volume::Volume& volume) {
  const worker::volume::SpaceUsage usage = volume.space();
  return {usage.free_blocks, usage.free_inodes};
}

/// Leaves a volume behind as a killed worker would: synced, not closed.
template <typename Work>
void crash_after(const Image& image, Work work) {
  WritableVolume volume{image};
  work(*volume);
  ASSERT_TRUE(volume->sync().ok());
}

}  // namespace tests
