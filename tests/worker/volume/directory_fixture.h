// Volumes whose directories differ in layout, and the kernel's own hand in them.
#pragma once

#include <filesystem>
#include <fstream>
#include <ostream>
#include <string>

#include "tests/support/image.h"

namespace tests {

struct Layout {
  std::string name;
  std::string mke2fs;
  std::string size = "64M";
  std::string hash = {};  // a default hash version, for debugfs
  bool unsigned_characters = false;

  friend std::ostream& operator<<(std::ostream& out, const Layout& layout) { return out << layout.name; }
};

struct LaidOut : Image {
  explicit LaidOut(const Layout& layout) : Image{layout.mke2fs, layout.size} {
    if (!layout.hash.empty()) debugfs("set_super_value def_hash_version " + layout.hash);
    if (layout.unsigned_characters) debugfs("set_super_value flags 2");
  }
};

/// Runs Perl in the root of the image, mounted by the kernel in a mount namespace of its own. Empty if that went well.
inline std::string in_kernel(const Image& image, const std::string& perl) {
  const std::filesystem::path mount_point = image.directory() / "mnt";
  const std::filesystem::path script = image.directory() / "script";
  std::filesystem::create_directory(mount_point);
  std::ofstream{script} << "chdir '" << mount_point.string() << "'; " << perl << "; chdir '/'; exit 0";
  const auto outcome =
      run("unshare -m --propagation private sh -ec 'mount -t ext4 -o loop " + image.path() + " " +
          mount_point.string() + "; perl " + script.string() + "; umount " + mount_point.string() + "'");
  return outcome.status == 0 ? "" : std::to_string(outcome.status) + ": " + outcome.output;
}

}  // namespace tests
