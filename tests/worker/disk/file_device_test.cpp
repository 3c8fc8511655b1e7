#include "worker/disk/file_device.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "tests/support/image.h"
#include "worker/disk/ext2_errors.h"

namespace worker::disk {
namespace {

class FileDeviceTest : public ::testing::Test {
 protected:
  FileDeviceTest() {
    std::ofstream{path} << std::string(4096, 'a') << std::string(4096, 'b') << std::string(4096, 'c');
  }

  Result<std::unique_ptr<FileDevice>> open(ByteOffset offset = 0, std::uint64_t size = 0, int flags = O_RDWR) {
    return FileDevice::open(protocol::UniqueFd{::open(path.c_str(), flags | O_CLOEXEC)}, offset, size);
  }
  std::string contents() {
    std::ifstream file{path};
    return {std::istreambuf_iterator<char>{file}, {}};
  }

  tests::TemporaryDirectory directory;
  std::string path = (directory.path() / "file").string();
  std::vector<std::byte> buffer = std::vector<std::byte>(4096);
};

TEST_F(FileDeviceTest, reads_and_writes_inside_its_window_only) {
  auto device = open(4096, 4096);
  ASSERT_TRUE(device.ok());
  EXPECT_EQ((*device)->size(), 4096U);
  ASSERT_TRUE((*device)->read(0, buffer).ok());
  EXPECT_EQ(buffer[0], std::byte{'b'});
  EXPECT_EQ(buffer[4095], std::byte{'b'});

  std::fill(buffer.begin(), buffer.end(), std::byte{'x'});
  ASSERT_TRUE((*device)->write(0, buffer).ok());
  EXPECT_FALSE((*device)->write(1, buffer).ok());
  EXPECT_FALSE((*device)->read(1, buffer).ok());
  EXPECT_FALSE((*device)->read(~0ULL, buffer).ok());
  EXPECT_FALSE((*device)->write(~0ULL - 100, buffer).ok());
  EXPECT_TRUE((*device)->flush().ok());
  EXPECT_EQ(contents(), std::string(4096, 'a') + std::string(4096, 'x') + std::string(4096, 'c'));
}

TEST_F(FileDeviceTest, a_window_without_size_goes_to_the_end_and_none_may_reach_beyond) {
  auto device = open(4096);
  ASSERT_TRUE(device.ok());
  EXPECT_EQ((*device)->size(), 8192U);
  EXPECT_FALSE(open(4096, 8193).ok());
  EXPECT_FALSE(open(12289).ok());
  EXPECT_FALSE(open(1, ~0ULL).ok());
}

TEST_F(FileDeviceTest, is_read_only_when_the_descriptor_is) {
  auto device = open(0, 0, O_RDONLY);
  ASSERT_TRUE(device.ok());
  EXPECT_TRUE((*device)->read_only());
  const auto refused = (*device)->write(0, buffer);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(error_number(refused.error().code), EROFS);
  EXPECT_FALSE((*device)->discard(0, 4096).ok());
  EXPECT_TRUE((*device)->flush().ok());
  EXPECT_EQ(contents().size(), 12288U);
}

TEST_F(FileDeviceTest, a_source_that_became_shorter_gives_an_error_and_no_endless_loop) {
  auto device = open();
  ASSERT_TRUE(device.ok());
  std::filesystem::resize_file(path, 6000);
  const auto short_read = (*device)->read(4096, buffer);
  ASSERT_FALSE(short_read.ok());
  EXPECT_EQ(error_number(short_read.error().code), EIO);
}

TEST_F(FileDeviceTest, discard_gives_space_back_and_touches_nothing_else) {
  auto device = open(4096, 4096);
  ASSERT_TRUE(device.ok());
  EXPECT_FALSE((*device)->discard(0, 4097).ok());
  if (!(*device)->discard(0, 4096).ok()) GTEST_SKIP() << "the file system below cannot punch holes";
  EXPECT_EQ(contents(), std::string(4096, 'a') + std::string(4096, '\0') + std::string(4096, 'c'));
}

/// A file of 3 MiB that is opened both ways; every 4 KiB say where they are.
class DirectTest : public FileDeviceTest {
 protected:
  static constexpr std::size_t kPage = 65536;  // whole pages on every machine
  static constexpr std::size_t kBytes = 48 * kPage;

  DirectTest() {
    std::string whole;
    for (std::size_t at = 0; at < kBytes; at += 4096) whole.append(4096, mark(at));
    std::ofstream{path} << whole;
  }
  static char mark(std::size_t at) { return static_cast<char>('0' + at / 4096 % 64); }

