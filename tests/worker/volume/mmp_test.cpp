#include "worker/volume/mmp.h"

#include <endian.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <thread>

#include "tests/support/fake_device.h"
#include "tests/worker/volume/file_fixture.h"
#include "worker/disk/crc32c.h"
#include "worker/volume/names.h"

namespace worker::volume {
namespace {

using std::chrono::seconds;
using testing::failure;
using tests::FakeDevice;
using tests::Image;

constexpr const char* kProtected = "-t ext4 -b 1024 -O mmp -E mmp_update_interval=1";

ext2_super_block super_of(FakeDevice& device) {
  ext2_super_block super{};
  EXPECT_TRUE(device.read(1024, std::as_writable_bytes(std::span{&super, 1})).ok());
  return super;
}

/// Another host, as far as it shows.
class OtherHost {
 public:
  explicit OtherHost(FakeDevice& device) : device_{device}, super_{super_of(device)} {}

  std::uint32_t sequence() { return le32toh(read().mmp_seq); }
  void put(std::uint32_t sequence) {
    mmp_struct block = read();
    block.mmp_seq = htole32(sequence);
    std::memcpy(block.mmp_nodename, "elsewhere", 10);
    const auto bytes = std::as_bytes(std::span{&block, 1});
    const std::uint32_t seed = disk::crc32c(~0U, std::as_bytes(std::span{super_.s_uuid}));
    block.mmp_checksum = htole32(disk::crc32c(seed, bytes.first(offsetof(mmp_struct, mmp_checksum))));
    EXPECT_TRUE(device_.write(place(), bytes).ok());
  }

