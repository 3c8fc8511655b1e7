#include "worker/disk/journal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "tests/support/fake_device.h"
#include "worker/disk/journal_replay.h"
#include "worker/disk/journal_scan.h"

namespace worker::disk {
namespace {

using tests::FakeDevice;
using Block = std::vector<std::byte>;

constexpr std::uint32_t kSize = 1024;
constexpr BlockNumber kBlocks = 8192;
constexpr std::uint32_t kLogBlocks = 1024;

/// An empty log in two pieces on a device of which everything else is the journal's to write.
struct Disk {
  explicit Disk(TransactionId sequence = 7, std::uint32_t incompat = 0) {
    JournalSuperblock super;
    super.block_size = kSize;
    super.length = kLogBlocks;
    super.first = 1;
    super.sequence = sequence;
    super.incompat = incompat;
    Block block(kSize);
    super.encode(block);
    EXPECT_TRUE(log().write(0, block).ok());
    device.forget_records();
  }

  JournalLog log(BlockDevice* on = nullptr) {
    auto opened = JournalLog::open(on ? *on : device, kSize, {{5000, 600}, {300, kLogBlocks - 600}});
    EXPECT_TRUE(opened.ok());
    return *opened;
  }
  static JournalSuperblock super(const JournalLog& log) {
    Block block(kSize);
    EXPECT_TRUE(log.read(0, block).ok());
    const auto found = JournalSuperblock::decode(block);
    EXPECT_TRUE(found.ok());
    return *found;
  }
  std::unique_ptr<Journal> journal(const JournalNeeds& needs = {.wide = true, .checksums = true}) {
    auto opened = Journal::open(device, log(), super(log()), needs, logged);
    EXPECT_TRUE(opened.ok());
    return std::move(opened).value();
  }

  /// What a recovery makes of these bytes: the whole device behind it, and the journal superblock it found.
  static std::pair<Block, JournalSuperblock> recovered(const Block& bytes) {
    FakeDevice copy{bytes};
    auto log = JournalLog::open(copy, kSize, {{5000, 600}, {300, kLogBlocks - 600}});
    EXPECT_TRUE(log.ok());
    const JournalSuperblock found = super(*log);
    JournalSuperblock after = found;
    const auto scan = scan_journal(*log, found, kBlocks);
    EXPECT_TRUE(scan.ok()) << scan.error().message();
    EXPECT_TRUE(replay_journal(*log, *scan, after).ok());
    return {copy.bytes(), found};
  }

