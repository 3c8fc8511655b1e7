// A freed inode's number names no other file before its old name is gone from the disk.
#include <gtest/gtest.h>

#include "tests/support/fake_device.h"
#include "tests/worker/volume/mounted.h"
#include "worker/volume/allocator.h"
#include "worker/volume/inodes.h"

namespace worker::volume {
namespace {

using tests::error_of;
using tests::FakeDevice;
using tests::Image;
using tests::Mounted;
using tests::new_file;

/// As the kernel does it: the reference goes, and with it the inode.
void remove(Volume& volume, const std::string& name, InodeNumber inode) {
  ASSERT_TRUE(volume.names().unlink(kRootInode, name).ok());
  while (volume.references().lent(inode)) volume.references().give_back(inode, 1);
  const auto released = volume.orphans().release(inode);
  ASSERT_TRUE(released.ok()) << released.error().message();
}

Result<InodeNumber> make(Volume& volume, const std::string& name, std::uint32_t mode = 0100644) {
  TRY(made, volume.names().create(kRootInode, name, new_file(mode)));
  return made.inode;
}

TEST(InodeReuse, waits_for_the_commit_that_frees) {
  const Image image;
  Mounted volume{image};
  const InodeNumber first = make(*volume, "first").value();
  ASSERT_TRUE(volume->sync().ok());
  remove(*volume, "first", first);
  const InodeNumber second = make(*volume, "second").value();
  EXPECT_NE(second, first);
  ASSERT_TRUE(volume->sync().ok());
  EXPECT_EQ(make(*volume, "third").value(), first);
  ASSERT_TRUE(volume.close());
  EXPECT_EQ(image.complaints(), "");
}

TEST(InodeReuse, is_not_held_up_by_a_free_that_was_undone) {
  const Image image;
  Mounted volume{image};
  const InodeNumber inode = make(*volume, "file").value();
  const auto undone = volume->mutate([&](Operation& operation) -> Result<void> {
    TRY(volume->allocator().free_inode(operation, inode, false));
    return errno_error(ECANCELED);
  });
  EXPECT_EQ(error_of(undone), ECANCELED);
  EXPECT_FALSE(volume->inspect([&] { return volume->allocator().has_pending_frees(); }));
  remove(*volume, "file", inode);
  ASSERT_TRUE(volume->sync().ok());
  EXPECT_EQ(make(*volume, "again").value(), inode);
  ASSERT_TRUE(volume.close());
}

TEST(InodeReuse, commits_when_no_other_inode_is_left) {
  const Image image{"-t ext4 -N 64", "16M"};
  Mounted volume{image};
  std::map<std::string, InodeNumber> files;
  for (;;) {
    const std::string name = std::to_string(files.size());
    const auto made = make(*volume, name);
    if (!made.ok()) {
      EXPECT_EQ(error_of(made), ENOSPC);
      break;
    }
    files.emplace(name, *made);
  }
  EXPECT_GT(files.size(), 10U);
  ASSERT_TRUE(volume->sync().ok());
  for (int round = 0; round < 3; ++round) {
    remove(*volume, "1", files.at("1"));
    const auto made = make(*volume, "1");
    ASSERT_TRUE(made.ok()) << made.error().message();
    EXPECT_EQ(*made, files.at("1"));
  }
  EXPECT_EQ(error_of(make(*volume, "one more")), ENOSPC);
  ASSERT_TRUE(volume.close());
  EXPECT_EQ(image.complaints(), "");
}

TEST(InodeReuse, shows_no_other_file_under_an_old_name_wherever_the_worker_is_killed) {
  constexpr std::uint32_t kOld = 0100600, kNew = 0100755;
  const Image image{"-t ext4 -b 1024 -O ^has_journal", "8M"};
  std::vector<std::byte> state = FakeDevice::contents_of(image.path());
  std::vector<FakeDevice::Record> writes;
  {
    FakeDevice device{state};
    auto volume = Volume::open(device, {});
    ASSERT_TRUE(volume.ok());
    ASSERT_TRUE((*volume)->start_writing().ok());
    std::vector<InodeNumber> old;
    for (int i = 0; i < 20; ++i) old.push_back(make(**volume, "old" + std::to_string(i), kOld).value());
    ASSERT_TRUE((*volume)->sync().ok());
    state = device.bytes();
    device.forget_records();
    device.keep_bytes = true;
    for (int i = 0; i < 20; ++i) {
      remove(**volume, "old" + std::to_string(i), old[static_cast<std::size_t>(i)]);
      ASSERT_TRUE(make(**volume, "new" + std::to_string(i), kNew).ok());
      if (i % 7 == 6) ASSERT_TRUE((*volume)->sync().ok());
    }
    ASSERT_TRUE((*volume)->close().ok());
    writes = device.records();
  }
  testing::internal::CaptureStderr();  // each name whose inode is gone is damage
  std::size_t looked = 0;
  for (const FakeDevice::Record& write : writes) {
    std::copy(write.bytes.begin(), write.bytes.end(), state.begin() + static_cast<std::ptrdiff_t>(write.offset));
    FakeDevice killed{state};
    killed.is_read_only = true;
    auto volume = Volume::open(killed, {});
    ASSERT_TRUE(volume.ok());
    for (int i = 0; i < 20; ++i) {
      const auto found = (*volume)->names().lookup(kRootInode, "old" + std::to_string(i));
      if (!found.ok()) continue;
      EXPECT_EQ(found->mode, kOld) << i;
      ++looked;
    }
  }
  (void)testing::internal::GetCapturedStderr();
  EXPECT_GT(looked, 20U);
}

}  // namespace
}  // namespace worker::volume
