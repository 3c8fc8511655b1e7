#include "worker/volume/directory_block.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

namespace worker::volume {
namespace {

DirectoryFormat format_of(std::uint32_t block_size, bool checksums = false) {
  return {.block_size = block_size, .inode_count = 1000, .seed = 12345, .checksums = checksums, .types = true};
}

/// What a walk sees, or nothing if it finds the block bad.
std::optional<std::map<std::string, std::uint32_t>> contents(const DirectoryFormat& format,
                                                             const std::vector<std::byte>& block) {
  std::map<std::string, std::uint32_t> names;
  EntryWalk walk{format, block, format.leaf_end()};
  while (walk.next())
    if (walk.used()) names.emplace(walk.name, walk.inode);
  if (walk.corrupt()) return std::nullopt;
  return names;
}

class DirectoryBlock : public testing::TestWithParam<std::uint32_t> {};

TEST_P(DirectoryBlock, agrees_with_a_map_through_insertions_and_removals) {
  for (const bool checksums : {false, true}) {
    const DirectoryFormat format = format_of(GetParam(), checksums);
    std::vector<std::byte> block(format.block_size);
    LeafWriter(format, block).finish();
    std::map<std::string, std::uint32_t> model;
    std::mt19937 random{1};
    for (int round = 0; round < 3000; ++round) {
      const std::string name = std::to_string(random() % 300) + std::string(random() % 3 * 30, 'n');
      FoundEntry found;
      const BlockSearch search = find_entry(format, block, format.leaf_end(), name, found);
      ASSERT_EQ(search, model.contains(name) ? BlockSearch::found : BlockSearch::missing);
      std::uint32_t offset = 0;
      if (search == BlockSearch::found) {
        EXPECT_EQ(found.inode, model.at(name));
        remove_entry(format, block, found);
        model.erase(name);
      } else if (find_room(format, block, format.leaf_end(), DirectoryFormat::space_for(name.size()), offset) ==
                 BlockSearch::found) {
        const auto inode = static_cast<std::uint32_t>(1 + random() % 1000);
        place_entry(format, block, offset, name, inode, 1);
        model.emplace(name, inode);
      }
      ASSERT_EQ(contents(format, block), model);
    }
    seal_leaf(format, block);
    EXPECT_TRUE(leaf_is_sound(format, block));
    block[format.block_size / 2] ^= std::byte{1};
    EXPECT_EQ(leaf_is_sound(format, block), !checksums);
  }
}

TEST_P(DirectoryBlock, walks_over_any_bytes_without_leaving_the_block) {
  const DirectoryFormat format = format_of(GetParam());
  std::mt19937 random{2};
  for (int round = 0; round < 300; ++round) {
    // Exactly as large as the block, so that a sanitizer sees one byte too many.
    std::vector<std::byte> block(format.block_size);
    for (std::byte& byte : block) byte = random() % 4 == 0 ? std::byte(random()) : std::byte{0};
    EntryWalk walk{format, block, format.leaf_end()};
    std::uint32_t last = 0;
    while (walk.next()) {
      ASSERT_TRUE(walk.offset == 0 || walk.offset > last);
      ASSERT_LE(walk.offset + walk.length, format.block_size);
      ASSERT_LE(walk.slack(), walk.length);
      last = walk.offset;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, DirectoryBlock, testing::Values(1024, 4096, 65536));

TEST(DirectoryFormat, record_lengths_up_to_a_whole_block_of_64_KiB_fit_into_16_bits) {
  const DirectoryFormat large = format_of(65536);
  for (const std::uint32_t length : {12U, 65532U, 65536U})
    EXPECT_EQ(large.decode_length(large.encode_length(length)), length);
  EXPECT_EQ(large.encode_length(65536), 65535);
  EXPECT_EQ(large.decode_length(0), 65536U);
  const DirectoryFormat small = format_of(4096);
  EXPECT_EQ(small.decode_length(small.encode_length(4096)), 4096U);
}

TEST(EntryWalk, stops_at_what_cannot_be_a_record) {
  const DirectoryFormat format = format_of(1024);
  std::vector<std::byte> sound(1024);
  LeafWriter writer{format, sound};
  writer.add("one", 11, 1);
  writer.add("two", 12, 1);
  writer.finish();
  ASSERT_TRUE(contents(format, sound));
  const auto spoilt = [&](std::size_t offset, std::uint16_t value) {
    std::vector<std::byte> block = sound;
    store16(block, offset, value);
    return !contents(format, block);
  };
  EXPECT_TRUE(spoilt(4, 0)) << "no progress";
  EXPECT_TRUE(spoilt(4, 8)) << "shorter than any record";
  EXPECT_TRUE(spoilt(4, 14)) << "odd length";
  EXPECT_TRUE(spoilt(4, 1028)) << "behind the block";
  EXPECT_TRUE(spoilt(4, 1020)) << "leaves no room for another record";
  EXPECT_TRUE(spoilt(6, 5)) << "name behind the record";
  EXPECT_TRUE(spoilt(6, 0)) << "no name";
  EXPECT_TRUE(spoilt(0, 1001)) << "no such inode";
  EXPECT_FALSE(spoilt(0, 0)) << "an unused record may hold anything";
}

}  // namespace
}  // namespace worker::volume
