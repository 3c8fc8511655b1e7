#include "worker/disk/block_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "tests/support/fake_device.h"
#include "worker/disk/ext2_errors.h"

namespace worker::disk {
namespace {

using tests::FakeDevice;

constexpr std::uint32_t kSize = 1024;
constexpr std::size_t kBlocks = 256;

/// A cache over a device in which block n is filled with the byte n.
class BlockCacheTest : public ::testing::Test {
 protected:
  static std::vector<std::byte> numbered() {
    std::vector<std::byte> bytes(kSize * kBlocks);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i / kSize);
    return bytes;
  }

  FakeDevice device{numbered()};
  BlockCache cache{device, kSize, 32};

  std::byte first(BlockNumber number) {
    auto contents = cache.read(number);
    return contents.ok() ? (**contents)[0] : std::byte{0xEE};
  }
  void set(BlockNumber number, int value, BlockKind kind = BlockKind::inode) {
    auto bytes = cache.modify(number, kind);
    ASSERT_TRUE(bytes.ok());
    std::fill(bytes->begin(), bytes->end(), static_cast<std::byte>(value));
  }
  void change(BlockNumber number, int value, BlockKind kind = BlockKind::inode) {
    cache.begin_operation();
    set(number, value, kind);
    cache.commit_operation();
  }
  void write_home(const std::vector<FrozenBlock>& frozen) {
    for (const auto& block : frozen) ASSERT_TRUE(device.write(block.number * kSize, *block.contents).ok());
  }
};

TEST_F(BlockCacheTest, reads_each_block_once) {
  EXPECT_EQ(first(7), std::byte{7});
  EXPECT_EQ(first(7), std::byte{7});
  EXPECT_EQ(device.count(FakeDevice::Kind::read), 1U);
}

TEST_F(BlockCacheTest, a_rolled_back_operation_leaves_no_trace) {
  change(3, 0x33);
  cache.begin_operation();
  set(3, 0x99, BlockKind::directory);
  set(4, 0x99);
  cache.create(5, BlockKind::inode)[0] = std::byte{0x99};
  cache.forget(6, 1);
  cache.forget(3, 1);
  cache.roll_back_operation();

  EXPECT_EQ(first(3), std::byte{0x33});
  for (const BlockNumber number : {4, 5, 6}) EXPECT_EQ(first(number), static_cast<std::byte>(number));
  EXPECT_EQ(cache.dirty_blocks(), 1U);
  const auto frozen = cache.freeze();
  ASSERT_EQ(frozen.size(), 1U);
  EXPECT_EQ(frozen[0].number, 3U);
  EXPECT_EQ(frozen[0].kind, BlockKind::inode);
}

TEST_F(BlockCacheTest, the_operation_sees_its_own_version_and_other_threads_the_last_one) {
  cache.begin_operation();
  set(9, 0x11);
  EXPECT_EQ(first(9), std::byte{0x11});
  std::byte seen{};
  std::thread{[&] { seen = first(9); }}.join();
  EXPECT_EQ(seen, std::byte{9});
  cache.commit_operation();
  std::thread{[&] { seen = first(9); }}.join();
  EXPECT_EQ(seen, std::byte{0x11});
}

TEST_F(BlockCacheTest, a_version_held_by_a_reader_never_changes) {
  const auto held = cache.read(9);
  ASSERT_TRUE(held.ok());
  change(9, 0x11);
  change(9, 0x12);
  EXPECT_EQ((**held)[0], std::byte{9});
}

TEST_F(BlockCacheTest, modify_gives_the_same_bytes_throughout_an_operation) {
  cache.begin_operation();
  auto once = cache.modify(2, BlockKind::inode);
  ASSERT_TRUE(once.ok());
  (*once)[0] = std::byte{1};
  const auto held = cache.read(2);
  auto twice = cache.modify(2, BlockKind::inode);
  ASSERT_TRUE(twice.ok());
  EXPECT_EQ(once->data(), twice->data());
  (*once)[1] = std::byte{0x55};
  EXPECT_EQ((**held)[0], std::byte{1});
  EXPECT_NE((**held)[1], (*once)[1]) << "what was read must not change";
  cache.commit_operation();
  EXPECT_EQ((**cache.read(2))[0], std::byte{1});
  EXPECT_EQ((**cache.read(2))[1], std::byte{0x55});
}

TEST_F(BlockCacheTest, create_reads_nothing_and_starts_from_zeros) {
  cache.begin_operation();
  cache.create(12, BlockKind::inode)[1] = std::byte{1};
  const auto bytes = cache.create(12, BlockKind::inode);
  EXPECT_EQ(bytes[1], std::byte{0});
  cache.commit_operation();
  EXPECT_EQ(first(12), std::byte{0});
  EXPECT_EQ(device.count(FakeDevice::Kind::read), 0U);
}

TEST_F(BlockCacheTest, a_frozen_version_is_not_touched_by_later_operations) {
  change(1, 0x21);
  const auto frozen = cache.freeze();
  EXPECT_EQ(cache.dirty_blocks(), 0U);
  change(1, 0x22);
  ASSERT_EQ(frozen.size(), 1U);
  EXPECT_EQ((*frozen[0].contents)[0], std::byte{0x21});
  write_home(frozen);
  cache.settle(frozen, true);
  EXPECT_EQ(cache.dirty_blocks(), 1U);
  EXPECT_EQ(first(1), std::byte{0x22});
  const auto next = cache.freeze();
  ASSERT_EQ(next.size(), 1U);
  EXPECT_EQ((*next[0].contents)[0], std::byte{0x22});
}

TEST_F(BlockCacheTest, what_could_not_be_written_stays_dirty) {
  change(1, 0x21);
  change(2, 0x31);
  const auto frozen = cache.freeze();
  change(2, 0x32);
  cache.settle(frozen, false);
  EXPECT_EQ(cache.dirty_blocks(), 2U);
  const auto again = cache.freeze();
  ASSERT_EQ(again.size(), 2U);
  EXPECT_EQ((*again[0].contents)[0], std::byte{0x21});
  EXPECT_EQ((*again[1].contents)[0], std::byte{0x32});
}

TEST_F(BlockCacheTest, freezes_in_order_of_kind_then_number) {
  change(8, 1, BlockKind::superblock);
  change(7, 1, BlockKind::directory);
  change(6, 1, BlockKind::inode);
  change(9, 1, BlockKind::allocation);
  change(5, 1, BlockKind::inode);
  std::vector<BlockNumber> order;
  for (const auto& block : cache.freeze()) order.push_back(block.number);
  EXPECT_EQ(order, (std::vector<BlockNumber>{9, 5, 6, 7, 8}));
}

TEST_F(BlockCacheTest, freezes_created_directory_blocks_before_changed_ones) {
  change(3, 1, BlockKind::directory);
  cache.begin_operation();
  for (const BlockNumber number : {9, 8}) cache.create(number, BlockKind::directory);
  cache.commit_operation();
  change(9, 2, BlockKind::directory);
  change(20, 1, BlockKind::inode);
  std::vector<BlockNumber> order;
  auto frozen = cache.freeze();
  for (const auto& block : frozen) order.push_back(block.number);
  EXPECT_EQ(order, (std::vector<BlockNumber>{20, 8, 9, 3}));
  cache.settle(frozen, true);
  change(9, 3, BlockKind::directory);
  change(3, 3, BlockKind::directory);
  EXPECT_EQ(cache.freeze()[0].number, 3U);
}

TEST_F(BlockCacheTest, of_several_kinds_the_last_in_order_counts_until_the_block_is_clean) {
  change(7, 1, BlockKind::directory);
  change(7, 2, BlockKind::inode);
  auto frozen = cache.freeze();
  EXPECT_EQ(frozen[0].kind, BlockKind::directory);
  cache.settle(frozen, true);
  change(7, 2, BlockKind::inode);
  EXPECT_EQ(cache.freeze()[0].kind, BlockKind::inode);
}

TEST_F(BlockCacheTest, a_forgotten_block_is_not_owed_any_more) {
  change(7, 1);
  change(8, 1);
  cache.begin_operation();
  cache.forget(7, 1);
  cache.commit_operation();
  const auto frozen = cache.freeze();
  ASSERT_EQ(frozen.size(), 1U);
  EXPECT_EQ(frozen[0].number, 8U);
}

TEST_F(BlockCacheTest, forgetting_a_long_range_finds_what_is_cached_in_it) {
  for (BlockNumber number = 10; number < 20; ++number) change(number, 1);
  cache.begin_operation();
  cache.forget(12, kBlocks - 12);
  cache.commit_operation();
  EXPECT_EQ(cache.freeze().size(), 2U);
}

TEST_F(BlockCacheTest, a_block_forgotten_and_made_anew_in_one_operation_is_kept) {
  change(7, 1);
  cache.begin_operation();
  cache.forget(7, 1);
  cache.create(7, BlockKind::directory)[0] = std::byte{0x77};
  cache.commit_operation();
  EXPECT_EQ(first(7), std::byte{0x77});
  EXPECT_EQ(cache.freeze().size(), 1U);
}

TEST_F(BlockCacheTest, a_block_forgotten_during_a_failed_commit_does_not_come_back) {
  change(7, 1);
  const auto frozen = cache.freeze();
  cache.begin_operation();
  cache.forget(7, 1);
  cache.commit_operation();
  cache.settle(frozen, false);
  EXPECT_EQ(cache.dirty_blocks(), 0U);
}

TEST_F(BlockCacheTest, keeps_no_more_clean_blocks_than_it_may) {
  for (BlockNumber number = 0; number < kBlocks; ++number) ASSERT_EQ(first(number), static_cast<std::byte>(number));
  EXPECT_EQ(cache.clean_blocks(), 32U);
  for (BlockNumber number = 0; number < 100; ++number) change(number, 5);
  EXPECT_EQ(cache.dirty_blocks(), 100U);
  const auto frozen = cache.freeze();
  write_home(frozen);
  cache.settle(frozen, true);
  EXPECT_EQ(cache.clean_blocks(), 32U);
  for (BlockNumber number = 0; number < 100; ++number) ASSERT_EQ(first(number), std::byte{5});
}

TEST_F(BlockCacheTest, evicts_what_was_not_used_for_longest) {
  for (BlockNumber number = 0; number < 32; ++number) (void)first(number);
  (void)first(0);
  (void)first(40);
  const auto reads = device.count(FakeDevice::Kind::read);
  (void)first(0);
  EXPECT_EQ(device.count(FakeDevice::Kind::read), reads);
  (void)first(1);
  EXPECT_EQ(device.count(FakeDevice::Kind::read), reads + 1);
}

TEST_F(BlockCacheTest, read_ahead_takes_a_run_in_one_request_and_skips_what_is_there) {
  cache.read_ahead(10, 8);
  EXPECT_EQ(device.count(FakeDevice::Kind::read), 1U);
  for (BlockNumber number = 10; number < 18; ++number) EXPECT_EQ(first(number), static_cast<std::byte>(number));
  EXPECT_EQ(device.count(FakeDevice::Kind::read), 1U);
  change(20, 0x20);
  cache.read_ahead(18, 4);
  EXPECT_EQ(first(20), std::byte{0x20});
  EXPECT_EQ(first(21), std::byte{21});
  cache.read_ahead(kBlocks - 1, 100);
  cache.read_ahead(kBlocks + 10, 100);
}

TEST_F(BlockCacheTest, a_failed_read_is_told_and_not_remembered) {
  device.fail(FakeDevice::Kind::read, 0, EIO, true);
  const auto failed = cache.read(3);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(error_number(failed.error().code), EIO);
  EXPECT_EQ(first(3), std::byte{3});

  device.fail(FakeDevice::Kind::read, 0, EIO, true);
  cache.begin_operation();
  EXPECT_FALSE(cache.modify(4, BlockKind::inode).ok());
  cache.roll_back_operation();
  device.fail(FakeDevice::Kind::read, 0, EIO, true);
  cache.read_ahead(50, 4);
  EXPECT_EQ(first(50), std::byte{50});
}

TEST_F(BlockCacheTest, a_block_outside_the_volume_means_damage) {
  const auto outcome = cache.read(kBlocks);
  ASSERT_FALSE(outcome.ok());
  EXPECT_TRUE(is_corruption(outcome.error().code));
}

TEST_F(BlockCacheTest, readers_never_see_a_torn_or_uncommitted_block_while_operations_and_commits_run) {
  std::atomic<bool> stop{false};
  std::atomic<int> torn{0}, uncommitted{0};
  std::vector<std::thread> readers;
  for (unsigned seed = 0; seed < 3; ++seed)
    readers.emplace_back([&, seed] {
      std::mt19937 random{seed};
      while (!stop) {
        const BlockNumber number = random() % 64;
        if (random() % 50 == 0) cache.read_ahead(number, 8);
        const auto contents = cache.read(number);
        if (!contents.ok()) continue;
        const auto& bytes = **contents;
        if (bytes[0] != bytes[kSize - 1] || bytes[0] != bytes[kSize / 2]) ++torn;
        if (bytes[0] == std::byte{0xFF}) ++uncommitted;
      }
    });
  std::vector<std::byte> model(64);
  for (std::size_t i = 0; i < model.size(); ++i) model[i] = static_cast<std::byte>(i);
  std::mt19937 random{99};
  std::vector<FrozenBlock> in_flight;
  for (int round = 0; round < 3000; ++round) {
    cache.begin_operation();
    const bool keep = random() % 3 != 0;
    const auto value = keep ? static_cast<std::byte>(random() % 200) : std::byte{0xFF};
    for (unsigned touched = random() % 4; touched > 0; --touched) {
      const BlockNumber number = random() % 64;
      set(number, std::to_integer<int>(value));
      if (keep) model[number] = value;
    }
    keep ? cache.commit_operation() : cache.roll_back_operation();
    if (random() % 10 != 0) continue;
    if (in_flight.empty()) {
      in_flight = cache.freeze();
    } else {
      write_home(in_flight);
      cache.settle(in_flight, true);
      in_flight.clear();
    }
  }
  stop = true;
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(torn, 0);
  EXPECT_EQ(uncommitted, 0);
  for (std::size_t i = 0; i < model.size(); ++i) EXPECT_EQ(first(i), model[i]) << i;
}

}  // namespace
}  // namespace worker::disk
