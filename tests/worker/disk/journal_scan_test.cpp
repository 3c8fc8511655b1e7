#include "worker/disk/journal_scan.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "tests/support/fake_device.h"
#include "tests/support/log_writer.h"
#include "worker/disk/journal_replay.h"
#include "worker/disk/replayed_device.h"

namespace worker::disk {
namespace {

using tests::FakeDevice;
using tests::LogWriter;
using Block = std::vector<std::byte>;

constexpr std::uint32_t kSize = 1024;
constexpr BlockNumber kVolumeBlocks = 8192;
constexpr std::uint32_t kLogBlocks = 1100;

Block filled(int byte) { return Block(kSize, static_cast<std::byte>(byte)); }

/// A log in two pieces, the later one first on the volume, starting close to its end and to that of the numbers.
class JournalScanTest : public ::testing::Test {
 protected:
  JournalScanTest() : writer{open_log(), first_super()} {}

  JournalLog open_log() {
    auto opened = JournalLog::open(device, kSize, {{5000, 1000}, {4000, kLogBlocks - 1000}});
    EXPECT_TRUE(opened.ok());
    return *opened;
  }
  static JournalSuperblock first_super() {
    JournalSuperblock super;
    super.block_size = kSize;
    super.length = kLogBlocks;
    super.first = 1;
    super.start = kLogBlocks - 6;
    super.sequence = 0xFFFFFFFE;
    super.uuid.fill(std::byte{0x42});
    super.incompat = kJournal64Bit | kJournalRevoke | kJournalChecksumV3;
    super.checksum_type = kJournalCrc32c;
    return super;
  }
  void use(std::uint32_t compat, std::uint32_t incompat) {
    JournalSuperblock super = first_super();
    super.compat = compat;
    super.incompat = incompat;
    super.checksum_type = super.has_block_checksums() ? kJournalCrc32c : 0;
    writer = LogWriter{open_log(), super};
  }

  Result<JournalScan> scan() { return scan_journal(writer.log, writer.super, kVolumeBlocks); }
  std::string damage() {
    const auto scanned = scan();
    if (scanned.ok()) return "";
    EXPECT_EQ(scanned.error().code, std::errc(EUCLEAN));
    return scanned.error().detail;
  }
  /// Which copies count: block and what it is filled with.
  std::map<BlockNumber, int> copies() {
    const auto scanned = scan();
    EXPECT_TRUE(scanned.ok()) << scanned.error().message();
    std::map<BlockNumber, int> result;
    if (!scanned.ok()) return result;
    for (const LoggedCopy& copy : scanned->copies) {
      Block block(kSize);
      EXPECT_TRUE(read_copy(writer.log, scanned->layout, copy, block).ok());
      result[copy.block] = std::to_integer<int>(block[kSize - 1]);
    }
    EXPECT_EQ(result.size(), scanned->copies.size());
    EXPECT_TRUE(std::is_sorted(scanned->copies.begin(), scanned->copies.end(),
                               [](const auto& a, const auto& b) { return a.block < b.block; }));
    return result;
  }