 private:
  std::uint64_t place() const { return super_.s_mmp_block * 1024; }
  mmp_struct read() {
    mmp_struct block{};
    EXPECT_TRUE(device_.read(place(), std::as_writable_bytes(std::span{&block, 1})).ok());
    return block;
  }
  FakeDevice& device_;
  ext2_super_block super_;
};

class MmpBlock : public ::testing::Test {
 protected:
  const Image image{kProtected, "8M"};
  FakeDevice device{FakeDevice::contents_of(image.path())};
  OtherHost other{device};
  Mmp mmp{device, super_of(device)};
  int slept = 0, told = 0;
  /// Time passes only here; `then` is what happens meanwhile.
  void pass_time(std::function<void()> then = [] {}) {
    mmp.sleep_with([this, then](seconds time) {
      slept += static_cast<int>(time.count());
      then();
    });
  }
  Result<void> check() {
    return mmp.check([this](const std::string&) { ++told; });
  }
};

TEST_F(MmpBlock, of_a_volume_left_in_order_is_taken_at_once) {
  pass_time();
  ASSERT_TRUE(check().ok());
  EXPECT_EQ(device.count(FakeDevice::Kind::write), 0U);
  ASSERT_TRUE(mmp.claim().ok());
  EXPECT_EQ(slept + told, 0);
  const std::uint32_t first = other.sequence();
  EXPECT_LE(first, EXT4_MMP_SEQ_MAX);
  ASSERT_TRUE(mmp.update().ok());
  EXPECT_EQ(other.sequence(), first + 1);
  ASSERT_TRUE(mmp.release().ok());
  EXPECT_EQ(other.sequence(), EXT4_MMP_SEQ_CLEAN);
  ASSERT_TRUE(mmp.update().ok());
  EXPECT_EQ(other.sequence(), EXT4_MMP_SEQ_CLEAN) << "an update after the end";
}

TEST_F(MmpBlock, whose_holder_is_gone_is_watched_and_then_taken) {
  other.put(77);
  pass_time();
  ASSERT_TRUE(check().ok());
  EXPECT_EQ(slept, 11) << "twice the least check interval and one";
  EXPECT_EQ(told, 1);
  EXPECT_EQ(other.sequence(), 77U);
  ASSERT_TRUE(mmp.claim().ok());
  EXPECT_GT(slept, 11);
  EXPECT_NE(other.sequence(), 77U);
}

TEST_F(MmpBlock, that_changes_while_it_is_watched_belongs_to_another) {
  other.put(77);
  pass_time([this] { other.put(78); });
  const auto refused = check();
  EXPECT_EQ(failure(refused), EBUSY);
  EXPECT_NE(refused.error().message().find("elsewhere"), std::string::npos) << refused.error().message();
  EXPECT_EQ(other.sequence(), 78U);
}

TEST_F(MmpBlock, that_another_takes_at_the_same_time_is_the_others) {
  pass_time();
  ASSERT_TRUE(check().ok());
  other.put(500);
  EXPECT_EQ(failure(mmp.claim()), EBUSY);
  EXPECT_EQ(other.sequence(), 500U);
  other.put(77);
  ASSERT_TRUE(check().ok());
  pass_time([this] { other.put(501); });
  EXPECT_EQ(failure(mmp.claim()), EBUSY);
  EXPECT_EQ(other.sequence(), 501U);
}

TEST_F(MmpBlock, that_e2fsck_holds_is_left_alone) {
  other.put(EXT4_MMP_SEQ_FSCK);
  EXPECT_EQ(failure(check()), EBUSY);
}

TEST_F(MmpBlock, that_makes_no_sense_is_not_taken) {
  std::vector<std::byte> garbage(1024, std::byte{1});
  ASSERT_TRUE(device.write(super_of(device).s_mmp_block * 1024, garbage).ok());
  EXPECT_EQ(failure(check()), EUCLEAN);
  ext2_super_block super = super_of(device);
  for (const std::uint64_t block : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{8192}, ~std::uint64_t{0}}) {
    super.s_mmp_block = block;
    EXPECT_EQ(failure(Mmp(device, super).check({})), EUCLEAN) << block;
  }
}

TEST_F(MmpBlock, of_a_device_that_fails_for_a_moment_is_kept) {
  ASSERT_TRUE(check().ok());
  ASSERT_TRUE(mmp.claim().ok());
  const std::uint32_t first = other.sequence();
  device.fail(FakeDevice::Kind::write, 0, EIO, true);
  EXPECT_TRUE(mmp.update().ok());
  EXPECT_TRUE(mmp.update().ok());
  EXPECT_EQ(other.sequence(), first + 1);
}

TEST(MountProtection, writes_its_block_only_once_the_mount_is_in_place) {
  const Image image{kProtected, "8M"};
  FakeDevice device{FakeDevice::contents_of(image.path())};
  OtherHost other{device};
  auto volume = Volume::open(device, {});
  ASSERT_TRUE(volume.ok()) << volume.error().message();
  EXPECT_EQ(device.count(FakeDevice::Kind::write), 0U);
  ASSERT_TRUE((*volume)->start_writing().ok());
  EXPECT_NE(other.sequence(), EXT4_MMP_SEQ_CLEAN);
  ASSERT_TRUE((*volume)->become_read_only().ok());
  EXPECT_EQ(other.sequence(), EXT4_MMP_SEQ_CLEAN);
  ASSERT_TRUE((*volume)->become_writable().ok());
  EXPECT_NE(other.sequence(), EXT4_MMP_SEQ_CLEAN);
  ASSERT_TRUE((*volume)->names().create(kRootInode, "f", {.mode = S_IFREG | 0644}).ok());
  ASSERT_TRUE((*volume)->close().ok());
  EXPECT_EQ(other.sequence(), EXT4_MMP_SEQ_CLEAN);
  device.save(image.path());
  EXPECT_EQ(image.complaints(), "");
}

TEST(MountProtection, ends_all_writing_when_another_host_has_the_volume) {
  const Image image{kProtected, "8M"};
  FakeDevice device{FakeDevice::contents_of(image.path())};
  OtherHost other{device};
  auto opened = Volume::open(device, {});
  ASSERT_TRUE(opened.ok());
  Volume& volume = **opened;
  ASSERT_TRUE(volume.start_writing().ok());
  std::stop_source stop;
  std::thread protection{[&] { volume.run_mount_protection(stop.get_token()); }};
  other.put(4711);
  while (!volume.read_only()) std::this_thread::sleep_for(std::chrono::milliseconds{20});
  EXPECT_EQ(failure(volume.names().create(kRootInode, "f", {.mode = S_IFREG | 0644})), EROFS);
  EXPECT_EQ(failure(volume.sync()), EIO);
  const std::size_t writes = device.count(FakeDevice::Kind::write);
  EXPECT_EQ(failure(volume.close()), EIO);
  stop.request_stop();
  protection.join();
  EXPECT_EQ(device.count(FakeDevice::Kind::write), writes);
  EXPECT_EQ(other.sequence(), 4711U);
}

TEST(MountProtection, reads_a_volume_that_another_host_writes) {
  const Image image{kProtected, "8M"};
  FakeDevice device{FakeDevice::contents_of(image.path())};
  OtherHost{device}.put(77);
  const auto bytes = device.bytes();
  auto volume = Volume::open(device, {.read_only = true});
  ASSERT_TRUE(volume.ok()) << volume.error().message();
  EXPECT_EQ(device.bytes(), bytes);
}

/// Runs a script that mounts the image by the kernel at $m, besides this thread.
class Kernel {
 public:
  explicit Kernel(const Image& image) : image_{image} {}
  std::string script(const std::string& work) const {
    const std::string at = image_.directory().string() + "/mnt";
    return "unshare -m --propagation private sh -ec 'm=" + at + "; i=" + image_.path() + "; mkdir -p $m; " + work + "'";
  }
  tests::Outcome run(const std::string& work) const { return tests::run(script(work)); }

