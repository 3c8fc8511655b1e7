#include "worker/volume/operation.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/support/fake_device.h"
#include "tests/support/image.h"
#include "worker/volume/superblock.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

using disk::BlockKind;
using tests::FakeDevice;

class OperationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = Volume::open(device, {});
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    volume = std::move(opened).value();
    ASSERT_TRUE(volume->start_writing().ok());
    ASSERT_TRUE(volume->sync().ok());
  }
  std::vector<std::byte> descriptors() {
    const auto* start = reinterpret_cast<const std::byte*>(volume->fs()->group_desc);
    return {start, start + volume->fs()->desc_blocks * volume->fs()->blocksize};
  }

  const tests::Image image{"-t ext4 -b 1024 -O ^has_journal", "32M"};
  FakeDevice device{FakeDevice::contents_of(image.path())};
  std::unique_ptr<Volume> volume;
};

TEST_F(OperationTest, a_failed_one_leaves_no_trace_in_memory_nor_on_the_device) {
  const auto super = *volume->fs()->super;
  const auto before = descriptors();
  const auto bytes = device.bytes();
  ext2_inode root{};
  ASSERT_EQ(ext2fs_read_inode(volume->fs(), kRootInode, &root), 0);

  const auto outcome = volume->mutate([&](Operation& operation) -> Result<void> {
    operation.touch_group(0);
    operation.touch_group(1);
    operation.touch_group(0);
    ext2fs_bg_free_blocks_count_set(volume->fs(), 0, 1);
    ext2fs_bg_free_inodes_count_set(volume->fs(), 1, 1);
    volume->fs()->super->s_free_inodes_count = 1;
    volume->fs()->super->s_last_orphan = 99;
    ext2_inode changed = root;
    changed.i_mode = 0;
    TRY_EXT2(ext2fs_write_inode(volume->fs(), kRootInode, &changed));
    TRY(block, operation.modify(20, BlockKind::directory));
    block[0] = std::byte{0xFF};
    operation.create(5000, BlockKind::inode)[0] = std::byte{0xFF};
    return errno_error(ENOSPC);
  });

  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(disk::error_number(outcome.error().code), ENOSPC);
  EXPECT_EQ(std::memcmp(volume->fs()->super, &super, sizeof super), 0);
  EXPECT_EQ(descriptors(), before);
  ext2_inode after{};
  ASSERT_EQ(ext2fs_read_inode(volume->fs(), kRootInode, &after), 0);
  EXPECT_EQ(after.i_mode, root.i_mode);
  EXPECT_EQ(volume->cache().dirty_blocks(), 0U);
  ASSERT_TRUE(volume->sync().ok());
  EXPECT_EQ(device.bytes(), bytes);
}

TEST_F(OperationTest, hooks_run_in_order_on_success_and_in_reverse_on_failure) {
  std::string order;
  const auto run = [&](bool succeed) {
    order.clear();
    (void)volume->mutate([&](Operation& operation) -> Result<void> {
      operation.on_commit([&] { order += "a"; });
      operation.on_roll_back([&] { order += "x"; });
      operation.on_commit([&] { order += "b"; });
      operation.on_roll_back([&] { order += "y"; });
      if (succeed) return {};
      return errno_error(EIO);
    });
    return order;
  };
  EXPECT_EQ(run(true), "ab");
  EXPECT_EQ(run(false), "yx");
}

TEST_F(OperationTest, an_exception_passes_and_undoes_it) {
  const auto super = *volume->fs()->super;
  EXPECT_THROW((void)volume->mutate([&](Operation&) -> Result<void> {
    volume->fs()->super->s_last_orphan = 7;
    throw std::bad_alloc{};
  }),
               std::bad_alloc);
  EXPECT_EQ(std::memcmp(volume->fs()->super, &super, sizeof super), 0);
  EXPECT_TRUE(volume->mutate([](Operation&) -> Result<int> { return 5; }).ok());
}

TEST_F(OperationTest, changed_descriptors_go_home_with_their_checksum_and_nothing_else_does) {
  device.forget_records();
  ASSERT_TRUE(volume
                  ->mutate([&](Operation& operation) -> Result<void> {
                    operation.touch_group(2);
                    ext2fs_bg_itable_unused_set(volume->fs(), 2, 5);
                    return {};
                  })
                  .ok());
  ASSERT_TRUE(volume->sync().ok());
  std::size_t writes = 0;
  for (const auto& record : device.records()) {
    if (record.kind != FakeDevice::Kind::write) continue;
    ++writes;
    EXPECT_EQ(record.offset / 1024, ext2fs_descriptor_block_loc2(volume->fs(), 1, 0));
    EXPECT_EQ(record.length, 1024U);
  }
  EXPECT_EQ(writes, 1U);
  EXPECT_EQ(ext2fs_group_desc_csum_verify(volume->fs(), 2), 1);
}

}  // namespace
}  // namespace worker::volume
