// What the journal leaves on the medium when nothing comes home any more: others must take it for ext4's own.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <random>

#include "tests/support/fake_device.h"
#include "tests/support/image.h"
#include "worker/volume/file_data.h"
#include "worker/volume/names.h"
#include "worker/volume/references.h"
#include "worker/volume/volume.h"
#include "worker/volume/xattrs.h"

namespace worker::volume {
namespace {

using tests::FakeDevice;
using tests::Image;

/// Seeded changes of every kind in one directory tree.
class RandomWork {
 public:
  RandomWork(Volume& volume, std::uint32_t seed) : volume_{volume}, random_{seed} {}

  void step() {
    switch (random_() % 8) {
      case 0:
      case 1:
        return create();
      case 2:
        return write();
      case 3:
        return (void)volume_.names().unlink(kRootInode, name());
      case 4:
        return (void)volume_.names().rename(kRootInode, name(), kRootInode, name(), 0);
      case 5:
        return truncate();
      case 6:
        return (void)volume_.names().create(kRootInode, "d" + name(), {.mode = S_IFDIR | 0755});
      default:
        return (void)volume_.names().remove_directory(kRootInode, "d" + name());
    }
  }

 private:
  std::string name() { return "a name that fills its directory block " + std::to_string(random_() % 60); }
  void create() {
    const auto made = volume_.names().create(kRootInode, name(), {.mode = S_IFREG | 0644});
    if (made.ok()) volume_.references().give_back(made->inode, 1);
  }
  void write() {
    const auto found = volume_.names().lookup(kRootInode, name());
    if (!found.ok()) return;
    const std::vector<std::byte> data(random_() % 30000, static_cast<std::byte>(random_()));
    if (!data.empty()) (void)volume_.files().write(found->inode, random_() % 100000, data, {});
    const std::vector<std::byte> value(random_() % 900, std::byte{'v'});
    (void)volume_.xattrs().set(found->inode, "user.value", value, SetMode::any, false);
    volume_.references().give_back(found->inode, 1);
  }
  void truncate() {
    const auto found = volume_.names().lookup(kRootInode, name());
    if (!found.ok()) return;
    (void)volume_.files().truncate(found->inode, random_() % 50000);
    volume_.references().give_back(found->inode, 1);
  }

  Volume& volume_;
  std::mt19937 random_;
};

class JournaledVolume : public ::testing::TestWithParam<std::string> {};

TEST_P(JournaledVolume, is_replayed_by_e2fsck_without_a_complaint_wherever_it_was_cut) {
  const Image image{GetParam(), "32M"};
  FakeDevice device{FakeDevice::contents_of(image.path())};
  auto volume = Volume::open(device, {});
  ASSERT_TRUE(volume.ok()) << volume.error().message();
  ASSERT_TRUE((*volume)->start_writing().ok());
  RandomWork work{**volume, 7};
  for (int round = 0; round < 60; ++round) {
    for (int i = 0; i < 40; ++i) work.step();
    ASSERT_TRUE((*volume)->sync().ok());
    if (round % 6 != 5) continue;
    device.save(image.path());
    const auto replayed = tests::run("e2fsck -p -E journal_only " + image.path());
    ASSERT_EQ(replayed.status, 0) << replayed.output;
    ASSERT_EQ(image.complaints(), "") << "round " << round;
  }
  ASSERT_TRUE((*volume)->close().ok());
  device.save(image.path());
  EXPECT_EQ(image.complaints(), "");
  EXPECT_EQ(image.header("Filesystem state"), "clean");
}

INSTANTIATE_TEST_SUITE_P(Layouts, JournaledVolume,
                         ::testing::Values("-t ext4 -b 1024 -J size=1", "-t ext4 -b 4096 -J size=4",
                                           "-t ext4 -b 1024 -O ^64bit -J size=1",
                                           "-t ext4 -b 1024 -O ^metadata_csum -J size=1",
                                           "-t ext4 -b 1024 -O ^64bit,^metadata_csum -J size=1",
                                           "-t ext3 -b 1024 -J size=1"));

}  // namespace
}  // namespace worker::volume
