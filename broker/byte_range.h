// Which bytes of which file or disk a source, a mount or a loop device really uses.
#pragma once

#include <linux/loop.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "broker/options.h"

namespace broker {

/// Bytes of a file or a disk, seen through all loop devices and partitions on the way: two mounts whose ranges overlap
/// would write over each other, whatever paths they were given.
struct ByteRange {
  dev_t device = 0;  ///< of the file's file system, or of the whole disk
  ino_t inode = 0;   ///< of the file; 0 for a disk
  Window window;     ///< its length is never 0, unless nothing is used

  bool overlaps(const ByteRange& other) const noexcept;
};

/// The range behind `window` of an open regular file or block device. Names the block devices it went through in
/// `through`.
Result<ByteRange> byte_range(int descriptor, const Window& window, std::vector<dev_t>* through = nullptr);
/// The range of all of a block device.
Result<ByteRange> byte_range(dev_t block_device);

/// What a loop device is set up with; nothing if it is not.
std::optional<loop_info64> loop_status(const std::string& path);
/// The backing bytes of such a loop device that is `length` bytes long.
ByteRange loop_range(const loop_info64& status, std::uint64_t length);

/// /dev/NAME of a block device, "" if sysfs does not know it.
std::string block_device_path(dev_t device);
/// The length in bytes that sysfs shows; 0 if it does not know.
std::uint64_t block_device_size(dev_t device);

}  // namespace broker
