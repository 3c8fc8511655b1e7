#include "worker/volume/orphans.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "tests/worker/volume/orphan_fixture.h"
#include "worker/disk/ext2fs.h"
#include "worker/volume/allocator.h"

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

/// The chain as it is stored, from the superblock on.
std::vector<InodeNumber> chain(Volume& volume) {
  std::vector<InodeNumber> inodes;
  for (InodeNumber inode = volume.fs()->super->s_last_orphan; inode != 0;) {
    inodes.push_back(inode);
    inode = volume.inodes().read(inode)->raw.i_dtime;
  }
  return inodes;
}

TEST(Orphans, live_until_the_last_reference_goes) {
  const Image image;
  WritableVolume volume{image};
  const Space before = free_space(*volume);
  const InodeNumber inode = make_orphan(*volume, 100'000);
  EXPECT_EQ(chain(*volume), std::vector{inode});
  std::vector<std::byte> data(10);
  EXPECT_EQ(*volume->files().read(inode, 50, data), 10u);
  ASSERT_TRUE(volume->orphans().release(inode).ok());
  EXPECT_EQ(chain(*volume), std::vector{inode}) << "still lent";
  forget(*volume, inode);
  EXPECT_TRUE(chain(*volume).empty());
  EXPECT_EQ(free_space(*volume), before);
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST(Orphans, can_be_taken_from_anywhere_in_the_list) {
  const Image image;
  WritableVolume volume{image};
  std::vector<InodeNumber> inodes;
  for (int i = 0; i < 5; ++i) inodes.push_back(make_orphan(*volume));
  EXPECT_EQ(chain(*volume), (std::vector{inodes[4], inodes[3], inodes[2], inodes[1], inodes[0]}));
  forget(*volume, inodes[2]);
  EXPECT_EQ(chain(*volume), (std::vector{inodes[4], inodes[3], inodes[1], inodes[0]}));
  forget(*volume, inodes[4]);
  forget(*volume, inodes[0]);
  EXPECT_EQ(chain(*volume), (std::vector{inodes[3], inodes[1]}));
  const InodeNumber more = make_orphan(*volume);
  EXPECT_EQ(chain(*volume), (std::vector{more, inodes[3], inodes[1]}));
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST(Orphans, stay_in_step_with_the_disk_when_an_operation_fails) {
  const Image image;
  WritableVolume volume{image};
  std::vector<InodeNumber> inodes;
  for (int i = 0; i < 3; ++i) inodes.push_back(make_orphan(*volume));
  const auto listed = chain(*volume);
  const InodeNumber file = make_file(*volume, "f");
  const auto failed = volume->mutate([&](Operation& operation) -> Result<void> {
    for (const InodeNumber number : {inodes[1], inodes[0]}) {
      TRY(inode, volume->inodes().read(number));
      TRY(volume->orphans().remove(operation, inode));
    }
    TRY(inode, volume->inodes().read(file));
    TRY(volume->orphans().add(operation, inode));
    EXPECT_EQ(chain(*volume), (std::vector{file, inodes[2]}));
    return errno_error(ECANCELED);
  });
  EXPECT_FALSE(failed.ok());
  EXPECT_EQ(chain(*volume), listed);
  EXPECT_FALSE(volume->orphans().contains(file));
  for (const InodeNumber inode : inodes) {
    EXPECT_TRUE(volume->orphans().contains(inode));
    forget(*volume, inode);
  }
  EXPECT_TRUE(chain(*volume).empty());
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST(Orphans, keep_their_place_when_an_old_copy_of_the_inode_is_written) {
  const Image image;
  WritableVolume volume{image};
  const InodeNumber first = make_orphan(*volume), second = make_orphan(*volume), third = make_orphan(*volume);
  const auto written = volume->mutate([&](Operation& operation) -> Result<void> {
    TRY(old, volume->inodes().read(third));
    TRY(middle, volume->inodes().read(second));
    TRY(volume->orphans().remove(operation, middle));
    return volume->inodes().write(operation, old);
  });
  ASSERT_TRUE(written.ok());
  EXPECT_EQ(chain(*volume), (std::vector{third, first}));
}

TEST(Orphans, that_are_still_held_go_with_the_mount) {
  const Image image;
  WritableVolume volume{image};
  for (int i = 0; i < 20; ++i) make_orphan(*volume, 5000);
  volume.close();
  EXPECT_EQ(image.complaints(), "");
  EXPECT_EQ(image.header("First orphan inode"), "");
}

TEST(Orphans, of_a_killed_worker_are_freed_by_the_next_mount) {
  const Image image;
  Space before{};
  crash_after(image, [&](Volume& volume) {
    before = free_space(volume);
    for (int i = 0; i < 10; ++i) make_orphan(volume, 300'000);
  });
  WritableVolume volume{image};
  EXPECT_TRUE(chain(*volume).empty());
  EXPECT_EQ(free_space(*volume), before);
  volume.close();
  EXPECT_EQ(tests::run("PATH=$PATH:/usr/sbin e2fsck -fy " + image.path()).status & ~1, 0);
  EXPECT_EQ(image.complaints(), "");
}

TEST(Orphans, with_a_name_are_cut_to_their_size_by_the_next_mount) {
  const Image image;
  InodeNumber inode = 0;
  crash_after(image, [&](Volume& volume) {
    inode = make_file(volume, "f", 300'000);
    ASSERT_TRUE(volume
                    .mutate([&](Operation& operation) -> Result<void> {
                      TRY(node, volume.inodes().read(inode));
                      TRY(volume.orphans().add(operation, node));
                      node.set_size(5000);
                      return volume.inodes().write(operation, node);
                    })
                    .ok());
  });
  WritableVolume volume{image};
  EXPECT_TRUE(chain(*volume).empty());
  const auto attributes = volume->inodes().attributes(inode);
  ASSERT_TRUE(attributes.ok());
  EXPECT_EQ(attributes->size, 5000u);
  EXPECT_LE(attributes->blocks, 16u);
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

/// Writes the list's head and some links by hand.
void forge(const Image& image, InodeNumber head, const std::vector<std::pair<InodeNumber, InodeNumber>>& links) {
  ext2_filsys fs = nullptr;
  ASSERT_EQ(ext2fs_open(image.path().c_str(), EXT2_FLAG_RW | EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs), 0);
  fs->super->s_last_orphan = head;
  ext2fs_mark_super_dirty(fs);
  for (const auto& [inode, next] : links) {
    ext2_inode_large raw{};
    ASSERT_EQ(ext2fs_read_inode_full(fs, inode, reinterpret_cast<ext2_inode*>(&raw), sizeof raw), 0);
    raw.i_dtime = next;
    ASSERT_EQ(ext2fs_write_inode_full(fs, inode, reinterpret_cast<ext2_inode*>(&raw), sizeof raw), 0);
  }
  ext2fs_close_free(&fs);
}

struct Forgery {
  const char* name;
  InodeNumber head;
  std::vector<std::pair<InodeNumber, InodeNumber>> links;
};

void PrintTo(const Forgery& forgery, std::ostream* out) { *out << forgery.name; }

class ForgedOrphans : public testing::TestWithParam<Forgery> {};

// Inodes 12 and 13 are files with names.
INSTANTIATE_TEST_SUITE_P(Lists, ForgedOrphans,
                         testing::Values(Forgery{"a_ring", 12, {{12, 13}, {13, 12}}}, Forgery{"itself", 12, {{12, 12}}},
                                         Forgery{"a_free_inode", 12, {{12, 500}}},
                                         Forgery{"no_inode", 12, {{12, 0xfffffff0}}},
                                         Forgery{"a_reserved_inode", 8, {}}, Forgery{"the_root", 2, {}},
                                         Forgery{"a_head_out_of_range", 0xffffffff, {}}),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST_P(ForgedOrphans, are_cut_off_where_they_stop_making_sense) {
  const Image image{"-t ext4 -e continue"};
  {
    WritableVolume volume{image};
    ASSERT_EQ(make_file(*volume, "a", 10'000), 12u);
    ASSERT_EQ(make_file(*volume, "b", 10'000), 13u);
    volume.close();
  }
  forge(image, GetParam().head, GetParam().links);
  WritableVolume volume{image};
  EXPECT_TRUE(chain(*volume).empty());
  EXPECT_NE(volume->fs()->super->s_error_count, 0u);
  EXPECT_EQ(volume->inodes().attributes(12)->size, 10'000u);
  EXPECT_EQ(volume->inodes().attributes(13)->size, 10'000u);
  EXPECT_EQ(volume->inodes().read(12)->raw.i_dtime, 0u);
  make_orphan(*volume, 5000);
  volume.close();
  EXPECT_EQ(tests::run("PATH=$PATH:/usr/sbin e2fsck -fy " + image.path()).status & ~1, 0);
  EXPECT_EQ(image.complaints(), "");
}

TEST(Orphans, of_a_volume_with_errors_are_left_to_e2fsck) {
  const Image image;
  crash_after(image, [&](Volume& volume) { make_orphan(volume, 5000); });
  image.debugfs("set_super_value state 2");
  Space before{};
  {
    WritableVolume volume{image};
    EXPECT_TRUE(chain(*volume).empty());
    before = free_space(*volume);
    volume.close();
  }
  EXPECT_EQ(tests::run("PATH=$PATH:/usr/sbin e2fsck -fy " + image.path()).status & ~1, 0);
  EXPECT_EQ(image.complaints(), "");
  WritableVolume volume{image};
  EXPECT_GT(free_space(*volume).inodes, before.inodes);
}

}  // namespace
}  // namespace worker::volume
