#include "worker/volume/volume.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <functional>
#include <latch>
#include <mutex>
#include <sstream>
#include <thread>

#include "tests/support/fake_device.h"
#include "tests/support/image.h"
#include "worker/volume/file_data.h"
#include "worker/volume/names.h"
#include "worker/volume/superblock.h"

namespace worker::volume {
namespace {

using tests::FakeDevice;
using tests::Image;

/// Changes the root's modification time: a small operation that leaves the volume sound.
Result<void> touch_root(Volume& volume, std::uint32_t seconds) {
  return volume.mutate([&](Operation&) -> Result<void> {
    ext2_inode_large inode{};
    auto* raw = reinterpret_cast<ext2_inode*>(&inode);
    TRY_EXT2(ext2fs_read_inode_full(volume.fs(), kRootInode, raw, sizeof inode));
    inode.i_mtime = seconds;
    TRY_EXT2(ext2fs_write_inode_full(volume.fs(), kRootInode, raw, sizeof inode));
    return {};
  });
}

std::string refusal(disk::BlockDevice& device, const MountOptions& options = {}) {
  const auto volume = Volume::open(device, options);
  return volume.ok() ? "opened" : volume.error().message();
}

int number(const Result<void>& outcome) { return outcome.ok() ? 0 : disk::error_number(outcome.error().code); }

MountOptions with_errors(ErrorPolicy policy) {
  MountOptions options;
  options.errors = policy;
  return options;
}

TEST(Volume, opens_changes_and_closes_an_image_that_e2fsck_likes) {
  const Image image{"-t ext4 -O ^has_journal"};
  {
    const auto device = image.open();
    auto volume = Volume::open(*device, {});
    ASSERT_TRUE(volume.ok()) << volume.error().message();
    EXPECT_TRUE((*volume)->warnings().empty());
    EXPECT_TRUE((*volume)->cleanly_unmounted());
    ASSERT_TRUE((*volume)->start_writing().ok());
    EXPECT_EQ(image.header("Filesystem state"), "not clean");
    ASSERT_TRUE(touch_root(**volume, 1234567890).ok());
    const auto closed = (*volume)->close();
    ASSERT_TRUE(closed.ok()) << closed.error().message();
    EXPECT_EQ(number(touch_root(**volume, 5)), EROFS);
    EXPECT_TRUE((*volume)->close().ok());
  }
  EXPECT_EQ(image.header("Filesystem state"), "clean");
  EXPECT_EQ(image.header("Mount count"), "1");
  EXPECT_EQ(image.complaints(), "");
}

TEST(Volume, opening_and_probing_write_nothing) {
  const Image image;
  const std::string before = image.sha256();
  {
    const auto device = image.open();
    auto volume = Volume::open(*device, {});
    ASSERT_TRUE(volume.ok());
    EXPECT_TRUE((*volume)->inspect([&]() -> Result<int> { return errno_error(EUCLEAN, "as if"); }).ok() == false);
    EXPECT_TRUE((*volume)->sync().ok());
    EXPECT_GT((*volume)->space().free_blocks, 0U);
  }
  EXPECT_EQ(image.sha256(), before);
}

TEST(Volume, a_read_only_mount_writes_nothing_and_refuses_to) {
  const Image image;
  const std::string before = image.sha256();
  for (const bool by_device : {false, true}) {
    const auto device = image.open(by_device);
    MountOptions options;
    options.read_only = !by_device;
    auto volume = Volume::open(*device, options);
    ASSERT_TRUE(volume.ok());
    EXPECT_TRUE((*volume)->read_only());
    ASSERT_TRUE((*volume)->start_writing().ok());
    EXPECT_EQ(number(touch_root(**volume, 1)), EROFS);
    EXPECT_TRUE((*volume)->sync().ok());
    EXPECT_TRUE((*volume)->become_read_only().ok());
    if (by_device) EXPECT_EQ(number((*volume)->become_writable()), EROFS);
    EXPECT_TRUE((*volume)->close().ok());
  }
  EXPECT_EQ(image.sha256(), before);
}

TEST(Volume, what_is_no_sound_volume_is_refused_in_one_line) {
  FakeDevice nothing{std::size_t{1} << 20};
  EXPECT_EQ(refusal(nothing), "no ext2, ext3 or ext4 file system found: Invalid argument");
  FakeDevice tiny{1500};
  EXPECT_EQ(refusal(tiny), "too small for an ext2, ext3 or ext4 file system: Invalid argument");

  const Image image;
  auto bytes = FakeDevice::contents_of(image.path());
  {
    auto cut = bytes;
    cut.resize(bytes.size() / 2);
    FakeDevice device{cut};
    EXPECT_EQ(refusal(device), "the file system is larger than what holds it: Structure needs cleaning");
  }
  {
    auto broken = bytes;
    broken[1024 + 0x10] ^= std::byte{1};
    FakeDevice device{broken};
    EXPECT_EQ(refusal(device), "the superblock cannot be used: Superblock checksum does not match superblock");
  }
  {
    auto broken = bytes;
    broken[2048 + 8] ^= std::byte{1};
    FakeDevice device{broken};
    EXPECT_EQ(refusal(device), "block group 0: bad descriptor checksum: Structure needs cleaning");
  }
}

TEST(Volume, any_single_damaged_word_of_the_superblock_is_refused_or_served_but_never_fatal) {
  const Image image{"-t ext4 -O ^metadata_csum", "4M"};
  const auto bytes = FakeDevice::contents_of(image.path());
  for (std::size_t offset = 0; offset < 0x180; offset += 2)
    for (const int value : {0x00, 0x7F, 0xFF}) {
      auto broken = bytes;
      broken[1024 + offset] = broken[1025 + offset] = static_cast<std::byte>(value);
      FakeDevice device{broken};
      auto volume = Volume::open(device, {});
      if (volume.ok()) {
        (void)(*volume)->space();
        if ((*volume)->start_writing().ok()) (void)touch_root(**volume, 7);
        (void)(*volume)->close();
      } else {
        EXPECT_EQ(volume.error().message().find('\n'), std::string::npos);
      }
    }
}

TEST(Volume, features_out_of_reach_are_refused_or_make_it_read_only_with_the_reason) {
  const Image image{"-t ext4 -O inline_data", "16M"};
  const std::string before = image.sha256();
  {
    const auto device = image.open();
    auto volume = Volume::open(*device, {});
    ASSERT_TRUE(volume.ok());
    EXPECT_TRUE((*volume)->read_only());
    EXPECT_EQ((*volume)->read_only_reason(), "can only be read with inline_data");
    EXPECT_EQ((*volume)->warnings(), std::vector<std::string>{"mounted read-only: can only be read with inline_data"});
    EXPECT_TRUE((*volume)->start_writing().ok());
    EXPECT_EQ(number((*volume)->become_writable()), EROFS);
    EXPECT_TRUE((*volume)->close().ok());
  }
  EXPECT_EQ(image.sha256(), before);
  const Image journal{"-O journal_dev", "16M"};
  const auto device = journal.open();
  EXPECT_EQ(refusal(*device), "cannot be mounted with journal_dev: Operation not supported");
}

TEST(Volume, warns_of_a_volume_that_was_not_unmounted_and_leaves_it_so) {
  const Image image{"-t ext4 -O ^has_journal"};
  for (int round = 0; round < 2; ++round) {
    const auto device = image.open();
    auto volume = Volume::open(*device, {});
    ASSERT_TRUE(volume.ok());
    EXPECT_EQ((*volume)->warnings().size(), round == 0 ? 0U : 1U);
    ASSERT_TRUE((*volume)->start_writing().ok());
    ASSERT_TRUE(touch_root(**volume, 99).ok());
    if (round == 1) ASSERT_TRUE((*volume)->close().ok());
  }
  EXPECT_EQ(image.header("Filesystem state"), "not clean");
  EXPECT_EQ(image.header("Mount count"), "2");
}

TEST(Volume, remounts_read_only_and_back) {
  const Image image{"-t ext4 -O ^has_journal"};
  {
    const auto device = image.open();
    auto opened = Volume::open(*device, {});
    ASSERT_TRUE(opened.ok());
    Volume& volume = **opened;
    ASSERT_TRUE(volume.start_writing().ok());
    ASSERT_TRUE(touch_root(volume, 1).ok());
    ASSERT_TRUE(volume.become_read_only().ok());
    EXPECT_EQ(image.header("Filesystem state"), "clean");
    EXPECT_EQ(image.complaints(), "");
    EXPECT_EQ(number(touch_root(volume, 2)), EROFS);
    ASSERT_TRUE(volume.become_writable().ok());
    EXPECT_EQ(image.header("Filesystem state"), "not clean");
    ASSERT_TRUE(touch_root(volume, 3).ok());
    ASSERT_TRUE(volume.close().ok());
  }
  EXPECT_EQ(image.header("Filesystem state"), "clean");
  EXPECT_EQ(image.complaints(), "");
}

TEST(Volume, mutations_wait_until_writing_may_start) {
  const Image image;
  const auto device = image.open();
  auto volume = Volume::open(*device, {});
  ASSERT_TRUE(volume.ok());
  std::atomic<bool> done{false};
  std::thread waiting{[&] {
    EXPECT_TRUE(touch_root(**volume, 1).ok());
    done = true;
  }};
  std::this_thread::sleep_for(std::chrono::milliseconds{30});
  EXPECT_FALSE(done);
  ASSERT_TRUE((*volume)->start_writing().ok());
  waiting.join();
  EXPECT_TRUE((*volume)->close().ok());
}

/// A device whose flushes wait before they are done.
class WaitingFlush final : public disk::BlockDevice {
 public:
  WaitingFlush(FakeDevice& inner, std::function<void()> wait) : inner_{inner}, wait_{std::move(wait)} {}
  Result<void> read(disk::ByteOffset offset, std::span<std::byte> into) override { return inner_.read(offset, into); }
  Result<void> write(disk::ByteOffset offset, std::span<const std::byte> from) override {
    return inner_.write(offset, from);
  }
  Result<void> flush() override {
    wait_();
    return inner_.flush();
  }
  Result<void> discard(disk::ByteOffset offset, std::uint64_t length) override {
    return inner_.discard(offset, length);
  }
  std::uint64_t size() const noexcept override { return inner_.size(); }
  bool read_only() const noexcept override { return false; }

