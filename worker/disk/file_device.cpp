#include "worker/disk/file_device.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <system_error>
#include <utility>

namespace worker::disk {

using protocol::errno_error;
using protocol::last_error;

namespace {

/// Shorter transfers cost less through the page cache: the device is not waited for.
constexpr std::size_t kShortestDirect = 128 * 1024;
/// The longest unit of the page cache, in pages: 2 MiB with pages of 4 KiB, more with larger ones; with room to spare.
constexpr std::uint64_t kRegionPages = 2048;

}  // namespace

FileDevice::FileDevice(protocol::UniqueFd fd, ByteOffset start, std::uint64_t size, bool read_only,
                       protocol::UniqueFd direct)
    : fd_{std::move(fd)},
      direct_{std::move(direct)},
      start_{start},
      size_{size},
      read_only_{read_only},
      page_{static_cast<std::size_t>(::getpagesize())},
      directly_{static_cast<bool>(direct_)} {}

Result<std::unique_ptr<FileDevice>> FileDevice::open(protocol::UniqueFd fd, ByteOffset offset, std::uint64_t size,
                                                     protocol::UniqueFd direct) {
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0) return last_error("the volume's descriptor");
  // Seeking tells the size of files and of block devices alike, without an ioctl that the sandbox would have to allow.
  const off_t end = ::lseek(fd.get(), 0, SEEK_END);
  if (end < 0) return last_error("cannot tell the size of the volume");
  const auto total = static_cast<std::uint64_t>(end);
  if (offset > total || size > total - offset)
    return errno_error(EINVAL, "offset= and sizelimit= reach beyond the source");
  return std::unique_ptr<FileDevice>{new FileDevice{std::move(fd), offset, size != 0 ? size : total - offset,
                                                    (flags & O_ACCMODE) == O_RDONLY, std::move(direct)}};
}

std::size_t FileDevice::direct_part(ByteOffset offset, const std::byte* memory, std::size_t size) const noexcept {
  if (size < kShortestDirect || !directly_.load(std::memory_order_relaxed)) return 0;
  if (((start_ + offset) | reinterpret_cast<std::uintptr_t>(memory)) % page_ != 0) return 0;
  return size - size % page_;
}

Result<void> FileDevice::read(ByteOffset offset, std::span<std::byte> into) {
  if (!inside(offset, into.size())) return errno_error(EIO, "read behind the end of the volume");
  if (const std::size_t part = direct_part(offset, into.data(), into.size()); part > 0) {
    const auto done = read_whole(direct_.get(), offset, into.first(part));
    if (done.ok()) {
      offset += part;
      into = into.subspan(part);
    } else if (done.error().code != std::errc::invalid_argument) {
      return done;
    } else {
      directly_ = false;
    }
  }
  return read_whole(fd_.get(), offset, into);
}

Result<void> FileDevice::read_whole(int descriptor, ByteOffset offset, std::span<std::byte> into) {
  while (!into.empty()) {
    const ssize_t got = ::pread(descriptor, into.data(), into.size(), static_cast<off_t>(start_ + offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return last_error("read");
    if (got == 0) return errno_error(EIO, "the source has become shorter");
    into = into.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return {};
}

Result<void> FileDevice::read_past_cache(ByteOffset offset, std::span<std::byte> into) {
  // Drops clean pages; nothing that a process can do about one descriptor without O_DIRECT goes further.
  ::posix_fadvise(fd_.get(), static_cast<off_t>(start_ + offset), static_cast<off_t>(into.size()), POSIX_FADV_DONTNEED);
  return read(offset, into);
}

Result<void> FileDevice::write(ByteOffset offset, std::span<const std::byte> from) {
  if (read_only_) return errno_error(EROFS);
  if (!inside(offset, from.size())) return errno_error(EIO, "write behind the end of the volume");
  if (!directly_.load(std::memory_order_relaxed)) return write_whole(fd_.get(), offset, from);
  const std::uint64_t region = page_ * kRegionPages;
  while (!from.empty()) {
    const auto part = from.first(std::min<std::uint64_t>(from.size(), region - (start_ + offset) % region));
    TRY(write_in_region(offset, part));
    offset += part.size();
    from = from.subspan(part.size());
  }
  return {};
}

Result<void> FileDevice::write_in_region(ByteOffset offset, std::span<const std::byte> from) {
  Region& region = regions_[(start_ + offset) / (page_ * kRegionPages) % kRegions];
  if (const std::size_t part = direct_part(offset, from.data(), from.size()); part > 0) {
    std::unique_lock turn{region.turn};
    const std::shared_lock writes{region.writes};
    turn.unlock();
    const auto done = write_whole(direct_.get(), offset, from.first(part));
    if (done.ok()) {
      offset += part;
      from = from.subspan(part);
    } else if (done.error().code != std::errc::invalid_argument) {
      return done;
    } else {
      directly_ = false;
    }
  }
  if (from.empty()) return {};
  const std::lock_guard turn{region.turn};
  const std::lock_guard writes{region.writes};
  return write_whole(fd_.get(), offset, from);
}

Result<void> FileDevice::write_whole(int descriptor, ByteOffset offset, std::span<const std::byte> from) {
  while (!from.empty()) {
    const ssize_t put = ::pwrite(descriptor, from.data(), from.size(), static_cast<off_t>(start_ + offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return last_error("write");
    if (put == 0) return errno_error(EIO, "write");
    from = from.subspan(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
  return {};
}

Result<void> FileDevice::flush() {
  if (read_only_) return {};
  // The kernel reports a lost page to one caller, once. Whoever comes later, for whatever file, must not be told that
  // all is well: the first failure stays.
  const std::lock_guard lock{flush_mutex_};
  if (flush_failed_) return errno_error(EIO, "an earlier flush failed");
  if (::fdatasync(fd_.get()) == 0) return {};
  flush_failed_ = true;
  return last_error("flush");
}

Result<void> FileDevice::discard(ByteOffset offset, std::uint64_t length) {
  if (read_only_) return errno_error(EROFS);
  if (!inside(offset, length)) return errno_error(EINVAL, "discard behind the end of the volume");
  if (length == 0) return {};
  // Works on regular files and on block devices; where it does not, nothing is lost.
  if (::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(start_ + offset),
                  static_cast<off_t>(length)) != 0)
    return last_error("discard");
  return {};
}

}  // namespace worker::disk
