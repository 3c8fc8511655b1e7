#include "broker/source.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>

#include "broker/process.h"
#include "broker/state_file.h"
#include "tests/broker/scratch.h"

namespace broker {
namespace {

TEST(ByteRange, overlap_is_a_matter_of_bytes_in_the_same_file) {
  const ByteRange base{1, 2, {100, 50}};

  EXPECT_TRUE(base.overlaps(base));
  EXPECT_TRUE(base.overlaps({1, 2, {149, 1}}));
  EXPECT_TRUE(base.overlaps({1, 2, {0, 101}}));
  EXPECT_TRUE(base.overlaps({1, 2, {0, UINT64_MAX}}));
  EXPECT_FALSE(base.overlaps({1, 2, {150, 10}}));
  EXPECT_FALSE(base.overlaps({1, 2, {0, 100}}));
  EXPECT_FALSE(base.overlaps({1, 3, {100, 50}}));
  EXPECT_FALSE(base.overlaps({2, 2, {100, 50}}));
  EXPECT_FALSE(base.overlaps({1, 2, {120, 0}}));
}

class SourceTest : public Privileged {
 protected:
  static void expect_busy(const Result<Source>& source, const std::string& words) {
    ASSERT_FALSE(source.ok());
    EXPECT_EQ(source.error().code.value(), EBUSY) << source.error().message();
    EXPECT_NE(source.error().detail.find(words), std::string::npos) << source.error().detail;
  }
};

TEST_F(SourceTest, an_image_file_is_opened_whole_and_for_writing) {
  const std::string image = make_image("disk.img", 12345);
  const auto source = open_now(plan(image));

  ASSERT_TRUE(source.ok()) << source.error().message();
  EXPECT_EQ(source->kind, SourceKind::image_file);
  EXPECT_FALSE(source->read_only);
  EXPECT_TRUE(source->whole);
  EXPECT_EQ(source->window.length, 12345U);
  EXPECT_EQ(source->path, image);
  EXPECT_TRUE(source->warning.empty());
  const int flags = ::fcntl(source->descriptor.get(), F_GETFL);
  EXPECT_EQ(flags & O_ACCMODE, O_RDWR);
  EXPECT_EQ(::fcntl(source->descriptor.get(), F_GETFD), FD_CLOEXEC);
}

TEST_F(SourceTest, what_is_neither_file_nor_device_is_refused) {
  EXPECT_EQ(open_now(plan(directory_)).error().code.value(), ENOTBLK);
  EXPECT_EQ(open_now(plan("/dev/null")).error().code.value(), ENOTBLK);
  EXPECT_EQ(open_now(plan(path("missing"))).error().code.value(), ENOENT);
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(open_now(plan(path("pipe"))).error().code.value(), ENOTBLK);
  EXPECT_EQ(open_now(plan(make_image("empty", 0))).error().detail, "it is empty");
}

TEST_F(SourceTest, a_window_has_to_lie_inside) {
  const std::string image = make_image("disk.img", 1 << 20);
  const auto inside = open_now(plan(image, Writing::read_only, {4096, 8192}));
  ASSERT_TRUE(inside.ok());
  EXPECT_FALSE(inside->whole);
  const auto tail = open_now(plan(image, Writing::read_only, {4096, 0}));
  ASSERT_TRUE(tail.ok());
  EXPECT_EQ(tail->window.length, (1U << 20) - 4096);

  EXPECT_EQ(open_now(plan(image, Writing::read_only, {1 << 20, 0})).error().detail,
            "offset=1048576 lies beyond its end at 1048576 bytes");
  EXPECT_EQ(open_now(plan(image, Writing::read_only, {4096, 1 << 20})).error().detail,
            "offset=4096 with sizelimit=1048576 lies beyond its end at 1048576 bytes");
  EXPECT_FALSE(open_now(plan(image, Writing::read_only, {UINT64_MAX, UINT64_MAX})).ok());
}

TEST_F(SourceTest, an_image_already_opened_by_the_caller_is_welcome) {
  const UniqueFd file{::open(make_image("disk.img").c_str(), O_RDWR | O_CLOEXEC)};

  const auto source = open_now(plan("/proc/self/fd/" + std::to_string(file.get())));
  ASSERT_TRUE(source.ok());
  EXPECT_EQ(source->path, path("disk.img"));
}

TEST_F(SourceTest, only_without_an_explicit_rw_it_falls_back_to_reading) {
  const std::string image = make_image("disk.img"), point = make_directory("read_only");
  ASSERT_EQ(::mount(directory_.c_str(), point.c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_EQ(::mount(nullptr, point.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr), 0);

  const auto fallen = open_now(plan(point + "/disk.img"));
  ASSERT_TRUE(fallen.ok());
  EXPECT_TRUE(fallen->read_only);
  EXPECT_EQ(fallen->warning, "mounting read-only, because it can not be written: Read-only file system");
  EXPECT_EQ(::fcntl(fallen->descriptor.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
  EXPECT_EQ(open_now(plan(point + "/disk.img", Writing::read_write)).error().code.value(), EROFS);
  ASSERT_EQ(::umount2(point.c_str(), MNT_DETACH), 0);
}

TEST_F(SourceTest, a_second_writer_is_refused_and_readers_share) {
  const std::string image = make_image("disk.img");
  std::filesystem::create_hard_link(image, path("other.img"));
  {
    const auto first = open_now(plan(image));
    ASSERT_TRUE(first.ok());
    expect_busy(open_now(plan(image)), "in use");
    expect_busy(open_now(plan(path("other.img"))), "in use");
    expect_busy(open_now(plan(image, Writing::read_only)), "in use");
  }
  const auto one = open_now(plan(image, Writing::read_only)), two = open_now(plan(image, Writing::read_only));
  EXPECT_TRUE(one.ok() && two.ok());
  expect_busy(open_now(plan(image, Writing::read_write)), "in use");
}

TEST_F(SourceTest, disjoint_windows_have_a_writer_each) {
  const std::string image = make_image("disk.img");
  const auto first = open_now(plan(image, Writing::unsaid, {0, 4096}));
  const auto second = open_now(plan(image, Writing::unsaid, {4096, 4096}));

  ASSERT_TRUE(first.ok() && second.ok());
  expect_busy(open_now(plan(image, Writing::unsaid, {4095, 10})), "in use");
  expect_busy(open_now(plan(image)), "in use");
  EXPECT_TRUE(open_now(plan(image, Writing::unsaid, {8192, 0})).ok());
}

TEST_F(SourceTest, a_busy_source_is_waited_for) {
  const std::string image = make_image("disk.img");
  auto first = std::make_unique<Result<Source>>(open_now(plan(image)));
  std::thread release{[&first] {
    std::this_thread::sleep_for(std::chrono::milliseconds{200});
    first.reset();
  }};

  const auto second = open_source(plan(image), std::chrono::steady_clock::now() + std::chrono::seconds{5});
  EXPECT_TRUE(second.ok());
  release.join();
}

TEST_F(SourceTest, a_path_that_leads_elsewhere_by_the_time_it_is_free_changes_nothing) {
  const std::string image = make_image("disk.img"), secret = make_image("secret.img"), link = path("link.img");
  std::filesystem::create_symlink(image, link);
  auto first = std::make_unique<Result<Source>>(open_now(plan(image)));
  std::thread release{[&] {
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
    std::filesystem::remove(link);
    std::filesystem::create_symlink(secret, link);
    first.reset();
  }};

  const auto second = open_source(plan(link), std::chrono::steady_clock::now() + std::chrono::seconds{5});
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->path, image);
  release.join();
}

TEST_F(SourceTest, a_loop_device_is_the_file_behind_it) {
  const std::string image = make_image("disk.img");
  auto file = open_now(plan(image, Writing::unsaid, {4096, 65536}));
  ASSERT_TRUE(file.ok());
  const auto loop = attach_loop_device(*file, false);
  ASSERT_TRUE(loop.ok()) << loop.error().message();
  { const Source unlocked = std::move(*file); }

  auto through = open_now(plan(loop->path, Writing::read_only, {512, 0}));
  ASSERT_TRUE(through.ok()) << through.error().message();
  EXPECT_EQ(through->kind, SourceKind::block_device);
  struct stat found {};
  ::stat(image.c_str(), &found);
  EXPECT_EQ(through->range.device, found.st_dev);
  EXPECT_EQ(through->range.inode, found.st_ino);
  EXPECT_EQ(through->range.window.offset, 4608U);
  EXPECT_EQ(through->range.window.length, 65024U);
  EXPECT_EQ(through->through.size(), 1U);
}

TEST_F(SourceTest, a_foreign_loop_device_is_named) {
  const std::string image = make_image("disk.img");
  UniqueFd node;
  std::string name;
  {
    auto file = open_now(plan(image, Writing::unsaid, {65536, 65536}));
    ASSERT_TRUE(file.ok());
    auto loop = attach_loop_device(*file, false);
    ASSERT_TRUE(loop.ok());
    node = std::move(loop->descriptor);
    name = loop->path;
    // As losetup would leave it: set up with a description that holds no lock.
    struct flock lock {};
    lock.l_type = F_UNLCK;
    ASSERT_EQ(::fcntl(file->descriptor.get(), F_OFD_SETLK, &lock), 0);
  }

  expect_busy(open_now(plan(image)), "in use by the loop device " + name);
  EXPECT_TRUE(open_now(plan(image, Writing::unsaid, {0, 65536})).ok()) << "another window";
  EXPECT_TRUE(open_now(plan(image, Writing::read_only)).ok()) << "nobody uses it";
  EXPECT_TRUE(open_now(plan(name)).ok()) << "the loop device itself";

  const UniqueFd claim{::open(name.c_str(), O_RDWR | O_EXCL | O_CLOEXEC)};
  expect_busy(open_now(plan(image, Writing::read_only)), name);
  expect_busy(open_now(plan(name)), "in use by another mount or device");
  node.reset();
}

TEST_F(SourceTest, a_mount_of_the_kernel_is_named_whatever_way_one_comes) {
  const std::string image = make_image("disk.img", 4 << 20), point = make_directory("mnt");
  ASSERT_EQ(std::system(("mke2fs -q -F " + image).c_str()), 0);
  ASSERT_EQ(std::system(("mount -o loop " + image + " " + point).c_str()), 0);
  std::string device;
  const auto table = read_mount_table();
  ASSERT_TRUE(table.ok());
  for (const MountEntry& entry : *table)
    if (entry.mount_point == point) device = entry.source;

  for (const Writing writing : {Writing::unsaid, Writing::read_only}) {
    expect_busy(open_now(plan(image, writing)), "is mounted on " + point + " as ext");
    expect_busy(open_now(plan(device, writing)), "is mounted on " + point + " as ext");
  }
  ASSERT_EQ(::mount(nullptr, point.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
  EXPECT_TRUE(open_now(plan(image, Writing::read_only)).ok()) << "readers share";
  EXPECT_TRUE(open_now(plan(device, Writing::read_only)).ok()) << "readers share";
  expect_busy(open_now(plan(image)), "is mounted on " + point);
  ASSERT_EQ(::umount(point.c_str()), 0);
  EXPECT_TRUE(eventually([&] { return loops_over(image) == 0; }));
}

TEST_F(SourceTest, a_mount_of_ours_is_named_with_its_worker) {
  const std::string image = make_image("disk.img");
  const ByteRange range = open_now(plan(image, Writing::read_only))->range;
  auto file = StateFile::claim();
  ASSERT_TRUE(file.ok());
  MountState state;
  state.source = image;
  state.mount_point = "/some/where";
  state.worker_pid = ::getpid();
  state.worker_start_time = process_start_time(::getpid());
  state.range = range;
  ASSERT_TRUE(file->publish(state).ok());

  expect_busy(open_now(plan(image)),
              "in use by the read-write mount on /some/where (worker " + std::to_string(::getpid()) + ")");
  state.read_only = true;
  ASSERT_TRUE(file->publish(state).ok());
  EXPECT_TRUE(open_now(plan(image, Writing::read_only)).ok());
}

TEST_F(SourceTest, a_claim_keeps_others_out_and_the_lock_goes_with_it) {
  const std::string image = make_image("disk.img");
  auto file = open_now(plan(image));
  ASSERT_TRUE(file.ok());
  const auto loop = attach_loop_device(*file, false);
  ASSERT_TRUE(loop.ok());
  { const Source unlocked = std::move(*file); }
  auto source = open_now(plan(loop->path));
  ASSERT_TRUE(source.ok()) << source.error().message();

  ASSERT_TRUE(source->claim().ok());
  const UniqueFd other{::open(loop->path.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC)};
  EXPECT_EQ(other.get(), -1);
  expect_busy(open_now(plan(loop->path)), "in use");
  const auto again = reopen_direct(source->descriptor);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(::fcntl(again->get(), F_GETFL) & (O_ACCMODE | O_DIRECT), O_RDWR | O_DIRECT);
  EXPECT_EQ(::fcntl(source->descriptor.get(), F_GETFL) & O_ACCMODE, O_RDWR);
}

}  // namespace
}  // namespace broker