 private:
  FakeDevice& inner_;
  std::function<void()> wait_;
};

TEST(Volume, whatever_changes_it_waits_until_writing_has_started) {
  const Image image;
  image.debugfs("write /dev/null file");
  FakeDevice memory{FakeDevice::contents_of(image.path())};
  std::latch starting{1}, held_up{1};
  std::once_flag first;
  WaitingFlush device{memory, [&] {
                        std::call_once(first, [&] {
                          starting.count_down();
                          held_up.wait();
                        });
                      }};
  auto opened = Volume::open(device, {});
  ASSERT_TRUE(opened.ok());
  Volume& volume = **opened;
  const auto file = volume.names().lookup(kRootInode, "file");
  ASSERT_TRUE(file.ok());
  std::vector<std::thread> threads;
  threads.emplace_back([&] { EXPECT_TRUE(volume.start_writing().ok()); });
  starting.wait();
  EXPECT_FALSE(volume.read_only());
  std::atomic<int> done{0};
  const auto waits = [&](auto change) {
    threads.emplace_back([&, change] {
      const auto outcome = change();
      EXPECT_TRUE(outcome.ok()) << outcome.error().message();
      ++done;
    });
  };
  const std::vector<std::byte> bytes(5000);
  waits([&] { return volume.await_writable(); });
  waits([&] { return touch_root(volume, 1); });
  waits([&] { return volume.files().write(file->inode, 0, bytes, {}); });
  waits([&] { return volume.files().truncate(file->inode, 9000); });
  waits([&] { return volume.files().allocate(file->inode, 0, 0, 20000); });
  waits([&] { return volume.names().create(kRootInode, "new", {.mode = S_IFREG | 0644}); });
  std::this_thread::sleep_for(std::chrono::milliseconds{30});
  EXPECT_EQ(done, 0);
  held_up.count_down();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(done, 6);
  EXPECT_TRUE(volume.close().ok());
  memory.save(image.path());
  EXPECT_EQ(image.complaints(), "");
}

TEST(Volume, callers_of_sync_share_commits_and_each_finds_its_change_durable) {
  const Image image;
  FakeDevice memory{FakeDevice::contents_of(image.path())};
  WaitingFlush device{memory, [] { std::this_thread::sleep_for(std::chrono::milliseconds{20}); }};
  auto volume = Volume::open(device, {});
  ASSERT_TRUE(volume.ok());
  ASSERT_TRUE((*volume)->start_writing().ok());
  const auto before = memory.count(FakeDevice::Kind::flush);
  constexpr int kThreads = 8, kRounds = 5;
  std::latch start{kThreads};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      for (int round = 0; round < kRounds; ++round) {
        EXPECT_TRUE(touch_root(**volume, static_cast<std::uint32_t>(i)).ok());
        EXPECT_TRUE((*volume)->sync().ok());
      }
    });
  for (auto& thread : threads) thread.join();
  const auto flushes = memory.count(FakeDevice::Kind::flush) - before;
  EXPECT_LE(flushes, 2 * (2U * kRounds + 3)) << "each of " << kThreads * kRounds << " calls would have been alone";
  EXPECT_TRUE((*volume)->close().ok());
}

