#include "broker/byte_range.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "broker/mount_table.h"
#include "protocol/unique_fd.h"

namespace broker {
namespace {

constexpr std::uint64_t kSector = 512;  // sysfs counts in these, whatever the device's own sectors are
constexpr int kDeepestStack = 16;

std::string sysfs(dev_t device, const char* leaf) {
  return "/sys/dev/block/" + std::to_string(::major(device)) + ":" + std::to_string(::minor(device)) + "/" + leaf;
}

/// The whole disk a partition is on.
dev_t disk_of(dev_t partition) {
  const std::string text = read_small_file(sysfs(partition, "../dev"));
  unsigned major = 0, minor = 0;
  return std::sscanf(text.c_str(), "%u:%u", &major, &minor) == 2 ? ::makedev(major, minor) : partition;
}

/// Follows partitions and loop devices down from a block device.
Result<ByteRange> descend(dev_t device, Window window, std::vector<dev_t>* through) {
  for (int depth = 0; depth < kDeepestStack; ++depth) {
    if (through) through->push_back(device);
    if (read_number_file(sysfs(device, "partition")) != 0) {
      window.offset += read_number_file(sysfs(device, "start")) * kSector;
      device = disk_of(device);
      if (through) through->push_back(device);
    }
    const auto status = loop_status(block_device_path(device));
    if (!status) return ByteRange{device, 0, window};
    window.offset += status->lo_offset;
    if (status->lo_rdevice == 0) return ByteRange{status->lo_device, status->lo_inode, window};
    device = status->lo_rdevice;
  }
  return protocol::errno_error(ELOOP, "too many loop devices on top of each other");
}

}  // namespace

bool ByteRange::overlaps(const ByteRange& other) const noexcept {
  if (device != other.device || inode != other.inode) return false;
  const std::uint64_t start = std::max(window.offset, other.window.offset);
  return start - window.offset < window.length && start - other.window.offset < other.window.length;
}

Result<ByteRange> byte_range(int descriptor, const Window& window, std::vector<dev_t>* through) {
  struct stat found {};
  if (::fstat(descriptor, &found) != 0) return protocol::last_error();
  if (S_ISBLK(found.st_mode)) return descend(found.st_rdev, window, through);
  return ByteRange{found.st_dev, found.st_ino, window};
}

Result<ByteRange> byte_range(dev_t block_device) {
  return descend(block_device, Window{0, block_device_size(block_device)}, nullptr);
}

std::optional<loop_info64> loop_status(const std::string& path) {
  if (!path.starts_with("/dev/loop")) return std::nullopt;
  const protocol::UniqueFd device{::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
  loop_info64 status{};
  if (!device || ::ioctl(device.get(), LOOP_GET_STATUS64, &status) != 0) return std::nullopt;
  return status;
}

ByteRange loop_range(const loop_info64& status, std::uint64_t length) {
  const Window window{status.lo_offset, length};
  if (status.lo_rdevice == 0) return ByteRange{status.lo_device, status.lo_inode, window};
  const auto deeper = descend(status.lo_rdevice, window, nullptr);
  return deeper ? *deeper : ByteRange{status.lo_rdevice, 0, window};
}

std::string block_device_path(dev_t device) {
  char target[PATH_MAX];
  std::string link = sysfs(device, "");
  link.pop_back();
  const ssize_t length = ::readlink(link.c_str(), target, sizeof target);
  if (length <= 0) return {};
  const std::string_view path{target, static_cast<std::size_t>(length)};
  std::string name{path.substr(path.rfind('/') + 1)};
  for (char& c : name)
    if (c == '!') c = '/';  // sysfs writes the slash of cciss/c0d0 so
  return "/dev/" + name;
}

std::uint64_t block_device_size(dev_t device) { return read_number_file(sysfs(device, "size")) * kSector; }

}  // namespace broker
