// Files of an image under test: made empty by debugfs, changed by us, compared with a model and read by the kernel.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "tests/support/image.h"
#include "worker/disk/ext2_errors.h"
#include "worker/volume/file_data.h"
#include "worker/volume/inodes.h"
#include "worker/volume/volume.h"

namespace worker::volume::testing {

using Bytes = std::vector<std::byte>;

/// Bytes that tell by their value where they belong.
inline Bytes pattern(std::size_t size, std::uint32_t seed) {
  Bytes bytes(size);
  std::minstd_rand random{seed + 1};
  for (auto& byte : bytes) byte = static_cast<std::byte>(random() >> 8);
  return bytes;
}

/// An image with empty files f0, f1, ... in its root.
class FileImage : public tests::Image {
 public:
  FileImage(const std::string& options, const std::string& size, unsigned files) : Image{options, size} {
    for (unsigned i = 0; i < files; ++i) debugfs("write /dev/null f" + std::to_string(i));
  }

  /// As complaints(), but an extent tree may have room to spare: the kernel does not pack trees after punching either.
  std::string grave_complaints() const {
    const auto outcome = tests::run("e2fsck -fn -E no_optimize_extents " + path() + " 2>&1");
    return outcome.status == 0 ? "" : outcome.output;
  }

  /// Compares the image's file with `expected` through the kernel's ext4 on a read-only loop mount. Empty if they are
  /// equal.
  std::string kernel_differs(const std::vector<std::pair<std::string, Bytes>>& expected) const {
    std::string script = "set -e; mkdir -p " + directory().string() + "/mnt; mount -o loop,ro " + path() + " " +
                         directory().string() + "/mnt; ";
    for (const auto& [name, bytes] : expected) {
      const std::string copy = directory().string() + "/expected_" + name;
      std::ofstream{copy, std::ios::binary}.write(reinterpret_cast<const char*>(bytes.data()),
                                                  static_cast<std::streamsize>(bytes.size()));
      script += "cmp " + copy + " " + directory().string() + "/mnt/" + name + " || bad=1; ";
    }
    script += "umount " + directory().string() + "/mnt; test -z \"$bad\"";
    const auto outcome = tests::run("unshare -m --propagation private sh -c '" + script + "' 2>&1");
    return outcome.status == 0 ? "" : "kernel: " + outcome.output;
  }
};

/// An image as a device in memory that can be told to fail.
inline std::vector<std::byte> contents(const tests::Image& image) {
  const auto device = image.open(true);
  std::vector<std::byte> bytes(device->size());
  EXPECT_TRUE(device->read(0, bytes).ok());
  return bytes;
}

/// A device and the volume mounted from it, closed at the end unless `close()` was called.
class Mounted {
 public:
  explicit Mounted(const tests::Image& image, const MountOptions& options = {}) : owned_{image.open()} {
    open(*owned_, options);
  }
  explicit Mounted(disk::BlockDevice& device, const MountOptions& options = {}) { open(device, options); }
  ~Mounted() {
    if (volume_) close();
  }

  Volume& operator*() { return *volume_; }
  Volume* operator->() { return volume_.get(); }
  FileData& files() { return volume_->files(); }

  void close() {
    const auto closed = volume_->close();
    EXPECT_TRUE(closed.ok()) << closed.error().message();
    volume_.reset();
  }

  InodeNumber inode(const std::string& path) {
    ext2_ino_t number = 0;
    volume_->inspect([&] { return ext2fs_namei(volume_->fs(), EXT2_ROOT_INO, EXT2_ROOT_INO, path.c_str(), &number); });
    EXPECT_NE(number, 0u) << path;
    return number;
  }

  Inode read_inode(InodeNumber number) {
    return volume_->inspect([&] { return volume_->inodes().read(number); }).value();
  }

  Bytes read(InodeNumber number, std::uint64_t offset, std::size_t size) {
    Bytes bytes(size, std::byte{0xEE});
    const auto count = volume_->files().read(number, offset, bytes);
    EXPECT_TRUE(count.ok()) << count.error().message();
    bytes.resize(count.ok() ? *count : 0);
    return bytes;
  }

  void write(InodeNumber number, std::uint64_t offset, const Bytes& bytes) {
    const auto count = volume_->files().write(number, offset, bytes, {});
    ASSERT_TRUE(count.ok()) << count.error().message();
    ASSERT_EQ(*count, bytes.size());
  }

 private:
  void open(disk::BlockDevice& device, const MountOptions& options) {
    auto opened = Volume::open(device, options);
    if (!opened.ok()) throw std::runtime_error{opened.error().message()};
    volume_ = std::move(*opened);
    const auto started = volume_->start_writing();
    if (!started.ok()) throw std::runtime_error{started.error().message()};
  }

  std::unique_ptr<disk::FileDevice> owned_;
  std::unique_ptr<Volume> volume_;
};

/// errno of a failed result, 0 of a good one.
template <typename T>
int failure(const Result<T>& result) {
  return result.ok() ? 0 : disk::error_number(result.error().code);
}

}  // namespace worker::volume::testing
