#include "worker/disk/home_writer.h"

#include <gtest/gtest.h>

#include "tests/support/fake_device.h"

namespace worker::disk {
namespace {

using tests::FakeDevice;

constexpr std::uint32_t kSize = 1024;

FrozenBlock block(BlockNumber number, BlockKind kind) {
  return {number, kind, std::make_shared<const std::vector<std::byte>>(kSize, static_cast<std::byte>(number))};
}

class HomeWriterTest : public ::testing::Test {
 protected:
  FakeDevice device{std::size_t{kSize} * 4096};
  HomeWriter writer{device, kSize};
};

TEST_F(HomeWriterTest, writes_in_the_order_given_merges_neighbours_of_one_kind_and_flushes_once) {
  ASSERT_TRUE(
      writer
          .commit({.blocks = {block(4, BlockKind::allocation), block(9, BlockKind::inode), block(10, BlockKind::inode),
                              block(11, BlockKind::inode), block(12, BlockKind::directory),
                              block(1, BlockKind::superblock)}})
          .ok());
  std::vector<std::pair<ByteOffset, std::uint64_t>> writes;
  std::size_t flushes = 0;
  for (const auto& record : device.records()) {
    if (record.kind == FakeDevice::Kind::flush)
      ++flushes;
    else
      writes.emplace_back(record.offset / kSize, record.length / kSize);
  }
  EXPECT_EQ(writes, (std::vector<std::pair<ByteOffset, std::uint64_t>>{{4, 1}, {9, 3}, {12, 1}, {1, 1}}));
  EXPECT_EQ(flushes, 1U);
  EXPECT_EQ(device.records().back().kind, FakeDevice::Kind::flush);
  for (const BlockNumber number : {1, 4, 9, 10, 11, 12})
    EXPECT_EQ(device.bytes()[number * kSize + 5], static_cast<std::byte>(number));
}

TEST_F(HomeWriterTest, bounds_the_length_of_one_write) {
  std::vector<FrozenBlock> many;
  for (BlockNumber number = 0; number < 3000; ++number) many.push_back(block(number, BlockKind::inode));
  ASSERT_TRUE(writer.commit({.blocks = many}).ok());
  EXPECT_EQ(device.count(FakeDevice::Kind::write), 3U);
  for (const auto& record : device.records()) EXPECT_LE(record.length, 1U << 20);
}

TEST_F(HomeWriterTest, flushes_even_if_no_block_is_dirty_since_file_data_may_be) {
  ASSERT_TRUE(writer.commit({}).ok());
  EXPECT_EQ(device.count(FakeDevice::Kind::flush), 1U);
}

TEST_F(HomeWriterTest, stops_at_the_first_failed_write_and_tells_of_a_failed_flush) {
  device.fail(FakeDevice::Kind::write, 1);
  EXPECT_FALSE(
      writer
          .commit({.blocks = {block(1, BlockKind::inode), block(3, BlockKind::inode), block(5, BlockKind::inode)}})
          .ok());
  EXPECT_EQ(device.count(FakeDevice::Kind::write), 2U);
  EXPECT_EQ(device.count(FakeDevice::Kind::flush), 0U);
  device.heal();
  device.fail(FakeDevice::Kind::flush, 0);
  EXPECT_FALSE(writer.commit({.blocks = {block(1, BlockKind::inode)}}).ok());
}

}  // namespace
}  // namespace worker::disk
