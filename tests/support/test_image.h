// An image file made by mke2fs in a directory of its own; gone with the object.
#pragma once

#include <filesystem>
#include <string>

namespace test {

class TestImage {
 public:
  /// `options` are mke2fs's; `size` as mke2fs takes it.
  explicit TestImage(const std::string& options = "-t ext4", const std::string& size = "64M");
  ~TestImage();
  TestImage(const TestImage&) = delete;
  TestImage& operator=(const TestImage&) = delete;

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path path() const { return folder_ / "image"; }

  /// What `e2fsck -fn` complains about; empty when the image is clean.
  std::string complaints() const;
  /// Standard output of `debugfs -R command`.
  std::string debugfs(const std::string& command) const;

 private:
  std::filesystem::path folder_;
};

/// Runs a shell command; its output, standard error included, and its exit status.
std::string shell(const std::string& command, int* status = nullptr);

}  // namespace test
