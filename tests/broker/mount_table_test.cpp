#include "broker/mount_table.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>

namespace broker {
namespace {

TEST(MountTable, reads_a_line_with_optional_fields_and_escapes) {
  const auto table = parse_mount_table(
      "36 35 98:0 /mnt1 /mnt\\040two rw,noatime master:1 shared:7 - fuse.ext4 /a\\011b\\134 ro,errors=continue\n");

  ASSERT_EQ(table.size(), 1U);
  EXPECT_EQ(table[0].id, 36U);
  EXPECT_EQ(table[0].parent, 35U);
  EXPECT_EQ(table[0].device, ::makedev(98, 0));
  EXPECT_EQ(table[0].root, "/mnt1");
  EXPECT_EQ(table[0].mount_point, "/mnt two");
  EXPECT_EQ(table[0].type, "fuse.ext4");
  EXPECT_EQ(table[0].source, "/a\tb\\");
  EXPECT_TRUE(table[0].read_only());
}

TEST(MountTable, read_only_is_a_whole_word) {
  const auto table = parse_mount_table(
      "1 0 0:1 / /a rw - t s rw,errors=remount-ro\n"
      "2 0 0:1 / /b ro,nosuid - t s rw\n"
      "3 0 0:1 / /c rw - t s rw,ro\n");

  ASSERT_EQ(table.size(), 3U);
  EXPECT_FALSE(table[0].read_only());
  EXPECT_TRUE(table[1].read_only());
  EXPECT_TRUE(table[2].read_only());
}

TEST(MountTable, lines_that_make_no_sense_are_left_out) {
  const auto table = parse_mount_table(
      "\n"
      "x 0 0:1 / /a rw - t s rw\n"
      "1 0 01 / /a rw - t s rw\n"
      "1 0 0:1\n"
      "1 0 0:1 / /a rw shared:1\n"
      "99999999999999999999 0 0:1 / /a rw - t s rw\n"
      "2 0 0:1 / /good\\04 rw - t s");

  ASSERT_EQ(table.size(), 1U);
  EXPECT_EQ(table[0].mount_point, "/good\\04");
  EXPECT_EQ(table[0].super_options, "");
}

TEST(MountTable, the_kernels_own_table_has_a_root) {
  const auto table = read_mount_table();

  ASSERT_TRUE(table.ok());
  bool root = false;
  for (const MountEntry& entry : *table) root = root || entry.mount_point == "/";
  EXPECT_TRUE(root);
  EXPECT_FALSE(read_mount_table("/does/not/exist").ok());
}

}  // namespace
}  // namespace broker
