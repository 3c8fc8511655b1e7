#include "worker/disk/file_device.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <string>

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

}  // namespace
}  // namespace worker::disk