 private:
  const Image& image_;
};

TEST(MountProtection, does_not_take_what_the_kernel_has) {
  const Image image{kProtected, "16M"};
  const Kernel kernel{image};
  tests::Outcome mounted;
  std::thread holding{[&] {
    mounted =
        kernel.run("mount -o loop $i $m; touch $i.there; while test ! -e $i.enough; do sleep 0.1; done; umount $m");
  }};
  while (!std::filesystem::exists(image.path() + ".there")) std::this_thread::sleep_for(std::chrono::milliseconds{20});
  const auto device = image.open();
  const auto refused = Volume::open(*device, {});
  std::ofstream{image.path() + ".enough"};
  holding.join();
  EXPECT_EQ(mounted.status, 0) << mounted.output;
  EXPECT_EQ(failure(refused), EBUSY);
  const auto free = Volume::open(*device, {});
  EXPECT_TRUE(free.ok()) << free.error().message();
}

TEST(MountProtection, keeps_the_kernel_away) {
  const Image image{kProtected, "16M"};
  const Kernel kernel{image};
  const auto device = image.open();
  auto opened = Volume::open(*device, {});
  ASSERT_TRUE(opened.ok());
  Volume& volume = **opened;
  ASSERT_TRUE(volume.start_writing().ok());
  std::stop_source stop;
  std::thread protection{[&] { volume.run_mount_protection(stop.get_token()); }};
  // Eleven seconds: the kernel watches to the end before it says so.
  const auto refused = kernel.run("mount -o loop $i $m");
  EXPECT_NE(refused.status, 0) << "the kernel mounted it as well";
  EXPECT_FALSE(volume.read_only());
  EXPECT_TRUE(volume.names().create(kRootInode, "f", {.mode = S_IFREG | 0644}).ok());
  stop.request_stop();
  protection.join();
  EXPECT_TRUE(volume.close().ok());
  const auto mounted = kernel.run("mount -o loop $i $m; test -e $m/f; umount $m");
  EXPECT_EQ(mounted.status, 0) << mounted.output;
  EXPECT_EQ(image.complaints(), "");
}

}  // namespace
}  // namespace worker::volume
