#include "worker/fuse/attributes.h"

#include <gtest/gtest.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace worker::fuse {
namespace {

volume::Attributes sample() {
  volume::Attributes attributes;
  attributes.inode = 12;
  attributes.generation = 77;
  attributes.mode = S_IFBLK | 04750;
  attributes.uid = 70000;
  attributes.gid = 80000;
  attributes.links = 3;
  attributes.device = 0x12345678;
  attributes.flags = FS_IMMUTABLE_FL | FS_NODUMP_FL;
  attributes.block_size = 4096;
  attributes.size = 1ULL << 40;
  attributes.blocks = 1ULL << 33;
  attributes.accessed = {-5, 1};
  attributes.modified = {1LL << 33, 999'999'999};
  attributes.changed = {3, 3};
  attributes.born = {4, 4};
  return attributes;
}

TEST(Attributes, the_root_alone_has_another_number) {
  EXPECT_EQ(node_id(2), 1U);
  EXPECT_EQ(node_id(11), 11U);
  EXPECT_EQ(inode_number(1).value(), 2U);
  EXPECT_EQ(inode_number(11).value(), 11U);
  EXPECT_EQ(inode_number(UINT32_MAX).value(), UINT32_MAX);
  for (const std::uint64_t node : {std::uint64_t{0}, std::uint64_t{2}, std::uint64_t{1} << 32, ~std::uint64_t{0}})
    EXPECT_FALSE(inode_number(node).ok()) << node;
}

TEST(Attributes, an_entry_is_believed_for_ever) {
  const auto entry = encode_entry(sample());
  EXPECT_EQ(entry.nodeid, 12U);
  EXPECT_EQ(entry.generation, 77U);
  EXPECT_EQ(entry.entry_valid, kForever);
  EXPECT_EQ(entry.attr_valid, kForever);
  EXPECT_EQ(entry.attr.ino, 12U);
  EXPECT_EQ(entry.attr.mode, S_IFBLK | 04750U);
  EXPECT_EQ(entry.attr.rdev, 0x12345678U);
  EXPECT_EQ(static_cast<std::int64_t>(entry.attr.atime), -5);
  EXPECT_EQ(entry.attr.mtimensec, 999'999'999U);
  EXPECT_EQ(entry.attr.size, 1ULL << 40);
  EXPECT_EQ(entry.attr.flags, 0U);
}

TEST(Attributes, so_is_a_missing_one) {
  const auto entry = encode_missing_entry();
  EXPECT_EQ(entry.nodeid, 0U);
  EXPECT_EQ(entry.entry_valid, kForever);
}

TEST(Attributes, statx_knows_birth_and_flags) {
  const auto out = encode_statx(sample());
  EXPECT_EQ(out.stat.mask, static_cast<unsigned>(STATX_BASIC_STATS | STATX_BTIME));
  EXPECT_EQ(out.stat.btime.seconds, 4);
  EXPECT_EQ(out.stat.attributes, static_cast<unsigned>(STATX_ATTR_IMMUTABLE | STATX_ATTR_NODUMP));
  EXPECT_EQ(out.stat.mode, S_IFBLK | 04750);
  EXPECT_EQ(out.stat.rdev_major, 0x456U);
  EXPECT_EQ(out.stat.rdev_minor, 0x12378U);
}

TEST(Attributes, small_inodes_were_never_born) {
  auto attributes = sample();
  attributes.born = {};
  EXPECT_EQ(encode_statx(attributes).stat.mask, static_cast<unsigned>(STATX_BASIC_STATS));
}

}  // namespace
}  // namespace worker::fuse
