#include "worker/disk/io_manager.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/support/fake_device.h"

namespace worker::disk {
namespace {

using tests::FakeDevice;

constexpr std::uint32_t kSize = 4096;

class IoManagerTest : public ::testing::Test {
 protected:
  static std::vector<std::byte> counted() {
    std::vector<std::byte> bytes(kSize * 64);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i / 512);
    return bytes;
  }
  void SetUp() override {
    ASSERT_EQ(manager->open(io_name(cache).c_str(), 0, &channel), 0);
    ASSERT_EQ(manager->set_blksize(channel, kSize), 0);
  }
  void TearDown() override { EXPECT_EQ(manager->close(channel), 0); }

  FakeDevice device{counted()};
  BlockCache cache{device, kSize, 512};
  io_manager manager = cache_io_manager();
  io_channel channel = nullptr;
  std::vector<std::byte> buffer = std::vector<std::byte>(kSize * 64);
};

TEST_F(IoManagerTest, reads_blocks_byte_counts_and_the_superblock_at_its_own_block_size) {
  ASSERT_EQ(manager->read_blk64(channel, 3, 2, buffer.data()), 0);
  EXPECT_EQ(buffer[0], std::byte{24});
  EXPECT_EQ(buffer[2 * kSize - 1], std::byte{39});
  ASSERT_EQ(manager->read_blk(channel, 1, -600, buffer.data()), 0);
  EXPECT_EQ(buffer[0], std::byte{8});
  EXPECT_EQ(buffer[599], std::byte{9});

  ASSERT_EQ(manager->set_blksize(channel, 1024), 0);
  ASSERT_EQ(manager->read_blk64(channel, 1, -1024, buffer.data()), 0);
  EXPECT_EQ(buffer[0], std::byte{2});
  EXPECT_EQ(buffer[1023], std::byte{3});
}

TEST_F(IoManagerTest, a_long_read_takes_few_requests) {
  ASSERT_EQ(manager->read_blk64(channel, 0, 64, buffer.data()), 0);
  EXPECT_LE(device.count(FakeDevice::Kind::read), 6U);
  EXPECT_EQ(buffer, device.bytes());
}

TEST_F(IoManagerTest, writes_belong_to_the_running_operation) {
  EXPECT_EQ(manager->write_blk64(channel, 3, 1, buffer.data()), EXT2_ET_RO_FILSYS);
  EXPECT_EQ(manager->write_byte(channel, 3, 1, buffer.data()), EXT2_ET_RO_FILSYS);

  std::fill(buffer.begin(), buffer.end(), std::byte{0xAB});
  cache.begin_operation();
  EXPECT_EQ(manager->write_blk64(channel, 3, 1, buffer.data()), 0);
  EXPECT_EQ(manager->write_blk64(channel, 5, -10, buffer.data()), 0);
  EXPECT_EQ(manager->write_byte(channel, 6 * kSize + 4, 2, buffer.data()), 0);
  cache.commit_operation();
  EXPECT_EQ(device.count(FakeDevice::Kind::write), 0U);
  EXPECT_EQ((**cache.read(3))[kSize - 1], std::byte{0xAB});
  EXPECT_EQ((**cache.read(5))[9], std::byte{0xAB});
  EXPECT_EQ((**cache.read(5))[10], std::byte{40});
  EXPECT_EQ((**cache.read(6))[3], std::byte{48});
  EXPECT_EQ((**cache.read(6))[5], std::byte{0xAB});
  EXPECT_EQ((**cache.read(6))[6], std::byte{48});

  cache.begin_operation();
  EXPECT_EQ(manager->write_blk(channel, 9, 1, buffer.data()), 0);
  cache.roll_back_operation();
  EXPECT_EQ((**cache.read(9))[0], std::byte{72});
}

TEST_F(IoManagerTest, refuses_what_lies_outside) {
  EXPECT_NE(manager->read_blk64(channel, 64, 1, buffer.data()), 0);
  EXPECT_NE(manager->read_blk64(channel, 63, 2, buffer.data()), 0);
  EXPECT_NE(manager->read_blk64(channel, ~0ULL, 1, buffer.data()), 0);
  EXPECT_NE(manager->read_blk64(channel, 0x10000000000000ULL, 1, buffer.data()), 0);
  cache.begin_operation();
  EXPECT_NE(manager->write_blk64(channel, 64, 1, buffer.data()), 0);
  EXPECT_NE(manager->write_blk64(channel, ~0ULL, 1, buffer.data()), 0);
  cache.roll_back_operation();
}

TEST_F(IoManagerTest, refuses_foreign_names_options_and_block_sizes) {
  io_channel other = nullptr;
  EXPECT_NE(manager->open("/dev/sda", 0, &other), 0);
  EXPECT_NE(manager->open("block-cache:zz", 0, &other), 0);
  EXPECT_NE(manager->open("block-cache:12 ", 0, &other), 0);
  EXPECT_EQ(other, nullptr);
  EXPECT_NE(manager->set_option(channel, "offset", "4"), 0);
  for (const int size : {0, 512, 1025, 131072, -4096}) EXPECT_NE(manager->set_blksize(channel, size), 0);
}

TEST_F(IoManagerTest, tells_the_library_what_went_wrong) {
  device.fail(FakeDevice::Kind::read, 0, EIO, true);
  EXPECT_EQ(manager->read_blk64(channel, 3, 1, buffer.data()), EIO);
}

TEST_F(IoManagerTest, serves_two_volumes_at_once) {
  FakeDevice other_device{std::vector<std::byte>(kSize * 8, std::byte{0x77})};
  BlockCache other_cache{other_device, kSize, 8};
  io_channel other = nullptr;
  ASSERT_EQ(manager->open(io_name(other_cache).c_str(), 0, &other), 0);
  ASSERT_EQ(manager->set_blksize(other, kSize), 0);
  ASSERT_EQ(manager->read_blk64(other, 3, 1, buffer.data()), 0);
  EXPECT_EQ(buffer[0], std::byte{0x77});
  ASSERT_EQ(manager->read_blk64(channel, 3, 1, buffer.data()), 0);
  EXPECT_EQ(buffer[0], std::byte{24});
  EXPECT_EQ(manager->close(other), 0);
}

}  // namespace
}  // namespace worker::disk
