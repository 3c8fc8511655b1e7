#include "worker/disk/journal_superblock.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

namespace worker::disk {
namespace {

using Block = std::vector<std::byte>;

JournalSuperblock sample() {
  JournalSuperblock super;
  super.block_size = 4096;
  super.length = 2048;
  super.first = 1;
  super.sequence = 0xFFFFFFFE;
  super.start = 17;
  super.error = 5;
  super.incompat = kJournalRevoke | kJournal64Bit | kJournalChecksumV3;
  super.uuid.fill(std::byte{0xAB});
  super.checksum_type = kJournalCrc32c;
  super.fast_commit_blocks = 300;
  super.head = 99;
  return super;
}

TEST(JournalSuperblock, is_read_as_written_and_keeps_bytes_that_nobody_knows) {
  Block block(4096, std::byte{0x5A});
  sample().encode(block);
  EXPECT_EQ(*JournalSuperblock::decode(block), sample());
  EXPECT_EQ(block[0x60], std::byte{0x5A});
  EXPECT_EQ(block[0x3FF], std::byte{0x5A});
  EXPECT_EQ(block[1024], std::byte{0x5A});
  block[0x3FF] = std::byte{0};
  EXPECT_EQ(JournalSuperblock::decode(block).error().code, std::errc(EUCLEAN)) << "under the checksum";
}

TEST(JournalSuperblock, version_1_has_neither_features_nor_a_checksum) {
  Block block(1024, std::byte{0xFF});
  JournalSuperblock old = sample();
  old.version = 1;
  old.encode(block);
  const auto read = JournalSuperblock::decode(block);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->version, 1U);
  EXPECT_EQ(read->start, 17U);
  EXPECT_EQ(read->incompat, 0U);
  EXPECT_EQ(block[0x24], std::byte{0xFF});
}

TEST(JournalSuperblock, other_blocks_are_told_from_it) {
  Block block(1024);
  EXPECT_FALSE(JournalSuperblock::decode(block).ok());
  sample().encode(block);
  EXPECT_FALSE(JournalSuperblock::decode(std::span{block}.first(1023)).ok());
  block[7] = std::byte{5};
  EXPECT_FALSE(JournalSuperblock::decode(block).ok());
}

TEST(JournalSuperblock, the_fast_commit_area_lies_behind_the_log) {
  JournalSuperblock super = sample();
  EXPECT_EQ(super.end(), 2048U);
  super.incompat |= kJournalFastCommit;
  EXPECT_EQ(super.end(), 1748U);
  super.fast_commit_blocks = 0;
  EXPECT_EQ(super.end(), 1792U);
  super.fast_commit_blocks = 0xFFFFFFFF;
  EXPECT_EQ(super.end(), super.first);
}

TEST(JournalSuperblock, numbers_that_cannot_be_are_refused) {
  EXPECT_TRUE(sample().check(4096, 2048).ok());
  EXPECT_EQ(sample().check(1024, 2048).error().code, std::errc(EUCLEAN));
  EXPECT_EQ(sample().check(4096, 2047).error().code, std::errc(EUCLEAN));
  const auto outcome = [](const std::function<void(JournalSuperblock&)>& change) {
    JournalSuperblock super = sample();
    change(super);
    const auto checked = super.check(4096, 2048);
    return checked.ok() ? std::errc{} : static_cast<std::errc>(checked.error().code.value());
  };
  const auto damaged = static_cast<std::errc>(EUCLEAN);
  EXPECT_EQ(outcome([](auto& super) { super.incompat |= 0x40; }), std::errc::operation_not_supported);
  EXPECT_EQ(outcome([](auto& super) { super.ro_compat = 1; }), std::errc::operation_not_supported);
  EXPECT_EQ(outcome([](auto& super) { super.users = 2; }), std::errc::operation_not_supported);
  EXPECT_EQ(outcome([](auto& super) { super.compat = kJournalChecksumV1; }), damaged);
  EXPECT_EQ(outcome([](auto& super) { super.incompat |= kJournalChecksumV2; }), damaged);
  EXPECT_EQ(outcome([](auto& super) { super.checksum_type = 1; }), damaged);
  EXPECT_EQ(outcome([](auto& super) { super.first = 0; }), damaged);
  EXPECT_EQ(outcome([](auto& super) { super.first = 0xFFFFFFFF; }), damaged);
  EXPECT_EQ(outcome([](auto& super) { super.length = 1023; }), damaged);
  EXPECT_EQ(outcome([](auto& super) { super.start = 2048; }), damaged);
  EXPECT_EQ(outcome([](auto& super) { super.incompat |= kJournalFastCommit; }), std::errc{});
  EXPECT_EQ(outcome([](auto& super) { super.incompat |= kJournalFastCommit, super.fast_commit_blocks = 1025; }),
            damaged);
  EXPECT_EQ(outcome([](auto& super) { super.incompat |= kJournalFastCommit, super.start = 1748; }), damaged);
}

}  // namespace
}  // namespace worker::disk
