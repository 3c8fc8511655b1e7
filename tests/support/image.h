// A file system image made by mke2fs in a directory of its own, and what may be asked of it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "protocol/result.h"
#include "worker/disk/file_device.h"

namespace tests {

/// Runs a shell command; its exit status (128 + signal if one ended it) and what it printed to either stream.
struct Outcome {
  int status = -1;
  std::string output;
};
Outcome run(const std::string& command);

/// A directory below /var/tmp that goes away with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory();
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

/// One image. Aborts the test program where mke2fs fails: nothing can be tested then.
class Image {
 public:
  /// `options` go to mke2fs before the name, `size` (mke2fs's notation) behind it. For example {"-t ext4 -b 1024",
  /// "8M"}.
  explicit Image(const std::string& options = "-t ext4", const std::string& size = "16M");

  std::string path() const { return (directory_.path() / "image").string(); }
  const std::filesystem::path& directory() const noexcept { return directory_.path(); }

  std::unique_ptr<worker::disk::FileDevice> open(bool read_only = false) const;

  /// Takes the journal away: every commit goes home, where a test can look at it.
  void remove_journal() const;

  /// Runs a debugfs command with -w.
  void debugfs(const std::string& command) const;

  /// Empty if `e2fsck -fn` finds nothing at all to say, else what it said.
  std::string complaints() const;
  std::string sha256() const;
  /// What `dumpe2fs -h` prints behind "name:", without blanks in front.
  std::string header(const std::string& name) const;

 private:
  TemporaryDirectory directory_;
};

}  // namespace tests
