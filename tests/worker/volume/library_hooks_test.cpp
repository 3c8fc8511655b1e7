// What libext2fs does through its hooks, on images that lie to it.
#include <gtest/gtest.h>

#include "tests/support/fake_device.h"
#include "tests/worker/volume/file_fixture.h"
#include "worker/volume/allocator.h"
#include "worker/volume/names.h"

namespace worker::volume {
namespace {

constexpr std::uint32_t kBlockSize = 1024;

/// Where the inode lies in the image.
std::size_t place_of(ext2_filsys fs, InodeNumber inode) {
  const std::uint32_t group = (inode - 1) / fs->super->s_inodes_per_group;
  const std::uint32_t index = (inode - 1) % fs->super->s_inodes_per_group;
  return ext2fs_inode_table_loc(fs, group) * kBlockSize + std::size_t{index} * EXT2_INODE_SIZE(fs->super);
}

TEST(LibraryHooks, a_free_in_a_group_that_was_never_used_is_refused_and_leaves_it_unused) {
  const tests::Image image{"-t ext4 -b 1024 -O ^metadata_csum,uninit_bg,^has_journal", "64M"};
  std::vector<std::byte> bytes = tests::FakeDevice::contents_of(image.path());
  InodeNumber file = 0;
  std::size_t inode_place = 0;
  BlockNumber claimed = 0, bitmap = 0;
  std::uint32_t unused = 0;
  {
    tests::FakeDevice device{bytes};
    testing::Mounted volume{device};
    file = volume->names().create(kRootInode, "file", {.mode = S_IFREG | 0644})->inode;
    // More extents than the inode holds: they go into a block of their own.
    for (std::uint64_t i = 0; i < 10; ++i) volume.write(file, i * 2 * kBlockSize, testing::Bytes(kBlockSize));
    ext2_filsys fs = volume->fs();
    inode_place = place_of(fs, file);
    unused = fs->group_desc_count - 1;
    while (unused > 0 && !ext2fs_bg_flags_test(fs, unused, EXT2_BG_BLOCK_UNINIT)) --unused;
    ASSERT_GT(unused, 0U);
    claimed = ext2fs_group_first_block2(fs, unused) + 4000;
    bitmap = ext2fs_block_bitmap_loc(fs, unused);
    volume.close();
    bytes = device.bytes();
  }
  // The tree's block moves into that group, whose bitmap on the disk says that everything is in use.
  const auto leaf =
      inode_place + offsetof(ext2_inode, i_block) + sizeof(ext3_extent_header) + offsetof(ext3_extent_idx, ei_leaf);
  std::uint32_t old = 0;
  std::memcpy(&old, bytes.data() + leaf, sizeof old);
  std::memcpy(bytes.data() + claimed * kBlockSize, bytes.data() + std::size_t{old} * kBlockSize, kBlockSize);
  const auto there = static_cast<std::uint32_t>(claimed);
  std::memcpy(bytes.data() + leaf, &there, sizeof there);
  std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(bitmap * kBlockSize), kBlockSize, std::byte{0xFF});

  tests::FakeDevice device{bytes};
  testing::Mounted volume{device};
  ext2_filsys fs = volume->fs();
  const std::uint64_t free_before = ext2fs_free_blocks_count(fs->super);
  ASSERT_EQ(volume.read(file, 2 * kBlockSize, 10).size(), 10U);
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(testing::failure(volume.files().truncate(file, 0)), EUCLEAN);
  (void)::testing::internal::GetCapturedStderr();
  EXPECT_TRUE(ext2fs_bg_flags_test(fs, unused, EXT2_BG_BLOCK_UNINIT));
  EXPECT_TRUE(ext2fs_group_desc_csum_verify(fs, unused));
  EXPECT_EQ(ext2fs_free_blocks_count(fs->super), free_before);
  // The group is what it was: empty, and good for an allocation.
  const auto range =
      volume->mutate([&](Operation& operation) { return volume->allocator().allocate(operation, claimed + 10, 20); });
  ASSERT_TRUE(range.ok()) << range.error().message();
  EXPECT_EQ(range->first, claimed + 10);
  EXPECT_FALSE(ext2fs_bg_flags_test(fs, unused, EXT2_BG_BLOCK_UNINIT));
  volume.close();
}

}  // namespace
}  // namespace worker::volume
