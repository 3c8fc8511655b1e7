#include "broker/loop_device.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

#include <set>

#include "tests/broker/scratch.h"

namespace broker {
namespace {

using LoopDeviceTest = Privileged;

TEST_F(LoopDeviceTest, carries_the_window_and_the_lock) {
  const std::string image = make_image("disk.img");
  auto source = open_now(plan(image, Writing::unsaid, {8192, 65536}));
  ASSERT_TRUE(source.ok());
  auto loop = attach_loop_device(*source, true);
  ASSERT_TRUE(loop.ok()) << loop.error().message();
  { const Source closed = std::move(*source); }

  std::uint64_t size = 0;
  ASSERT_EQ(::ioctl(loop->descriptor.get(), BLKGETSIZE64, &size), 0);
  EXPECT_EQ(size, 65536U);
  ASSERT_EQ(::pwrite(loop->descriptor.get(), "hello", 5, 0), 5);
  ASSERT_EQ(::fsync(loop->descriptor.get()), 0);
  const UniqueFd file{::open(image.c_str(), O_RDONLY | O_CLOEXEC)};
  char text[5];
  ASSERT_EQ(::pread(file.get(), text, 5, 8192), 5);
  EXPECT_EQ(std::string(text, 5), "hello");
  EXPECT_FALSE(open_now(plan(image)).ok()) << "the lock lives in the loop device";
  EXPECT_TRUE(open_now(plan(image, Writing::unsaid, {0, 8192})).ok());

  loop->descriptor.reset();
  EXPECT_TRUE(eventually([&] { return loops_over(image) == 0; })) << "it did not free itself";
  EXPECT_TRUE(eventually([&] { return open_now(plan(image)).ok(); })) << "the lock outlived it";
}

TEST_F(LoopDeviceTest, is_read_only_when_the_source_is) {
  const std::string image = make_image("disk.img");
  const auto source = open_now(plan(image, Writing::read_only));
  ASSERT_TRUE(source.ok());
  const auto loop = attach_loop_device(*source, true);
  ASSERT_TRUE(loop.ok()) << loop.error().message();

  int read_only = 0;
  ASSERT_EQ(::ioctl(loop->descriptor.get(), BLKROGET, &read_only), 0);
  EXPECT_EQ(read_only, 1);
  const auto fallen = open_now(plan(loop->path));
  ASSERT_TRUE(fallen.ok());
  EXPECT_TRUE(fallen->read_only);
  EXPECT_EQ(open_now(plan(loop->path, Writing::read_write)).error().code.value(), EROFS);
}

TEST_F(LoopDeviceTest, has_sectors_of_512_bytes_and_no_partitions) {
  const auto source = open_now(plan(make_image("disk.img")));
  ASSERT_TRUE(source.ok());
  const auto loop = attach_loop_device(*source, false);
  ASSERT_TRUE(loop.ok());

  int sector = 0;
  ASSERT_EQ(::ioctl(loop->descriptor.get(), BLKSSZGET, &sector), 0);
  EXPECT_EQ(sector, 512);
  const auto status = loop_status(loop->path);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->lo_flags & (LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN), static_cast<unsigned>(LO_FLAGS_AUTOCLEAR));
}

TEST_F(LoopDeviceTest, many_at_once_get_a_device_each_and_leave_none) {
  constexpr int kThreads = 4, kRounds = 15;
  std::vector<std::string> images;
  for (int i = 0; i < kThreads; ++i) images.push_back(make_image("disk" + std::to_string(i)));
  std::vector<std::thread> threads;
  std::atomic<int> failures = 0, wrong = 0;
  for (const std::string& image : images)
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        const auto source = open_source(plan(image), std::chrono::steady_clock::now() + std::chrono::seconds{5});
        if (!source) {
          ++failures;
          continue;
        }
        const auto loop = attach_loop_device(*source, true);
        failures += !loop;
        struct stat found {};
        ::stat(image.c_str(), &found);
        const auto status = loop ? loop_status(loop->path) : std::nullopt;
        wrong += !status || status->lo_inode != found.st_ino;
      }
    });
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(failures, 0);
  EXPECT_EQ(wrong, 0);
  for (const std::string& image : images) EXPECT_TRUE(eventually([&] { return loops_over(image) == 0; }));
}

}  // namespace
}  // namespace broker
