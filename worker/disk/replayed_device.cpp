#include "worker/disk/replayed_device.h"

#include <algorithm>
#include <cstring>
#include <mutex>

namespace worker::disk {

using protocol::errno_error;

ReplayedDevice::ReplayedDevice(JournalLog log, JournalScan scan)
    : log_{std::move(log)}, device_{log_.device()}, scan_{std::move(scan)} {}

void ReplayedDevice::pass_through() {
  const std::lock_guard lock{mutex_};
  passing_ = true;
  scan_.copies = {};
}

Result<void> ReplayedDevice::read(ByteOffset offset, std::span<std::byte> into) {
  if (passing_) return device_.read(offset, into);
  const std::shared_lock lock{mutex_};
  return read_replayed(offset, into);
}

Result<void> ReplayedDevice::read_replayed(ByteOffset offset, std::span<std::byte> into) {
  const std::uint64_t size = log_.block_size();
  auto next = std::partition_point(scan_.copies.begin(), scan_.copies.end(),
                                   [&](const LoggedCopy& copy) { return copy.block < offset / size; });
  std::vector<std::byte> block;
  while (!into.empty()) {
    const ByteOffset start = next != scan_.copies.end() ? next->block * size : ~ByteOffset{0};
    std::uint64_t length = into.size();
    if (start > offset) {
      length = std::min(length, start - offset);
      TRY(device_.read(offset, into.first(length)));
    } else {
      length = std::min(length, start + size - offset);
      block.resize(size);
      TRY(read_copy(log_, scan_.layout, *next, block));
      std::memcpy(into.data(), block.data() + (offset - start), length);
      ++next;
    }
    into = into.subspan(length);
    offset += length;
  }
  return {};
}

Result<void> ReplayedDevice::write(ByteOffset offset, std::span<const std::byte> from) {
  if (!passing_) return errno_error(EROFS, "the journal is not replayed yet");
  return device_.write(offset, from);
}

Result<void> ReplayedDevice::discard(ByteOffset offset, std::uint64_t length) {
  if (!passing_) return errno_error(EROFS, "the journal is not replayed yet");
  return device_.discard(offset, length);
}

}  // namespace worker::disk