TEST(Volume, the_periodic_commit_writes_what_is_dirty_and_stops_when_asked) {
  const Image image;
  FakeDevice device{FakeDevice::contents_of(image.path())};
  MountOptions options;
  options.commit_seconds = 1;
  auto volume = Volume::open(device, options);
  ASSERT_TRUE(volume.ok());
  std::jthread timer{[&](std::stop_token stop) { (*volume)->run_periodic_commit(stop); }};
  ASSERT_TRUE((*volume)->start_writing().ok());
  ASSERT_TRUE(touch_root(**volume, 42).ok());
  EXPECT_GT((*volume)->cache().dirty_blocks(), 0U);
  for (int i = 0; i < 300 && (*volume)->cache().dirty_blocks() > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
  EXPECT_EQ((*volume)->cache().dirty_blocks(), 0U);
  timer.request_stop();
  timer.join();
  EXPECT_TRUE((*volume)->close().ok());
}

TEST(Volume, damage_is_recorded_and_follows_errors) {
  for (const auto policy : {ErrorPolicy::go_on, ErrorPolicy::remount_read_only}) {
    const Image image{"-t ext4 -O ^has_journal"};
    {
      const auto device = image.open();
      auto volume = Volume::open(*device, with_errors(policy));
      ASSERT_TRUE(volume.ok());
      ASSERT_TRUE((*volume)->start_writing().ok());
      ASSERT_TRUE(touch_root(**volume, 1).ok());
      const auto hit = (*volume)->mutate(
          [](Operation&) -> Result<void> { return disk::ext2_error(EXT2_ET_DIR_CORRUPTED, "directory of inode 12"); });
      EXPECT_EQ(number(hit), EUCLEAN);
      EXPECT_EQ(image.header("FS Error count"), "1");
      EXPECT_EQ(image.header("First error function"), "directory of inode 12");
      EXPECT_EQ(number(touch_root(**volume, 2)), policy == ErrorPolicy::go_on ? 0 : EROFS);
      if (policy != ErrorPolicy::go_on) EXPECT_EQ(number((*volume)->become_writable()), EROFS);
      EXPECT_TRUE((*volume)->close().ok());
    }
    const std::string state = image.header("Filesystem state");
    EXPECT_EQ(state, policy == ErrorPolicy::go_on ? "clean with errors" : "not clean with errors");
    const auto device = image.open();
    auto again = Volume::open(*device, {});
    ASSERT_TRUE(again.ok());
    EXPECT_EQ((*again)->warnings(), std::vector<std::string>{"errors were found on the volume before; run e2fsck"});
  }
}

TEST(VolumeDeathTest, errors_panic_ends_the_process_once_the_record_is_durable) {
  const Image image;
  EXPECT_DEATH(
      {
        const auto device = image.open();
        auto volume = Volume::open(*device, with_errors(ErrorPolicy::panic));
        (void)(*volume)->start_writing();
        (void)(*volume)->mutate([](Operation&) -> Result<void> { return errno_error(EUCLEAN, "here"); });
      },
      "damage on the volume: here");
}

TEST(Volume, statfs_numbers_agree_with_what_dumpe2fs_counts) {
  const Image image;
  const auto device = image.open(true);
  MountOptions minix;
  minix.minix_df = true;
  auto bsd = Volume::open(*device, {});
  auto raw = Volume::open(*device, minix);
  ASSERT_TRUE(bsd.ok() && raw.ok());
  EXPECT_EQ(std::to_string((*raw)->space().blocks), image.header("Block count"));
  EXPECT_EQ(std::to_string((*bsd)->space().free_blocks), image.header("Free blocks"));
  EXPECT_EQ(std::to_string((*bsd)->space().free_inodes), image.header("Free inodes"));
  EXPECT_EQ(std::to_string((*bsd)->space().inodes), image.header("Inode count"));
  EXPECT_LT((*bsd)->space().blocks, (*raw)->space().blocks);
  EXPECT_EQ((*bsd)->label(), "");
}

TEST(Volume, statfs_numbers_agree_with_the_kernel_s) {
  for (const auto& [options, size] :
       std::vector<std::pair<std::string, std::string>>{{"-t ext4", "100M"},
                                                        {"-t ext4", "2G"},
                                                        {"-t ext2 -b 1024", "50M"},
                                                        {"-t ext4 -b 1024 -O meta_bg,^resize_inode -g 512", "64M"},
                                                        {"-t ext4 -O ^sparse_super,^resize_inode", "1G"},
                                                        {"-t ext4 -O sparse_super2,^flex_bg", "1G"},
                                                        {"-t ext4 -O bigalloc", "512M"},
                                                        {"-t ext4 -m 0", "200M"}}) {
    SCOPED_TRACE(options);
    const Image image{options, size};
    const auto mounted = tests::run("cd '" + image.directory().string() + "' && mkdir mnt && " +
                                    "unshare -m --propagation private sh -c 'mount -o loop,ro image mnt && "
                                    "stat -f -c \"%b %f %a %c %d %S\" mnt && umount mnt'");
    if (mounted.status != 0) GTEST_SKIP() << "the kernel cannot mount here: " << mounted.output;
    const auto device = image.open(true);
    auto volume = Volume::open(*device, {});
    ASSERT_TRUE(volume.ok());
    const SpaceUsage usage = (*volume)->space();
    std::ostringstream ours;
    ours << usage.blocks << ' ' << usage.free_blocks << ' ' << usage.available_blocks << ' ' << usage.inodes << ' '
         << usage.free_inodes << ' ' << usage.block_size << '\n';
    EXPECT_EQ(ours.str(), mounted.output);
  }
}

TEST(Volume, a_failed_write_or_flush_ends_all_writing_at_every_point_of_a_workload) {
  const Image image{"-t ext4 -b 1024", "8M"};
  const auto bytes = FakeDevice::contents_of(image.path());
  for (const auto kind : {FakeDevice::Kind::write, FakeDevice::Kind::flush}) {
    bool failed = true;
    for (std::size_t k = 0; failed; ++k) {
      ASSERT_LT(k, 100U);
      SCOPED_TRACE(k);
      FakeDevice device{bytes};
      device.fail(kind, k, EIO, true);
      auto opened = Volume::open(device, {});
      ASSERT_TRUE(opened.ok());
      Volume& volume = **opened;
      failed = !volume.start_writing().ok();
      for (std::uint32_t step = 0; step < 3 && !failed; ++step) {
        EXPECT_TRUE(touch_root(volume, step).ok());
        failed = !volume.sync().ok();
      }
      if (!failed) {
        failed = !volume.close().ok();
        if (!failed) break;
        EXPECT_EQ(number(volume.close()), EIO);
      }
      // From the failure on nothing may reach the device, whatever is asked.
      const auto writes = device.count(FakeDevice::Kind::write);
      const auto flushes = device.count(FakeDevice::Kind::flush);
      EXPECT_EQ(number(touch_root(volume, 9)), EROFS);
      EXPECT_EQ(number(volume.sync()), EIO);
      EXPECT_EQ(number(volume.sync()), EIO);
      EXPECT_EQ(number(volume.become_writable()), EROFS);
      EXPECT_FALSE(volume.close().ok());
      EXPECT_EQ(device.count(FakeDevice::Kind::write), writes);
      EXPECT_EQ(device.count(FakeDevice::Kind::flush), flushes);
      EXPECT_TRUE(volume.inspect([&]() -> Result<void> { return {}; }).ok());
    }
  }
}

TEST(Volume, a_failed_read_undoes_the_operation_and_the_volume_goes_on) {
  const Image image{"-t ext4 -b 1024", "8M"};
  const auto bytes = FakeDevice::contents_of(image.path());
  for (std::size_t k = 0; k < 40; ++k) {
    SCOPED_TRACE(k);
    FakeDevice device{bytes};
    device.fail(FakeDevice::Kind::read, k, EIO, true);
    auto opened = Volume::open(device, {});
    if (!opened.ok()) continue;
    Volume& volume = **opened;
    if (!volume.start_writing().ok()) continue;
    if (!touch_root(volume, 1).ok()) {
      EXPECT_TRUE(touch_root(volume, 1).ok());
    }
    if (!volume.close().ok()) continue;
    device.save(image.path());
    EXPECT_EQ(image.complaints(), "");
  }
}

TEST(Volume, two_volumes_live_in_one_process) {
  const Image first, second{"-t ext2 -b 1024", "8M"};
  {
    const auto one = first.open();
    const auto two = second.open();
    auto a = Volume::open(*one, {});
    auto b = Volume::open(*two, {});
    ASSERT_TRUE(a.ok() && b.ok());
    EXPECT_TRUE((*a)->has_journal());
    EXPECT_FALSE((*b)->has_journal());
    ASSERT_TRUE((*a)->start_writing().ok());
    ASSERT_TRUE((*b)->start_writing().ok());
    ASSERT_TRUE(touch_root(**a, 1).ok());
    ASSERT_TRUE(touch_root(**b, 2).ok());
    ASSERT_TRUE((*a)->close().ok());
    ASSERT_TRUE(touch_root(**b, 3).ok());
    ASSERT_TRUE((*b)->close().ok());
  }
  EXPECT_EQ(first.complaints(), "");
  EXPECT_EQ(second.complaints(), "");
}

}  // namespace
}  // namespace worker::volume