  /// Null where the file system below has no direct I/O.
  std::unique_ptr<FileDevice> open_both(ByteOffset offset = 0) {
    protocol::UniqueFd direct{::open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC)};
    if (!direct) return nullptr;
    auto device =
        FileDevice::open(protocol::UniqueFd{::open(path.c_str(), O_RDWR | O_CLOEXEC)}, offset, 0, std::move(direct));
    return device.ok() ? std::move(*device) : nullptr;
  }

  struct Free {
    void operator()(std::byte* bytes) const noexcept { std::free(bytes); }
  };
  std::unique_ptr<std::byte, Free> memory{static_cast<std::byte*>(std::aligned_alloc(kPage, kBytes))};
  std::span<std::byte> bytes{memory.get(), kBytes};
};

TEST_F(DirectTest, both_ways_read_and_write_the_same_bytes) {
  const auto device = open_both();
  if (!device) GTEST_SKIP() << "no direct I/O here";
  std::string expected = contents();
  // Lengths and places around what may go by the page cache: whole pages, an odd tail, an odd start, odd memory.
  const struct {
    std::size_t at, length, shift;
  } cases[] = {{0, 4 * kPage, 0},       {kPage, 4 * kPage + 100, 0}, {512, 4 * kPage, 0},
               {kPage, 4 * kPage, 512}, {3 * kPage, 4096, 4096},     {0, kBytes, 0},
               {kBytes - 3, 3, 0},      {kPage, 2 * kPage, 0}};
  char fill = 'A';
  for (const auto& one : cases) {
    const auto part = bytes.subspan(one.shift, std::min(one.length, kBytes - one.shift));
    ASSERT_TRUE(device->read(one.at, part).ok());
    ASSERT_EQ(std::memcmp(part.data(), expected.data() + one.at, part.size()), 0) << one.at << ' ' << one.length;
    std::fill(part.begin(), part.end(), std::byte(fill));
    ASSERT_TRUE(device->write(one.at, part).ok());
    expected.replace(one.at, part.size(), part.size(), fill);
    ASSERT_EQ(contents(), expected) << one.at << ' ' << one.length;
    ++fill;
  }
  EXPECT_TRUE(device->flush().ok());
}

TEST_F(DirectTest, a_window_off_the_pages_is_read_and_written_all_the_same) {
  const auto device = open_both(512);
  if (!device) GTEST_SKIP() << "no direct I/O here";
  std::string expected = contents();
  const auto part = bytes.first(8 * kPage);
  std::fill(part.begin(), part.end(), std::byte{'A'});
  ASSERT_TRUE(device->write(0, part).ok());
  ASSERT_EQ(contents(), expected.replace(512, part.size(), part.size(), 'A'));
  ASSERT_TRUE(device->read(kPage - 512, part).ok());
  EXPECT_EQ(std::memcmp(part.data(), expected.data() + kPage, part.size()), 0);
}

TEST_F(DirectTest, what_small_writes_put_between_long_ones_is_never_stale) {
  const auto device = open_both();
  if (!device) GTEST_SKIP() << "no direct I/O here";
  // One thread's pages are the even ones, written long and by the page cache in turn; the other's are between them.
  constexpr std::size_t kStride = 8 * kPage, kLong = 4 * kPage;
  std::atomic<bool> failed{false};
  const auto check = [&](ByteOffset at, std::byte value) {
    std::byte small[4096];
    if (!device->read(at, small).ok() || small[0] != value || small[4095] != value) failed = true;
  };
  std::thread neighbour{[&] {
    std::vector<std::byte> small(4096);
    for (int round = 0; round < 200; ++round) {
      for (std::size_t at = kLong; at < kBytes; at += kStride) {
        std::fill(small.begin(), small.end(), std::byte(round));
        if (!device->write(at, small).ok()) failed = true;
        check(at, std::byte(round));
      }
    }
  }};
  for (int round = 0; round < 200; ++round) {
    std::fill_n(bytes.begin(), kLong, std::byte(round));
    for (std::size_t at = 0; at < kBytes; at += kStride) {
      if (!device->write(at, bytes.first(kLong)).ok()) failed = true;
      check(at + kLong - 4096, std::byte(round));
    }
  }
  neighbour.join();
  EXPECT_FALSE(failed);
}

}  // namespace
}  // namespace worker::disk