  FakeDevice device{std::size_t{kSize} * kBlocks};
  LoggedBlocks logged;
};

Contents contents(unsigned value, bool magic = false) {
  Block block(kSize, static_cast<std::byte>(value));
  std::memcpy(block.data() + 8, &value, sizeof value);
  if (magic) {
    constexpr unsigned char kMagic[] = {0xC0, 0x3B, 0x39, 0x98};
    std::memcpy(block.data(), kMagic, sizeof kMagic);
  }
  return std::make_shared<const Block>(std::move(block));
}
FrozenBlock dirty(BlockNumber number, Contents what) { return {number, BlockKind::inode, std::move(what)}; }

bool holds(const Block& bytes, BlockNumber number, const Contents& wanted) {
  return std::memcmp(bytes.data() + number * kSize, wanted->data(), kSize) == 0;
}

TEST(Journal, leaves_homes_alone_and_a_recovery_puts_the_newest_version_there) {
  Disk disk;
  const auto journal = disk.journal();
  ASSERT_TRUE(journal->commit({.blocks = {dirty(10, contents(1)), dirty(20, contents(2))}}).ok());
  ASSERT_TRUE(journal->commit({.blocks = {dirty(10, contents(3, true))}}).ok());
  EXPECT_TRUE(holds(disk.device.bytes(), 10, std::make_shared<const Block>(kSize)));
  EXPECT_EQ(disk.logged.find(10)->at(8), std::byte{3});
  const auto [bytes, super] = Disk::recovered(disk.device.bytes());
  EXPECT_TRUE(holds(bytes, 10, contents(3, true)));
  EXPECT_TRUE(holds(bytes, 20, contents(2)));
  EXPECT_EQ(super.sequence, 8U);  // 7 may have been begun by somebody who was cut short
}

TEST(Journal, flushes_before_and_behind_the_commit_block_and_only_then) {
  Disk disk;
  const auto journal = disk.journal();
  ASSERT_TRUE(journal->commit({.blocks = {dirty(10, contents(1))}}).ok());
  disk.device.keep_bytes = true;
  disk.device.forget_records();
  ASSERT_TRUE(journal->commit({.blocks = {dirty(11, contents(1))}}).ok());
  const auto records = disk.device.records();
  ASSERT_EQ(records.size(), 4U);
  EXPECT_EQ(records[0].length, 2 * kSize);  // descriptor and copy
  EXPECT_EQ(records[1].kind, FakeDevice::Kind::flush);
  EXPECT_EQ(decode_header(records[2].bytes)->type, JournalBlockType::commit);
  EXPECT_EQ(records[3].kind, FakeDevice::Kind::flush);
  disk.device.forget_records();
  ASSERT_TRUE(journal->commit({}).ok());
  ASSERT_EQ(disk.device.records().size(), 1U);
  EXPECT_EQ(disk.device.records()[0].kind, FakeDevice::Kind::flush);
}

TEST(Journal, revokes_what_was_freed_and_is_not_owed_any_more) {
  Disk disk;
  const auto journal = disk.journal();
  ASSERT_TRUE(journal->commit({.blocks = {dirty(10, contents(1)), dirty(12, contents(1)), dirty(20, contents(1))}}).ok());
  ASSERT_TRUE(journal->commit({.blocks = {dirty(30, contents(1))}, .freed = {{10, 5}, {40, 1'000'000}}}).ok());
  EXPECT_EQ(disk.logged.find(10), nullptr);
  EXPECT_EQ(disk.logged.find(12), nullptr);
  EXPECT_NE(disk.logged.find(20), nullptr);
  // Now it carries file data, which went to its place without the journal.
  ASSERT_TRUE(disk.device.write(10 * kSize, *contents(99)).ok());
  const auto [bytes, super] = Disk::recovered(disk.device.bytes());
  EXPECT_TRUE(holds(bytes, 10, contents(99)));
  EXPECT_TRUE(holds(bytes, 20, contents(1)));
}

TEST(Journal, agrees_with_a_model_through_many_turns_of_the_log) {
  for (const auto& needs : {JournalNeeds{true, true}, JournalNeeds{false, true}, JournalNeeds{true, false}, JournalNeeds{}}) {
    Disk disk{0xFFFFFF00};
    const auto journal = disk.journal(needs);
    std::map<BlockNumber, Contents> model;
    std::mt19937 random{3};
    std::size_t restarts = 0;
    for (unsigned round = 1; round <= 600; ++round) {
      Batch batch;
      for (BlockNumber number = 2000; number < 3000; ++number)
        if (random() % 40 == 0) batch.blocks.push_back(dirty(number, contents(round, random() % 8 == 0)));
      for (const FrozenBlock& block : batch.blocks) model[block.number] = block.contents;
      const BlockNumber freed = 2000 + random() % 1000;
      const bool frees = std::ranges::none_of(batch.blocks, [&](const auto& block) { return block.number == freed; });
      if (frees) {
        batch.freed.push_back({freed, 1});
        model.erase(freed);
      }
      ASSERT_TRUE(journal->commit(batch).ok()) << round;
      if (random() % 50 == 0) {
        ASSERT_TRUE(journal->empty().ok());
        EXPECT_TRUE(journal->is_empty());
        ++restarts;
      }
      if (round % 23 != 0) continue;
      const auto [bytes, super] = Disk::recovered(disk.device.bytes());
      for (const auto& [number, what] : model) ASSERT_TRUE(holds(bytes, number, what)) << round << ' ' << number;
    }
    EXPECT_GT(restarts, 3U);
    EXPECT_EQ(Disk::super(disk.log()).has(kJournalChecksumV3), needs.checksums);
    EXPECT_EQ(Disk::super(disk.log()).has(kJournal64Bit), needs.wide);
  }
}

TEST(Journal, takes_a_transaction_as_large_as_it_says_and_refuses_a_larger_one) {
  Disk disk;
  const auto journal = disk.journal();
  const auto batch_of = [](std::size_t count) {
    Batch batch;
    for (std::size_t i = 0; i < count; ++i) batch.blocks.push_back(dirty(2000 + i, contents(5)));
    return batch;
  };
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(journal->commit(batch_of(journal->most_blocks())).ok());
  const auto [bytes, super] = Disk::recovered(disk.device.bytes());
  EXPECT_TRUE(holds(bytes, 2000 + journal->most_blocks() - 1, contents(5)));
  EXPECT_FALSE(journal->commit(batch_of(kLogBlocks)).ok());
}

TEST(Journal, that_cannot_be_written_keeps_what_was_durable_says_so_and_writes_no_more) {
  for (const auto kind : {FakeDevice::Kind::write, FakeDevice::Kind::flush}) {
    for (std::size_t k = 0; k < 40; ++k) {
      Disk disk;
      const auto journal = disk.journal();
      disk.device.fail(kind, k, EIO, true);
      unsigned durable = 0, tried = 0;
      // Half of the log is used soon, so that homes and tails are written as well.
      for (unsigned round = 1; round <= 12; ++round) {
        Batch batch;
        for (BlockNumber number = 2000; number < 2080; ++number) batch.blocks.push_back(dirty(number, contents(round)));
        tried = round;
        if (!journal->commit(batch).ok()) break;
        durable = round;
      }
      if (durable == tried) continue;  // k lies behind the end of this work
      const auto writes = disk.device.count(FakeDevice::Kind::write);
      EXPECT_FALSE(journal->commit({.blocks = {dirty(1, contents(1))}}).ok());
      EXPECT_FALSE(journal->empty().ok());
      EXPECT_EQ(disk.device.count(FakeDevice::Kind::write), writes);
      const auto [bytes, super] = Disk::recovered(disk.device.bytes());
      EXPECT_NE(super.error, 0U);
      const bool as_before = durable == 0 || holds(bytes, 2000, contents(durable));
      const bool as_tried = holds(bytes, 2000, contents(tried));
      EXPECT_TRUE(as_before || as_tried) << k;
      for (BlockNumber number = 2001; number < 2080; ++number)
        ASSERT_EQ(std::memcmp(&bytes[2000 * kSize], &bytes[number * kSize], kSize), 0) << k << ": not atomic";
    }
  }
}

TEST(Journal, does_not_start_over_a_log_that_holds_changes) {
  Disk disk;
  ASSERT_TRUE(disk.journal()->commit({.blocks = {dirty(10, contents(1))}}).ok());
  EXPECT_FALSE(Journal::open(disk.device, disk.log(), Disk::super(disk.log()), {}, disk.logged).ok());
}

}  // namespace
}  // namespace worker::disk
