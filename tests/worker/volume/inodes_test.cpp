#include "worker/volume/inodes.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>

#include "tests/support/image.h"
#include "tests/worker/volume/writable_volume.h"
#include "worker/disk/ext2fs.h"
#include "worker/volume/file_data.h"
#include "worker/volume/names.h"
#include "worker/volume/orphans.h"
#include "worker/volume/references.h"
#include "worker/volume/xattrs.h"

namespace worker::volume {
namespace {

using tests::Image;
using tests::WritableVolume;

/// A file in the root directory, so that e2fsck has nothing to say about it.
InodeNumber make_file(Volume& volume, const std::string& name, const NewInode& wanted = {.mode = S_IFREG | 0644}) {
  const auto made = volume.names().create(kRootInode, name, wanted);
  EXPECT_TRUE(made.ok()) << made.error().message();
  return made.ok() ? made->inode : 0;
}

AttributeChange times(Timestamp accessed, Timestamp modified) { return {.accessed = accessed, .modified = modified}; }

int error_of(const auto& result) { return result.ok() ? 0 : disk::error_number(result.error().code); }

class InodesWithTimes : public testing::TestWithParam<Timestamp> {};

INSTANTIATE_TEST_SUITE_P(Times, InodesWithTimes,
                         testing::Values(Timestamp{0, 0}, Timestamp{1, 999'999'999}, Timestamp{-1, 1},
                                         Timestamp{INT32_MIN, 0}, Timestamp{INT32_MAX, 5},
                                         Timestamp{std::int64_t{INT32_MAX} + 1, 7}, Timestamp{4'294'967'295, 3},
                                         Timestamp{4'294'967'296, 3}, Timestamp{15'032'385'535, 123'456'789}));

TEST_P(InodesWithTimes, come_back_as_they_were_set) {
  const Image image;
  InodeNumber inode = 0;
  const Timestamp modified{1'700'000'000, 42};
  {
    WritableVolume volume{image};
    inode = make_file(*volume, "f");
    const auto after = volume->inodes().change(inode, times(GetParam(), modified));
    ASSERT_TRUE(after.ok()) << after.error().message();
    EXPECT_EQ(after->accessed, GetParam());
    volume.close();
  }
  EXPECT_EQ(image.complaints(), "");
  WritableVolume volume{image, {.read_only = true}};
  const auto stored = volume->inodes().attributes(inode);
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ(stored->accessed, GetParam());
  EXPECT_EQ(stored->modified, modified);
}

TEST(Inodes, clamp_times_they_cannot_hold) {
  const Image image;
  WritableVolume volume{image};
  const InodeNumber inode = make_file(*volume, "f");
  const auto after = volume->inodes().change(inode, times({std::int64_t{1} << 40, 5}, {-(std::int64_t{1} << 40), 5}));
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after->accessed, (Timestamp{15'032'385'535, 0}));
  EXPECT_EQ(after->modified, (Timestamp{INT32_MIN, 0}));
}

TEST(Inodes, of_128_bytes_have_whole_seconds_until_2038) {
  const Image image{"-t ext2 -b 1024 -I 128", "8M"};
  WritableVolume volume{image};
  const InodeNumber inode = make_file(*volume, "f");
  const auto after = volume->inodes().change(inode, times({1'600'000'000, 999}, {5'000'000'000, 1}));
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after->accessed, (Timestamp{1'600'000'000, 0}));
  EXPECT_EQ(after->modified, (Timestamp{INT32_MAX, 0}));
  EXPECT_EQ(after->born, Timestamp{});
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST(Inodes, keep_large_owners) {
  const Image image;
  WritableVolume volume{image};
  const InodeNumber inode = make_file(*volume, "f", {.mode = S_IFREG | 0600, .uid = 70'000, .gid = 4'000'000'000});
  EXPECT_EQ(volume->inodes().attributes(inode)->uid, 70'000u);
  EXPECT_EQ(volume->inodes().attributes(inode)->gid, 4'000'000'000u);
  ASSERT_TRUE(volume->inodes().change(inode, {.uid = 4'294'967'294, .gid = 65'536}).ok());
  EXPECT_EQ(volume->inodes().attributes(inode)->uid, 4'294'967'294u);
  EXPECT_EQ(volume->inodes().attributes(inode)->gid, 65'536u);
  ASSERT_TRUE(volume->inodes().change(inode, {.uid = 70'000}).ok());
  volume.close();
  EXPECT_EQ(image.complaints(), "");
  const std::string shown = tests::run("PATH=$PATH:/usr/sbin debugfs -R 'stat f' " + image.path()).output;
  EXPECT_NE(shown.find("User: 70000   Group: 65536"), std::string::npos) << shown;
}

TEST(Inodes, keep_device_numbers_of_both_encodings) {
  const Image image;
  WritableVolume volume{image};
  const std::uint32_t small = 8 << 8 | 1, large = (300u << 8) | 0x45 | (0x123u << 20);
  const InodeNumber a = make_file(*volume, "a", {.mode = S_IFBLK | 0600, .device = small});
  const InodeNumber b = make_file(*volume, "b", {.mode = S_IFCHR | 0600, .device = large});
  EXPECT_EQ(volume->inodes().attributes(a)->device, small);
  EXPECT_EQ(volume->inodes().attributes(b)->device, large);
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST(Inodes, count_blocks_of_huge_files_in_either_unit) {
  const Image image;
  WritableVolume volume{image, {.read_only = true}};
  Inode inode;
  inode.raw.i_mode = S_IFREG;
  inode.raw.i_blocks = 8;
  inode.raw.osd2.linux2.l_i_blocks_hi = 1;
  const std::uint64_t counted = 8 + (std::uint64_t{1} << 32);
  EXPECT_EQ(volume->inodes().attributes(inode).blocks, counted);
  inode.raw.i_flags = EXT4_HUGE_FILE_FL;
  EXPECT_EQ(volume->inodes().attributes(inode).blocks, counted * volume->fs()->blocksize / 512);
}

TEST(Inodes, refuse_numbers_that_are_not_in_use) {
  const Image image;
  WritableVolume volume{image};
  const InodeNumber last = volume->fs()->super->s_inodes_count;
  for (const InodeNumber number : {InodeNumber{0}, last, last + 1, ~InodeNumber{0}, InodeNumber{100}}) {
    EXPECT_EQ(error_of(volume->inodes().read(number)), ESTALE) << number;
  }
  const InodeNumber inode = make_file(*volume, "f");
  ASSERT_TRUE(volume->names().unlink(kRootInode, "f").ok());
  ASSERT_TRUE(volume->orphans().release(inode).ok());
  EXPECT_EQ(error_of(volume->inodes().read(inode)), 0) << "the lookup still lends it";
  volume->references().give_back(inode, 1);
  ASSERT_TRUE(volume->orphans().release(inode).ok());
  EXPECT_EQ(error_of(volume->inodes().read(inode)), ESTALE);
  EXPECT_EQ(error_of(volume->inodes().attributes(inode)), ESTALE);
}

TEST(Inodes, report_a_bad_checksum_as_damage) {
  const Image image;
  InodeNumber inode = 0;
  {
    WritableVolume volume{image};
    inode = make_file(*volume, "f");
    volume.close();
  }
  image.debugfs("set_inode_field <" + std::to_string(inode) + "> checksum 0x1234");
  WritableVolume volume{image, {.read_only = true}};
  EXPECT_EQ(error_of(volume->inodes().attributes(inode)), EUCLEAN);
}

TEST(Inodes, take_over_group_and_flags_of_their_directory) {
  const Image image;
  WritableVolume volume{image};
  const InodeNumber parent = make_file(*volume, "d", {.mode = S_IFDIR | 0755});
  ASSERT_TRUE(volume->inodes().change(parent, {.mode = 02775, .gid = 555}).ok());
  ASSERT_TRUE(volume->inodes()
                  .set_flags(parent, volume->inodes().attributes(parent)->flags | EXT2_NOATIME_FL | EXT2_NODUMP_FL |
                                         EXT2_TOPDIR_FL)
                  .ok());
  const auto child = [&](const char* name, std::uint32_t mode) {
    const auto made = volume->names().create(parent, name, {.mode = mode, .gid = 1});
    EXPECT_TRUE(made.ok());
    return *volume->inodes().attributes(made->inode);
  };
  const Attributes file = child("f", S_IFREG | 0644), directory = child("s", S_IFDIR | 0755);
  EXPECT_EQ(file.gid, 555u);
  EXPECT_EQ(file.mode, S_IFREG | 0644u);
  EXPECT_EQ(file.flags & (EXT2_NOATIME_FL | EXT2_NODUMP_FL | EXT2_TOPDIR_FL),
            std::uint32_t{EXT2_NOATIME_FL | EXT2_NODUMP_FL});
  EXPECT_EQ(directory.gid, 555u);
  EXPECT_EQ(directory.mode, S_IFDIR | 02755u);
  EXPECT_EQ(directory.flags & (EXT2_NOATIME_FL | EXT2_NODUMP_FL | EXT2_TOPDIR_FL),
            std::uint32_t{EXT2_NOATIME_FL | EXT2_NODUMP_FL});
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST(Inodes, change_time_follows_every_change_unless_it_comes_along) {
  const Image image;
  WritableVolume volume{image};
  const InodeNumber inode = make_file(*volume, "f");
  ASSERT_TRUE(volume->inodes().change(inode, {.changed = Timestamp{1000, 1}}).ok());
  EXPECT_EQ(volume->inodes().attributes(inode)->changed, (Timestamp{1000, 1}));
  const auto after = volume->inodes().change(inode, {.accessed = Timestamp{5, 5}});
  ASSERT_TRUE(after.ok());
  EXPECT_GT(after->changed.seconds, 1000);
  EXPECT_NE(volume->inodes().attributes(inode)->born, Timestamp{});
}

TEST(Inodes, lose_their_privileges_when_asked) {
  const Image image;
  WritableVolume volume{image};
  const InodeNumber executable = make_file(*volume, "x"), locked = make_file(*volume, "l");
  ASSERT_TRUE(volume->inodes().change(executable, {.mode = 06755}).ok());
  ASSERT_TRUE(volume->inodes().change(locked, {.mode = 06644}).ok());
  const auto one = volume->inodes().change(executable, {.uid = 5, .kill_privileges = true});
  const auto two = volume->inodes().change(locked, {.uid = 5, .kill_privileges = true});
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_EQ(one->mode, S_IFREG | 0755u);
  EXPECT_EQ(two->mode, S_IFREG | 02644u);
}

TEST(Inodes, lose_their_capabilities_with_their_owner_or_contents) {
  const Image image;
  WritableVolume volume{image};
  constexpr const char* kName = "security.capability";
  const std::vector<std::byte> value(20, std::byte{1});
  const InodeNumber inode = make_file(*volume, "f");
  for (const AttributeChange& change : {AttributeChange{.size = 5}, AttributeChange{.uid = 5},
                                        AttributeChange{.gid = 5}, AttributeChange{.mode = 0700}}) {
    ASSERT_TRUE(volume->xattrs().set(inode, kName, value, SetMode::any, false).ok());
    ASSERT_TRUE(volume->inodes().change(inode, change).ok());
    EXPECT_EQ(volume->xattrs().get(inode, kName).ok(), change.mode.has_value());
  }
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST(Inodes, obey_immutable_and_append_only) {
  const Image image;
  WritableVolume volume{image};
  Inodes& inodes = volume->inodes();
  const InodeNumber inode = make_file(*volume, "f");
  const std::uint32_t plain = inodes.attributes(inode)->flags;
  const Timestamp now{1'700'000'000, 0};
  for (const std::uint32_t flag : {EXT2_IMMUTABLE_FL, EXT2_APPEND_FL}) {
    ASSERT_TRUE(inodes.set_flags(inode, plain | flag).ok());
    EXPECT_EQ(error_of(inodes.change(inode, {.mode = 0600})), EPERM);
    EXPECT_EQ(error_of(inodes.change(inode, {.uid = 1})), EPERM);
    EXPECT_EQ(error_of(inodes.change(inode, {.size = 0})), EPERM);
    EXPECT_EQ(error_of(inodes.change(inode, times(now, now))), EPERM);
    EXPECT_EQ(error_of(inodes.change(inode, {.modified = now, .changed = now})), 0)
        << "write-back of the kernel's times";
  }
  ASSERT_TRUE(inodes.set_flags(inode, plain).ok());
  EXPECT_EQ(error_of(inodes.change(inode, {.mode = 0600})), 0);
}

TEST(Inodes, refuse_flags_they_cannot_honour_and_keep_those_that_describe_them) {
  const Image image;
  WritableVolume volume{image};
  Inodes& inodes = volume->inodes();
  const InodeNumber inode = make_file(*volume, "f");
  const std::uint32_t plain = inodes.attributes(inode)->flags;
  ASSERT_NE(plain & EXT4_EXTENTS_FL, 0u);
  EXPECT_EQ(error_of(inodes.set_flags(inode, plain & ~EXT4_EXTENTS_FL)), EOPNOTSUPP);
  EXPECT_EQ(error_of(inodes.set_flags(inode, plain | EXT3_JOURNAL_DATA_FL)), EOPNOTSUPP);
  EXPECT_EQ(error_of(inodes.set_flags(inode, plain | EXT2_DIRSYNC_FL)), EOPNOTSUPP);
  EXPECT_EQ(error_of(inodes.set_flags(inode, plain | EXT2_INDEX_FL)), 0);
  EXPECT_EQ(inodes.attributes(inode)->flags, plain);
  EXPECT_EQ(error_of(inodes.set_flags(inode, plain | EXT2_NODUMP_FL)), 0);
  EXPECT_EQ(inodes.attributes(inode)->flags, plain | EXT2_NODUMP_FL);
}

TEST(Inodes, have_their_truncation_done_with_the_rest_of_the_change) {
  const Image image;
  WritableVolume volume{image};
  const InodeNumber inode = make_file(*volume, "f");
  const std::vector<std::byte> data(10'000, std::byte{'x'});
  ASSERT_TRUE(volume->files().write(inode, 0, data, {}).ok());
  const auto after = volume->inodes().change(inode, {.mode = 0600, .size = 77});
  ASSERT_TRUE(after.ok()) << after.error().message();
  EXPECT_EQ(after->size, 77u);
  EXPECT_EQ(after->mode, S_IFREG | 0600u);
  EXPECT_EQ(error_of(volume->inodes().change(kRootInode, {.size = 0})), EISDIR);
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

}  // namespace
}  // namespace worker::volume
