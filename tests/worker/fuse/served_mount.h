// A real mount of a fresh image: the kernel asks, our server answers from a process of its own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "tests/support/image.h"

namespace tests {

/// What the server counted, in memory that both processes see.
struct ServedCounts;

/// Mounts with FUSE alone: neither broker nor sandbox. Needs root, /dev/fuse, and a mount namespace of the test's own.
class ServedMount {
 public:
  struct Wishes {
    std::string make = "-t ext4 -b 4096";
    std::string size = "256M";
    bool block_device = false;  ///< fuseblk over a loop device: umount(2) waits for the volume's close
    bool read_only = false;
  };

  /// False where FUSE cannot be mounted.
  static bool possible();

  ServedMount() : ServedMount(Wishes{}) {}
  explicit ServedMount(Wishes wishes);
  /// Unmounts, waits for the server, and expects e2fsck to be silent.
  ~ServedMount();
  ServedMount(const ServedMount&) = delete;
  ServedMount& operator=(const ServedMount&) = delete;

  const std::filesystem::path& root() const { return root_; }
  std::string path(const std::string& name) const { return (root_ / name).string(); }
  Image& image() { return image_; }

  /// Requests of this opcode until now; 0 stands for all of them.
  std::uint64_t served(std::uint32_t opcode = 0) const;

  /// As umount(8): afterwards, on a block device, the image is complete.
  void unmount();
  /// Waits for the server's end; expects that it closed the volume without an error. Called by the destructor.
  void wait_for_server();
  /// Drops what the kernel caches, so that it has to ask again.
  static void drop_caches();

 private:
  [[noreturn]] void run_server(int fuse, int source, int ready);
  void attach(int fuse);

  Wishes wishes_;
  Image image_;
  std::filesystem::path root_;
  std::string loop_;
  ServedCounts* counts_;
  pid_t server_ = -1;
  bool mounted_ = false;
};

}  // namespace tests