  FakeDevice device{kVolumeBlocks * kSize};
  LogWriter writer;
};

using Copies = std::map<BlockNumber, int>;

TEST_F(JournalScanTest, an_empty_log_is_not_looked_at) {
  writer.super.start = 0;
  writer.super.head = 77;
  writer.super.sequence = 41;
  auto scanned = scan();
  EXPECT_EQ(scanned->next_tid, 42U);
  EXPECT_EQ(scanned->head, 77U);
  EXPECT_TRUE(scanned->copies.empty());
  EXPECT_EQ(device.count(FakeDevice::Kind::read), 0U);
  writer.super.head = kLogBlocks;
  writer.super.sequence = ~0U;
  scanned = scan();
  EXPECT_EQ(scanned->head, 1U) << "a stale one";
  EXPECT_EQ(scanned->next_tid, 1U) << "0 is left out";
}

TEST_F(JournalScanTest, the_newest_copy_counts_across_both_wraps) {
  for (int round = 0; round < 5; ++round)
    writer.transaction({{100, filled(10 + round)}, {200U + static_cast<BlockNumber>(round), filled(20 + round)}});
  EXPECT_EQ(copies(), (Copies{{100, 14}, {200, 20}, {201, 21}, {202, 22}, {203, 23}, {204, 24}}));
  const auto scanned = scan();
  EXPECT_EQ(scanned->transactions, 5U);
  EXPECT_EQ(scanned->next_tid, 4U) << "3 was not found, and may have been begun";
  EXPECT_EQ(scanned->head, writer.at);
  EXPECT_FALSE(scanned->fast_commits);
}

TEST_F(JournalScanTest, a_transaction_without_a_commit_does_not_count_and_its_number_is_used_up) {
  writer.transaction({{100, filled(1)}});
  const LogBlock head = writer.at;
  writer.revoke({100});
  writer.write({{100, filled(2)}, {101, filled(2)}});
  EXPECT_EQ(copies(), (Copies{{100, 1}}));
  ASSERT_EQ(writer.tid, 0xFFFFFFFF);
  EXPECT_EQ(scan()->next_tid, 1U) << "the one behind it is 0, which is left out";
  EXPECT_EQ(scan()->head, head);
}

TEST_F(JournalScanTest, revokes_make_copies_void_up_to_their_own_transaction) {
  writer.transaction({{100, filled(1)}, {101, filled(1)}, {102, filled(1)}, {103, filled(1)}});
  writer.transaction({{101, filled(2)}, {104, filled(2)}}, {100, 101, 900});
  writer.transaction({{102, filled(3)}, {100, filled(3)}}, {103, 103});
  EXPECT_EQ(copies(), (Copies{{100, 3}, {102, 3}, {104, 2}}));
}

TEST_F(JournalScanTest, a_revoke_may_follow_what_it_revokes_in_the_same_transaction) {
  writer.write({{100, filled(1)}, {101, filled(1)}});
  writer.revoke({100});
  writer.write({{102, filled(1)}});
  writer.commit();
  EXPECT_EQ(copies(), (Copies{{101, 1}, {102, 1}}));
}

TEST_F(JournalScanTest, of_two_copies_in_one_transaction_the_later_counts) {
  writer.transaction({{100, filled(1)}, {100, filled(2)}});
  EXPECT_EQ(copies(), (Copies{{100, 2}}));
}

TEST_F(JournalScanTest, escaped_contents_get_their_beginning_back) {
  Block contents = filled(7);
  encode_revoke(writer.layout, 1, {}, contents);
  writer.transaction({{100, contents}});
  const auto scanned = scan();
  Block block(kSize);
  ASSERT_TRUE(read_copy(writer.log, scanned->layout, scanned->copies.at(0), block).ok());
  EXPECT_EQ(block, contents);
}

TEST_F(JournalScanTest, a_damaged_copy_under_a_commit_is_an_error_even_if_a_newer_one_hides_it) {
  writer.write({{100, filled(1)}}, true);
  writer.commit();
  writer.transaction({{100, filled(2)}});
  EXPECT_EQ(damage(), "the journal's copy of block 100 is damaged");
  writer.transaction({}, {100});
  EXPECT_EQ(copies(), Copies{}) << "but not if it is void";
}

TEST_F(JournalScanTest, a_torn_commit_block_commits) {
  writer.write({{100, filled(1)}});
  Block commit = writer.commit_block();
  commit[kSize - 1] = std::byte{1};
  writer.put(commit);
  EXPECT_EQ(copies(), (Copies{{100, 1}}));
}

TEST_F(JournalScanTest, a_wrong_commit_block_is_damage_if_it_is_new_and_the_end_if_it_is_old) {
  writer.transaction({{100, filled(1)}});
  const LogBlock here = writer.at;
  for (const bool old : {false, true}) {
    writer.at = here;
    writer.write({{100, filled(2)}});
    writer.seconds = old ? 1'600'000'000 : 1'700'000'000;
    Block commit = writer.commit_block();
    commit[20] ^= std::byte{1};
    writer.put(commit);
    if (old)
      EXPECT_EQ(copies(), (Copies{{100, 1}}));
    else
      EXPECT_EQ(damage(), "transaction 4294967295 of the journal is damaged");
  }
}

TEST_F(JournalScanTest, so_are_a_descriptor_and_a_revoke_block) {
  for (const bool revoke : {false, true})
    for (const bool old : {false, true}) {
      use(0, first_super().incompat);
      writer.seconds = 1'700'000'000;
      writer.transaction({{100, filled(1)}});
      const LogBlock spoilt = writer.at;
      if (revoke) writer.revoke({100});
      writer.write({{100, filled(2)}});
      Block block(kSize);
      ASSERT_TRUE(writer.log.read(spoilt, block).ok());
      block[kSize - 10] ^= std::byte{1};
      ASSERT_TRUE(writer.log.write(spoilt, block).ok());
      ASSERT_TRUE(writer.log.write(writer.at, filled(0)).ok());
      EXPECT_EQ(copies(), (Copies{{100, 1}})) << "no commit follows";
      writer.seconds = old ? 1'600'000'000 : 1'700'000'000;
      writer.commit();
      if (old)
        EXPECT_EQ(copies(), (Copies{{100, 1}}));
      else
        EXPECT_EQ(damage(), "transaction 4294967295 of the journal is damaged");
    }
}

TEST_F(JournalScanTest, v1_covers_all_blocks_of_a_transaction) {
  use(kJournalChecksumV1, 0);
  writer.transaction({{100, filled(1)}, {101, filled(1)}});
  EXPECT_EQ(copies(), (Copies{{100, 1}, {101, 1}}));
  writer.write({{100, filled(2)}}, true);
  writer.commit();
  EXPECT_EQ(damage(), "transaction 4294967295 of the journal is damaged");
}

TEST_F(JournalScanTest, an_asynchronous_commit_may_be_there_before_its_transaction_but_only_as_the_last_one) {
  use(kJournalChecksumV1, kJournalAsyncCommit);
  writer.transaction({{100, filled(1)}});
  const LogBlock head = writer.at;
  writer.write({{100, filled(2)}}, true);
  writer.commit();
  EXPECT_EQ(copies(), (Copies{{100, 1}}));
  EXPECT_EQ(scan()->head, head);
  EXPECT_EQ(scan()->next_tid, 1U);
  writer.transaction({{100, filled(3)}});
  EXPECT_EQ(damage(), "transaction 4294967295 of the journal is damaged");
}

TEST_F(JournalScanTest, homes_outside_the_volume_or_in_the_log_are_damage_unless_void) {
  const std::vector<BlockNumber> homes{kVolumeBlocks, BlockNumber{1} << 40, 5000, 5999, 4000, 4099};
  for (const BlockNumber block : homes) {
    use(0, first_super().incompat);
    writer.transaction({{block, filled(1)}});
    EXPECT_EQ(damage(), "the journal holds block " + std::to_string(block) + ", which cannot be");
    writer.transaction({}, {block});
    EXPECT_EQ(copies(), Copies{});
  }
  use(0, first_super().incompat);
  writer.transaction({{3999, filled(1)}, {4100, filled(1)}, {4999, filled(1)}, {6000, filled(1)}, {8191, filled(1)}});
  EXPECT_EQ(copies().size(), 5U);
}

TEST_F(JournalScanTest, a_revoke_block_with_an_impossible_length_is_damage) {
  use(0, 0);
  Block block(kSize);
  encode_revoke(writer.layout, writer.tid, {}, block);
  block[12] = std::byte{1};
  writer.put(block);
  writer.commit();
  EXPECT_EQ(damage(), "a revoke block of the journal is longer than a block");
}

TEST_F(JournalScanTest, a_log_full_of_one_endless_transaction_is_walked_once) {
  use(0, 0);
  const LogBlock start = writer.at;
  do writer.revoke({100});
  while (writer.at != start);
  const std::size_t before = device.count(FakeDevice::Kind::read);
  EXPECT_EQ(copies(), Copies{});
  EXPECT_LE(device.count(FakeDevice::Kind::read) - before, kLogBlocks);
}

TEST_F(JournalScanTest, a_log_full_of_committed_transactions_ends_where_it_began) {
  use(0, 0);
  const LogBlock start = writer.at;
  do writer.commit();
  while (writer.at != start);
  EXPECT_EQ(scan()->transactions, kLogBlocks - 1);
  EXPECT_EQ(scan()->next_tid, first_super().sequence + kLogBlocks);
}

TEST_F(JournalScanTest, records_of_fast_commits_are_seen_if_they_go_on_from_here) {
  use(0, kJournalFastCommit);
  writer.super.fast_commit_blocks = 70;
  writer.super.start = writer.at = 1;
  writer.transaction({{100, filled(1)}});
  EXPECT_FALSE(scan()->fast_commits);
  Block record(kSize);
  const std::uint32_t tid = writer.tid;
  record[0] = std::byte{9};
  record[2] = std::byte{8};
  for (std::size_t i = 0; i < 4; ++i) record[8 + i] = static_cast<std::byte>(tid >> (8 * i));
  ASSERT_TRUE(writer.log.write(kLogBlocks - 70 + 1, record).ok());
  EXPECT_TRUE(scan()->fast_commits);
  record[8] ^= std::byte{1};
  ASSERT_TRUE(writer.log.write(kLogBlocks - 70 + 1, record).ok());
  EXPECT_FALSE(scan()->fast_commits) << "left from an earlier use";
}

TEST_F(JournalScanTest, an_unreadable_log_is_an_io_error) {
  writer.transaction({{100, filled(1)}});
  for (std::size_t k = 0; k < 4; ++k) {
    device.fail(FakeDevice::Kind::read, k, EIO, true);
    EXPECT_EQ(scan().error().code, std::errc(EIO));
    device.heal();
  }
  EXPECT_TRUE(scan().ok());
}

TEST(JournalLog, extents_that_cannot_be_are_refused) {
  FakeDevice device{100 * kSize};
  const auto outcome = [&](std::vector<LogExtent> extents) { return JournalLog::open(device, kSize, extents).ok(); };
  EXPECT_TRUE(outcome({{90, 10}, {10, 5}, {15, 5}}));
  EXPECT_FALSE(outcome({{90, 11}}));
  EXPECT_FALSE(outcome({{100, 1}}));
  EXPECT_FALSE(outcome({{~BlockNumber{0}, 2}}));
  EXPECT_FALSE(outcome({{10, 5}, {14, 2}}));
  EXPECT_FALSE(outcome({{14, 2}, {10, 5}}));
}

TEST(JournalLog, reads_and_writes_across_extents_and_knows_its_blocks) {
  FakeDevice device{100 * kSize};
  const auto log = JournalLog::open(device, kSize, {{90, 2}, {10, 3}, {0, 0}, {50, 1}});
  ASSERT_TRUE(log.ok());
  EXPECT_EQ(log->blocks(), 6U);
  Block bytes(5 * kSize);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i / kSize + 1);
  ASSERT_TRUE(log->write(1, bytes).ok());
  EXPECT_EQ(device.bytes()[91 * kSize], std::byte{1});
  EXPECT_EQ(device.bytes()[10 * kSize], std::byte{2});
  EXPECT_EQ(device.bytes()[12 * kSize], std::byte{4});
  EXPECT_EQ(device.bytes()[50 * kSize], std::byte{5});
  Block back(5 * kSize);
  ASSERT_TRUE(log->read(1, back).ok());
  EXPECT_EQ(back, bytes);
  EXPECT_FALSE(log->read(2, back).ok());
  EXPECT_FALSE(log->read(7, {}).ok());
  for (const BlockNumber block : {9, 13, 49, 51, 89, 92}) EXPECT_FALSE(log->holds(block)) << block;
  for (const BlockNumber block : {10, 12, 50, 90, 91}) EXPECT_TRUE(log->holds(block)) << block;
  EXPECT_TRUE(log->overlaps(0, 11));
  EXPECT_TRUE(log->overlaps(12, 100));
  EXPECT_FALSE(log->overlaps(13, 37));
}

}  // namespace
}  // namespace worker::disk
