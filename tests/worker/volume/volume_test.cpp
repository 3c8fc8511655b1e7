#include "worker/volume/volume.h"

#include <gtest/gtest.h>

#include "tests/support/fake_device.h"
#include "tests/support/image.h"
#include "worker/volume/superblock.h"

namespace worker::volume {
namespace {

using disk::BlockKind;
using tests::Image;

/// Changes the root's modification time: a small operation that leaves the volume sound.
Result<void> touch_root(Volume& volume, std::uint32_t seconds) {
  return volume.mutate([&](Operation&) -> Result<void> {
    ext2_inode_large inode{};
    auto* raw = reinterpret_cast<ext2_inode*>(&inode);
    TRY_EXT2(ext2fs_read_inode_full(volume.fs(), kRootInode, raw, sizeof inode));
    inode.i_mtime = seconds;
    TRY_EXT2(ext2fs_write_inode_full(volume.fs(), kRootInode, raw, sizeof inode));
    return {};
  });
}

TEST(Volume, opens_changes_and_closes_an_image_that_e2fsck_likes) {
  const Image image;
  {
    const auto device = image.open();
    auto volume = Volume::open(*device, {});
    ASSERT_TRUE(volume.ok()) << volume.error().message();
    EXPECT_TRUE((*volume)->warnings().empty());
    ASSERT_TRUE((*volume)->start_writing().ok());
    EXPECT_EQ(image.header("Filesystem state"), "not clean");
    ASSERT_TRUE(touch_root(**volume, 1234567890).ok());
    const auto closed = (*volume)->close();
    ASSERT_TRUE(closed.ok()) << closed.error().message();
  }
  EXPECT_EQ(image.header("Filesystem state"), "clean");
  EXPECT_EQ(image.complaints(), "");
}

}  // namespace
}  // namespace worker::volume
