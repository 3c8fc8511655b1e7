#include "worker/disk/journal_format.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/fake_device.h"
#include "tests/support/journaled.h"

namespace worker::disk {
namespace {

using tests::Image;
using Block = std::vector<std::byte>;

/// The log of an image as it lies there, and how it is to be read.
struct Log {
  explicit Log(const Image& image) {
    const auto homes = tests::log_of(image);
    const Block bytes = tests::FakeDevice::contents_of(image.path());
    const auto size = static_cast<std::ptrdiff_t>(std::stoul(image.header("Block size")));
    for (const BlockNumber home : homes) {
      const auto from = bytes.begin() + static_cast<std::ptrdiff_t>(home) * size;
      blocks.emplace_back(from, from + size);
    }
    auto decoded = JournalSuperblock::decode(blocks[0]);
    EXPECT_TRUE(decoded.ok());
    super = *decoded;
    EXPECT_TRUE(super.check(static_cast<std::uint32_t>(size), blocks.size()).ok());
    layout = JournalLayout::of(super);
  }
  std::vector<Block> blocks;
  JournalSuperblock super;
  JournalLayout layout;
};

/// What one walk over a log has met.
struct Met {
  std::size_t descriptors = 0, tags = 0, revokes = 0, revoked = 0, commits = 0, escaped = 0;
  std::size_t fullest = 0;  ///< tags of one descriptor
};

/// Walks the log from its start and holds every block of it against what we would have written. `exact`: also bytes
/// that no reader looks at.
Met walk(const Log& log, bool exact) {
  Met met;
  const JournalLayout& layout = log.layout;
  const auto rewritten = [&](auto write) {
    Block block(layout.block_size, std::byte{0xEE});
    write(std::span{block});
    return block;
  };
  TransactionId tid = log.super.sequence;
  std::uint32_t v1 = ~0U;
  for (std::size_t at = log.super.start; at < log.blocks.size();) {
    const Block& block = log.blocks[at++];
    const auto header = decode_header(block);
    if (!header || header->tid != tid) break;
    switch (header->type) {
      case JournalBlockType::descriptor: {
        ++met.descriptors;
        EXPECT_TRUE(tail_is_sound(layout, block));
        v1 = journal_crc32(v1, block);
        const auto tags = decode_descriptor(layout, block);
        met.tags += tags.size();
        met.fullest = std::max(met.fullest, tags.size());
        for (const BlockTag& tag : tags) {
          const Block& copy = log.blocks[at++];
          v1 = journal_crc32(v1, copy);
          EXPECT_EQ(tag.checksum, tag_checksum(layout, tid, copy)) << "block " << tag.block;
          EXPECT_FALSE(needs_escape(copy));
          met.escaped += (tag.flags & kTagEscaped) != 0 ? 1 : 0;
        }
        const Block ours = rewritten([&](auto into) { encode_descriptor(layout, tid, tags, into); });
        EXPECT_EQ(decode_descriptor(layout, ours), tags);
        EXPECT_TRUE(tail_is_sound(layout, ours));
        if (exact) EXPECT_EQ(ours, block) << "descriptor before " << at;
        break;
      }
      case JournalBlockType::revoke: {
        ++met.revokes;
        EXPECT_TRUE(tail_is_sound(layout, block));
        const auto revoked = decode_revoke(layout, block);
        EXPECT_TRUE(revoked.ok());
        met.revoked += revoked->size();
        EXPECT_EQ(rewritten([&](auto into) { encode_revoke(layout, tid, *revoked, into); }), block);
        break;
      }
      case JournalBlockType::commit: {
        ++met.commits;
        EXPECT_EQ(check_commit(layout, v1, block), CommitCheck::sound);
        EXPECT_EQ(rewritten([&](auto into) { encode_commit(layout, tid, decode_commit_time(block), v1, into); }),
                  block);
        v1 = ~0U;
        ++tid;
        break;
      }
      default:
        ADD_FAILURE() << "block type " << static_cast<std::uint32_t>(header->type);
        return met;
    }
  }
  return met;
}

constexpr char kMuchWork[] =
    "mkdir d; for i in $(seq 300); do mkdir d/$i; ln -s $(printf %090d 0) d/l$i; done; sync d\n"
    "rm -r d; mkdir e; sync e\n"
    // The target of a long link is a block of its own, and this one begins with the magic.
    "ln -s \"$(printf '\\300\\073\\071\\230%090d' 0)\" link; sync e";

struct Made {
  const char* name;
  const char* features;
  const char* mount_options;
  JournalChecksum checksum;
  bool wide;
};

class KernelJournal : public ::testing::TestWithParam<Made> {};

TEST_P(KernelJournal, is_read_and_would_be_written_the_same) {
  const Made& made = GetParam();
  const Image image{std::string{"-t ext4 -N 2048 -J size=8 "} + made.features, "48M"};
  tests::crash_kernel(image, made.mount_options, kMuchWork);
  const Log log{image};
  EXPECT_EQ(log.layout.checksum, made.checksum);
  EXPECT_EQ(log.layout.wide, made.wide);
  ASSERT_NE(log.super.start, 0U);
  const Met met = walk(log, true);
  EXPECT_GE(met.commits, 3U);
  EXPECT_GE(met.revoked, 300U);
  EXPECT_GT(met.descriptors, met.commits) << "one transaction is to need several";
  EXPECT_GE(met.fullest + 4, log.layout.tags_per_descriptor());
  EXPECT_LE(met.fullest, log.layout.tags_per_descriptor());
  EXPECT_GE(met.escaped, 1U);

  Block super = log.blocks[0];
  log.super.encode(super);
  EXPECT_EQ(super, log.blocks[0]);
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, KernelJournal,
    ::testing::Values(
        Made{"v3_64bit_1k", "-b 1024 -O metadata_csum,64bit", "data=ordered", JournalChecksum::v3, true},
        Made{"v3_64bit_4k", "-b 4096 -O metadata_csum,64bit", "data=ordered", JournalChecksum::v3, true},
        Made{"v3_32bit_1k", "-b 1024 -O metadata_csum,^64bit", "data=ordered", JournalChecksum::v3, false},
        Made{"plain_64bit_1k", "-b 1024 -O ^metadata_csum,64bit", "data=ordered", JournalChecksum::none, true},
        Made{"plain_32bit_1k", "-b 1024 -O ^metadata_csum,^64bit", "data=ordered", JournalChecksum::none, false},
        Made{"v1_64bit_1k", "-b 1024 -O ^metadata_csum,64bit", "journal_checksum", JournalChecksum::v1, true},
        Made{"v1_32bit_4k", "-b 4096 -O ^metadata_csum,^64bit", "journal_checksum", JournalChecksum::v1, false}),
    [](const auto& made) { return std::string{made.param.name}; });

class DebugfsJournal : public ::testing::TestWithParam<Made> {};

TEST_P(DebugfsJournal, is_read) {
  const Made& made = GetParam();
  const Image image{std::string{"-t ext4 "} + made.features, "16M"};
  const std::string data = image.path() + ".data";
  // Every block of it begins with the magic.
  const auto prepared =
      tests::run("for i in $(seq 16); do printf '\\300\\073\\071\\230'; head -c 1020 /dev/zero; done > " + data);
  ASSERT_EQ(prepared.status, 0);
  tests::write_journal(
      image, std::string{"jo "} + made.mount_options + "\njw -b 1900,1901,1902,1903 -r 1904,1905 " + data + "\njc");
  const Log log{image};
  EXPECT_EQ(log.layout.checksum, made.checksum);
  EXPECT_EQ(log.layout.wide, made.wide);
  const Met met = walk(log, false);
  EXPECT_EQ(met.commits, 1U);
  EXPECT_GE(met.tags, 4U);
  EXPECT_EQ(met.revoked, 2U);
  EXPECT_EQ(met.escaped, 4U);
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, DebugfsJournal,
    ::testing::Values(Made{"plain_64bit_4k", "-b 4096 -O ^metadata_csum,64bit", "", JournalChecksum::none, true},
                      Made{"plain_32bit_4k", "-b 4096 -O ^metadata_csum,^64bit", "", JournalChecksum::none, false},
                      Made{"v2_64bit_4k", "-b 4096 -O metadata_csum,64bit", "-c -v 2", JournalChecksum::v2, true},
                      Made{"v2_32bit_4k", "-b 4096 -O metadata_csum,^64bit", "-c -v 2", JournalChecksum::v2, false},
                      Made{"v3_64bit_4k", "-b 4096 -O metadata_csum,64bit", "-c -v 3", JournalChecksum::v3, true},
                      Made{"v3_32bit_1k", "-b 1024 -O metadata_csum,^64bit", "-c -v 3", JournalChecksum::v3, false}),
    [](const auto& made) { return std::string{made.param.name}; });

/// Every layout there is.
std::vector<JournalLayout> layouts() {
  std::vector<JournalLayout> all;
  for (const std::uint32_t size : {1024U, 4096U, 65536U})
    for (const bool wide : {false, true})
      for (const auto checksum : {JournalChecksum::none, JournalChecksum::v1, JournalChecksum::v2, JournalChecksum::v3})
        all.push_back({.block_size = size, .wide = wide, .checksum = checksum, .seed = 7});
  return all;
}

TEST(JournalFormat, a_full_descriptor_holds_what_was_put_in_and_leaves_the_tail_alone) {
  for (const JournalLayout& layout : layouts()) {
    std::vector<BlockTag> tags(layout.tags_per_descriptor());
    const bool has_checksum = layout.block_checksums();
    for (std::uint32_t i = 0; i < tags.size(); ++i) {
      tags[i].block = (layout.wide ? BlockNumber{i} << 32 : 0) | (i * 3);
      tags[i].flags =
          (i > 0 ? kTagSameUuid : 0) | (i % 5 == 0 ? kTagEscaped : 0) | (i + 1 == tags.size() ? kTagLast : 0);
      tags[i].checksum = has_checksum ? i * 0x10001U & (layout.checksum == JournalChecksum::v2 ? 0xFFFF : ~0U) : 0;
    }
    Block block(layout.block_size);
    encode_descriptor(layout, 9, tags, block);
    EXPECT_EQ(decode_descriptor(layout, block), tags);
    EXPECT_TRUE(tail_is_sound(layout, block));
    block[20] ^= std::byte{1};
    EXPECT_EQ(tail_is_sound(layout, block), !has_checksum);
  }
}

TEST(JournalFormat, a_descriptor_without_an_end_gives_what_fits) {
  for (const JournalLayout& layout : layouts())
    for (const std::byte filler : {std::byte{0}, std::byte{2}, std::byte{0xF7}}) {
      const Block block(layout.block_size, filler);
      EXPECT_LE(decode_descriptor(layout, block).size() * layout.tag_size(), layout.block_size);
    }
}

TEST(JournalFormat, a_full_revoke_block_holds_what_was_put_in_and_no_length_is_believed) {
  for (const JournalLayout& layout : layouts()) {
    std::vector<BlockNumber> revoked(layout.revokes_per_block());
    for (std::uint32_t i = 0; i < revoked.size(); ++i) revoked[i] = (layout.wide ? BlockNumber{i} << 32 : 0) | i;
    Block block(layout.block_size);
    encode_revoke(layout, 9, revoked, block);
    EXPECT_TRUE(tail_is_sound(layout, block));
    EXPECT_EQ(*decode_revoke(layout, block), revoked);
    for (const std::uint32_t length : {0U, 15U, 17U}) {
      block[12] = block[13] = block[14] = std::byte{0};
      block[15] = static_cast<std::byte>(length);
      EXPECT_TRUE(decode_revoke(layout, block)->empty());
    }
    block[12] = std::byte{0xFF};
    EXPECT_EQ(decode_revoke(layout, block).error().code, std::errc(EUCLEAN));
  }
}

TEST(JournalFormat, a_torn_commit_block_is_told_from_a_wrong_one) {
  for (const JournalLayout& layout : layouts()) {
    if (!layout.block_checksums()) continue;
    Block block(layout.block_size);
    encode_commit(layout, 9, {.seconds = 5, .nanoseconds = 6}, 0, block);
    EXPECT_EQ(check_commit(layout, 0, block), CommitCheck::sound);
    block[layout.block_size - 1] = std::byte{1};
    EXPECT_EQ(check_commit(layout, 0, block), CommitCheck::torn);
    block[50] = std::byte{1};
    EXPECT_EQ(check_commit(layout, 0, block), CommitCheck::wrong);
  }
}

TEST(JournalFormat, a_v1_commit_may_carry_no_checksum_at_all) {
  const JournalLayout layout{.block_size = 1024, .checksum = JournalChecksum::v1};
  Block block(1024);
  encode_commit(layout, 9, {}, 77, block);
  EXPECT_EQ(check_commit(layout, 77, block), CommitCheck::sound);
  EXPECT_EQ(check_commit(layout, 78, block), CommitCheck::wrong);
  std::fill(block.begin() + 12, block.begin() + 20, std::byte{0});
  EXPECT_EQ(check_commit(layout, 78, block), CommitCheck::sound);
}

TEST(JournalFormat, transactions_are_compared_across_the_wrap) {
  EXPECT_TRUE(precedes(0xFFFFFFFF, 0));
  EXPECT_FALSE(precedes(0, 0xFFFFFFFF));
  EXPECT_FALSE(precedes(5, 5));
  EXPECT_TRUE(precedes(5, 6));
}

}  // namespace
}  // namespace worker::disk
