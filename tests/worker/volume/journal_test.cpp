// What the journal leaves on the medium when nothing comes home any more: others must take it for ext4's own.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <random>
#include <thread>

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

TEST(Journaled, is_marked_to_need_recovery_from_the_first_change_to_the_clean_end) {
  const Image image;
  const auto features = [&] { return image.header("Filesystem features"); };
  const auto device = image.open();
  auto opened = Volume::open(*device, {});
  ASSERT_TRUE(opened.ok());
  Volume& volume = **opened;
  const auto make = [&](const char* name) {
    const auto made = volume.names().create(kRootInode, name, {.mode = S_IFREG | 0644});
    if (made.ok()) volume.references().give_back(made->inode, 1);
    return made.ok();
  };
  EXPECT_EQ(features().find("needs_recovery"), std::string::npos);
  ASSERT_TRUE(volume.start_writing().ok());
  EXPECT_NE(features().find("needs_recovery"), std::string::npos);
  EXPECT_EQ(image.header("Filesystem state"), "clean");
  ASSERT_TRUE(make("one"));
  ASSERT_TRUE(volume.become_read_only().ok());
  EXPECT_EQ(features().find("needs_recovery"), std::string::npos);
  EXPECT_EQ(image.complaints(), "");
  EXPECT_FALSE(make("two"));
  ASSERT_TRUE(volume.become_writable().ok());
  EXPECT_NE(features().find("needs_recovery"), std::string::npos);
  ASSERT_TRUE(make("three"));
  ASSERT_TRUE(volume.sync().ok());
  EXPECT_NE(image.header("Journal start"), "0");
  ASSERT_TRUE(volume.close().ok());
  EXPECT_EQ(features().find("needs_recovery"), std::string::npos);
  EXPECT_EQ(image.header("Journal start"), "0");
  EXPECT_EQ(image.header("Mount count"), "2");
  EXPECT_EQ(image.complaints(), "");
}

TEST(Journaled, log_is_emptied_when_nothing_happens_for_a_while) {
  const Image image;
  FakeDevice device{FakeDevice::contents_of(image.path())};
  MountOptions options;
  options.commit_seconds = 1;
  auto volume = Volume::open(device, options);
  ASSERT_TRUE(volume.ok());
  std::jthread timer{[&](std::stop_token stop) { (*volume)->run_periodic_commit(stop); }};
  ASSERT_TRUE((*volume)->start_writing().ok());
  ASSERT_TRUE((*volume)->names().create(kRootInode, "file", {.mode = S_IFREG | 0644}).ok());
  ASSERT_TRUE((*volume)->sync().ok());
  device.save(image.path());
  ASSERT_NE(image.header("Journal start"), "0");
  for (int i = 0; i < 300 && image.header("Journal start") != "0"; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
    device.save(image.path());
  }
  EXPECT_EQ(image.header("Journal start"), "0");
  timer.request_stop();
  timer.join();
  EXPECT_TRUE((*volume)->close().ok());
}

INSTANTIATE_TEST_SUITE_P(Layouts, JournaledVolume,
                         ::testing::Values("-t ext4 -b 1024 -J size=1", "-t ext4 -b 4096 -J size=4",
                                           "-t ext4 -b 1024 -O ^64bit -J size=1",
                                           "-t ext4 -b 1024 -O ^metadata_csum -J size=1",
                                           "-t ext4 -b 1024 -O ^64bit,^metadata_csum -J size=1",
                                           "-t ext3 -b 1024 -J size=1"));

}  // namespace
}  // namespace worker::volume
