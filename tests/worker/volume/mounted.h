// A volume mounted from an image, for tests of what lies above the operations.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>
#include <string>

#include "tests/support/image.h"
#include "worker/volume/directory.h"
#include "worker/volume/names.h"
#include "worker/volume/orphans.h"
#include "worker/volume/references.h"
#include "worker/volume/volume.h"

namespace tests {

/// Open for writing until close(). Aborts the test program if the image cannot be mounted.
class Mounted {
 public:
  explicit Mounted(const Image& image) : device_{image.open()} {
    auto volume = worker::volume::Volume::open(*device_, {});
    if (!volume.ok() || !(*volume)->start_writing().ok()) {
      ADD_FAILURE() << (volume.ok() ? "start_writing" : volume.error().message());
      std::abort();
    }
    volume_ = std::move(volume).value();
  }

  worker::volume::Volume* operator->() { return volume_.get(); }
  worker::volume::Volume& operator*() { return *volume_; }
  worker::volume::Names& names() { return volume_->names(); }

  /// True if the volume closed well.
  bool close() {
    const auto closed = volume_->close();
    return closed.ok();
  }

 private:
  std::unique_ptr<worker::disk::FileDevice> device_;
  std::unique_ptr<worker::volume::Volume> volume_;
};

/// What a call failed with, 0 if it did not.
template <typename T>
int error_of(const protocol::Result<T>& result) {
  return result.ok() ? 0 : result.error().code.default_error_condition().value();
}

inline worker::volume::NewInode new_file(std::uint32_t mode = S_IFREG | 0644) { return {.mode = mode, .umask = 0}; }
inline worker::volume::NewInode new_directory() { return {.mode = S_IFDIR | 0755, .umask = 0}; }

/// All names but "." and "..", with their inodes, as one iteration in steps of `step` entries gives them. Fails the
/// test when one comes twice.
inline std::map<std::string, worker::volume::InodeNumber> listing(worker::volume::Volume& volume,
                                                                  worker::volume::InodeNumber directory,
                                                                  std::size_t step = 100) {
  std::map<std::string, worker::volume::InodeNumber> names;
  std::uint64_t cookie = 0;
  for (bool more = true; more;) {
    std::size_t taken = 0;
    more = false;
    const auto read = volume.names().read_directory(directory, cookie, false, [&](const auto& entry) {
      if (taken++ == step) {
        more = true;
        return false;
      }
      cookie = entry.next_cookie;
      EXPECT_LT(cookie, std::uint64_t{1} << 63);
      if (entry.name == "." || entry.name == "..") return true;
      EXPECT_TRUE(names.emplace(entry.name, entry.inode).second) << entry.name << " came twice";
      return true;
    });
    EXPECT_TRUE(read.ok()) << read.error().message();
    if (!read.ok()) break;
  }
  return names;
}

}  // namespace tests
