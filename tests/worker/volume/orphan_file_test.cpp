#include "worker/volume/orphan_file.h"

#include <endian.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "tests/worker/volume/orphan_fixture.h"

namespace worker::volume {
namespace {

using tests::crash_after;
using tests::forget;
using tests::free_space;
using tests::Image;
using tests::make_file;
using tests::make_orphan;
using tests::Space;
using tests::WritableVolume;

/// One block of 254 slots.
constexpr const char* kSmallFile = "-t ext4 -b 1024 -O orphan_file -E orphan_file_size=1";
constexpr std::size_t kSlots = 254;

bool orphan_present(const Image& image) {
  return image.header("Filesystem features").find("orphan_present") != std::string::npos;
}

/// Where block 0 of the orphan file lies on the volume, in bytes.
std::streamoff place_of_file(const Image& image) {
  WritableVolume volume{image, {.read_only = true}};
  auto inode = volume->inodes().read(volume->fs()->super->s_orphan_file_inum);
  blk64_t home = 0;
  EXPECT_EQ(ext2fs_bmap2(volume->fs(), inode->number, reinterpret_cast<ext2_inode*>(&inode->raw), nullptr, 0, 0,
                         nullptr, &home),
            0);
  return static_cast<std::streamoff>(home * volume->fs()->blocksize);
}

void poke(const Image& image, std::streamoff where, std::uint32_t value) {
  std::fstream file{image.path(), std::ios::in | std::ios::out | std::ios::binary};
  const std::uint32_t raw = htole32(value);
  file.seekp(where).write(reinterpret_cast<const char*>(&raw), sizeof raw);
}

void repair(const Image& image) {
  const auto repaired = tests::run("PATH=$PATH:/usr/sbin e2fsck -fy " + image.path());
  EXPECT_LE(repaired.status, 1) << repaired.output;
}

/// Runs a script in a mount namespace of its own, with the image mounted by the kernel at $m.
tests::Outcome with_kernel(const Image& image, const std::string& script) {
  const std::string at = image.directory().string() + "/mnt";
  return tests::run("unshare -m --propagation private sh -ec 'm=" + at + "; mkdir -p $m; mount -o loop " +
                    image.path() + " $m; " + script + "; umount $m'");
}

class OrphanFileOn : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Layouts, OrphanFileOn,
                         testing::Values(kSmallFile,
                                         "-t ext4 -b 1024 -O orphan_file,^metadata_csum,^64bit -E orphan_file_size=1",
                                         "-t ext4 -b 4096 -O orphan_file,metadata_csum_seed",
                                         "-t ext4 -b 1024 -O orphan_file,^extents,^64bit,^flex_bg"));

TEST_P(OrphanFileOn, holds_what_has_no_name_until_the_last_reference_goes) {
  const Image image{GetParam()};
  WritableVolume volume{image};
  const Space before = free_space(*volume);
  const InodeNumber first = make_orphan(*volume, 50'000), second = make_orphan(*volume, 0);
  EXPECT_TRUE(volume->orphans().contains(first));
  EXPECT_EQ(volume->fs()->super->s_last_orphan, 0U) << "there was room in the file";
  EXPECT_FALSE(volume->orphans().file_is_empty());
  forget(*volume, first);
  forget(*volume, second);
  EXPECT_TRUE(volume->orphans().file_is_empty());
  EXPECT_EQ(free_space(*volume), before);
  volume.close();
  EXPECT_FALSE(orphan_present(image));
  EXPECT_EQ(image.complaints(), "");
}

TEST_P(OrphanFileOn, of_a_killed_worker_is_emptied_by_the_next_mount) {
  const Image image{GetParam()};
  Space before{};
  InodeNumber cut = 0;
  crash_after(image, [&](Volume& volume) {
    cut = make_file(volume, "cut", 100'000);
    before = free_space(volume);
    for (int i = 0; i < 10; ++i) make_orphan(volume, 100'000);
    ASSERT_TRUE(volume
                    .mutate([&](Operation& operation) -> Result<void> {
                      TRY(inode, volume.inodes().read(cut));
                      TRY(volume.orphans().add(operation, inode));
                      inode.set_size(5000);
                      return volume.inodes().write(operation, inode);
                    })
                    .ok());
  });
  EXPECT_TRUE(orphan_present(image));
  WritableVolume volume{image};
  EXPECT_TRUE(volume->orphans().file_is_empty());
  EXPECT_EQ(free_space(*volume).inodes, before.inodes);
  EXPECT_GT(free_space(*volume).blocks, before.blocks);
  EXPECT_EQ(volume->inodes().attributes(cut)->size, 5000U);
  volume.close();
  EXPECT_FALSE(orphan_present(image));
  repair(image);  // nothing but the mark of an unclean unmount, which no mount takes away
  EXPECT_EQ(image.complaints(), "");
}

TEST_P(OrphanFileOn, of_a_killed_worker_is_emptied_by_the_kernel) {
  const Image image{GetParam()};
  crash_after(image, [&](Volume& volume) {
    for (int i = 0; i < 10; ++i) make_orphan(volume, 100'000);
    make_file(volume, "stays", 10);
  });
  const auto mounted = with_kernel(image, "test -s $m/stays");
  ASSERT_EQ(mounted.status, 0) << mounted.output;
  EXPECT_FALSE(orphan_present(image));
  WritableVolume volume{image};
  const auto usage = volume->space();
  EXPECT_EQ(usage.inodes - usage.free_inodes, 13U) << "ten reserved, lost+found, the file and the orphan file";
  volume.close();
  repair(image);
  EXPECT_EQ(image.complaints(), "");
}

TEST_P(OrphanFileOn, of_a_killed_worker_is_emptied_by_e2fsck) {
  const Image image{GetParam()};
  crash_after(image, [&](Volume& volume) {
    for (int i = 0; i < 10; ++i) make_orphan(volume, 100'000);
  });
  const auto preened = tests::run("PATH=$PATH:/usr/sbin LC_ALL=C e2fsck -fp " + image.path());
  EXPECT_EQ(preened.status, 1) << preened.output;
  EXPECT_NE(preened.output.find("orphan"), std::string::npos) << preened.output;
  EXPECT_EQ(preened.output.find("UNEXPECTED"), std::string::npos) << preened.output;
  EXPECT_EQ(image.complaints(), "");
}

TEST_P(OrphanFileOn, that_the_kernel_left_is_emptied_by_us) {
  const Image image{GetParam()};
  // A copy made below a mount is what a power cut would have left; debugfs only puts the journal's
  // blocks in place, where e2fsck would clear the orphans as well.
  const auto left = with_kernel(image,
                                "head -c 200000 /dev/zero >$m/held; head -c 5000 /dev/zero >$m/stays; exec 3<$m/held; "
                                "rm $m/held; sync -f $m; cp " +
                                    image.path() + " " + image.path() + ".cut; exec 3<&-");
  ASSERT_EQ(left.status, 0) << left.output;
  ASSERT_EQ(tests::run("mv " + image.path() + ".cut " + image.path()).status, 0);
  image.debugfs("journal_run");
  ASSERT_TRUE(orphan_present(image));
  WritableVolume volume{image};
  EXPECT_TRUE(volume->orphans().file_is_empty());
  const auto usage = volume->space();
  EXPECT_EQ(usage.inodes - usage.free_inodes, 13U);
  volume.close();
  EXPECT_FALSE(orphan_present(image));
  EXPECT_EQ(image.complaints(), "");
}

TEST(OrphanFile, that_is_full_leaves_the_rest_to_the_list) {
  const Image image{kSmallFile};
  std::vector<InodeNumber> inodes;
  Space before{};
  {
    WritableVolume volume{image};
    before = free_space(*volume);
    for (std::size_t i = 0; i < kSlots; ++i) inodes.push_back(make_orphan(*volume, 0));
    EXPECT_EQ(volume->fs()->super->s_last_orphan, 0U);
    for (int i = 0; i < 5; ++i) inodes.push_back(make_orphan(*volume, 0));
    EXPECT_EQ(volume->fs()->super->s_last_orphan, inodes.back());
    forget(*volume, inodes[100]);
    make_orphan(*volume, 0);
    EXPECT_EQ(volume->fs()->super->s_last_orphan, inodes.back()) << "the free slot was not used";
    ASSERT_TRUE(volume->sync().ok());
  }
  WritableVolume volume{image};
  EXPECT_EQ(free_space(*volume), before);
  EXPECT_EQ(volume->fs()->super->s_last_orphan, 0U);
  volume.close();
  repair(image);
  EXPECT_EQ(image.complaints(), "");
}

TEST(OrphanFile, stays_in_step_with_the_disk_when_an_operation_fails) {
  const Image image{kSmallFile};
  WritableVolume volume{image};
  const InodeNumber orphan = make_orphan(*volume, 0), file = make_file(*volume, "f", 10);
  const auto failed = volume->mutate([&](Operation& operation) -> Result<void> {
    TRY(gone, volume->inodes().read(orphan));
    TRY(volume->orphans().remove(operation, gone));
    TRY(named, volume->inodes().read(file));
    TRY(volume->orphans().add(operation, named));
    EXPECT_TRUE(volume->orphans().contains(file));
    return errno_error(ECANCELED);
  });
  EXPECT_FALSE(failed.ok());
  EXPECT_TRUE(volume->orphans().contains(orphan));
  EXPECT_FALSE(volume->orphans().contains(file));
  forget(*volume, orphan);
  EXPECT_TRUE(volume->orphans().file_is_empty());
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

/// One word of the file's first block that is not what it should be; the slots are not summed here.
struct Damage {
  const char* name;
  std::streamoff where;
  std::uint32_t value;
  bool usable;  ///< the rest of the file still is
};
void PrintTo(const Damage& damage, std::ostream* out) { *out << damage.name; }

class DamagedOrphanFile : public testing::TestWithParam<Damage> {};

INSTANTIATE_TEST_SUITE_P(Words, DamagedOrphanFile,
                         testing::Values(Damage{"its_magic", 1016, 0x12345678, false},
                                         Damage{"the_root", 8, kRootInode, true}, Damage{"itself", 8, 12, true},
                                         Damage{"a_free_inode", 8, 500, true}, Damage{"no_inode", 8, 0xfffffff0, true}),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST_P(DamagedOrphanFile, is_recorded_and_frees_nothing_that_is_in_use) {
  const Image image{"-t ext4 -b 1024 -O orphan_file,^metadata_csum -E orphan_file_size=1 -e continue"};
  InodeNumber file = 0;
  {
    WritableVolume volume{image};
    file = make_file(*volume, "a", 10'000);
    volume.close();
  }
  poke(image, place_of_file(image) + GetParam().where, GetParam().value);
  WritableVolume volume{image};
  EXPECT_NE(volume->fs()->super->s_error_count, 0U);
  EXPECT_EQ(volume->inodes().attributes(file)->size, 10'000U);
  const InodeNumber orphan = make_orphan(*volume, 5000);
  EXPECT_EQ(volume->fs()->super->s_last_orphan, GetParam().usable ? 0 : orphan);
  volume.close();
  EXPECT_TRUE(orphan_present(image)) << "e2fsck is to look";
  repair(image);
  EXPECT_EQ(image.complaints(), "");
}

TEST(OrphanFile, with_a_wrong_checksum_is_not_used) {
  const Image image{std::string{kSmallFile} + " -e continue"};
  poke(image, place_of_file(image) + 1020, 0x12345678);
  WritableVolume volume{image};
  EXPECT_NE(volume->fs()->super->s_error_count, 0U);
  const InodeNumber orphan = make_orphan(*volume, 5000);
  EXPECT_EQ(volume->fs()->super->s_last_orphan, orphan);
  volume.close();
  repair(image);
  EXPECT_EQ(image.complaints(), "");
}

TEST(OrphanFile, of_a_volume_with_errors_is_left_to_e2fsck) {
  const Image image{kSmallFile};
  crash_after(image, [&](Volume& volume) { make_orphan(volume, 5000); });
  image.debugfs("set_super_value state 2");
  Space before{};
  {
    WritableVolume volume{image};
    before = free_space(*volume);
    EXPECT_FALSE(volume->orphans().file_is_empty());
    make_orphan(*volume, 5000);
    volume.close();
  }
  EXPECT_TRUE(orphan_present(image));
  repair(image);
  EXPECT_EQ(image.complaints(), "");
  WritableVolume volume{image};
  EXPECT_EQ(free_space(*volume).inodes, before.inodes + 1);
}

TEST(OrphanFile, cannot_be_reached_by_a_name) {
  const Image image{kSmallFile};
  image.debugfs("ln <12> hidden");
  WritableVolume volume{image};
  EXPECT_FALSE(volume->names().lookup(kRootInode, "hidden").ok());
}

}  // namespace
}  // namespace worker::volume
