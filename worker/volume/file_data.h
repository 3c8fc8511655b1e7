// The bytes of regular files: reading, writing, cutting, allocating.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "worker/volume/inodes.h"

namespace worker::volume {

struct WriteFlags {
  bool from_page_cache = false;  ///< FUSE_WRITE_CACHE: the kernel keeps size and times itself and sends them by SETATTR
  bool kill_privileges = false;  ///< FUSE_WRITE_KILL_SUIDGID
};

/// File data moves straight between the device and the caller's memory, one device request for each run of blocks,
/// never through the block cache. Calls take their own locks. Data is on the device before the operation that makes it
/// reachable.
class FileData {
 public:
  explicit FileData(Volume& volume);
  ~FileData();

  /// Bytes read, fewer than asked for only at the end of the file. Holes and unwritten extents read as zeros.
  Result<std::size_t> read(InodeNumber inode, std::uint64_t offset, std::span<std::byte> into);
  /// All, or an error; but ENOSPC in the middle of a write that does not come from the page cache counts the bytes
  /// before it.
  Result<std::size_t> write(InodeNumber inode, std::uint64_t offset, std::span<const std::byte> from, WriteFlags flags);

  /// Sets the size; what lies behind a smaller size is freed in bounded steps and the rest of its last block zeroed.
  Result<void> truncate(InodeNumber inode, std::uint64_t size);
  /// fallocate(2) with FALLOC_FL_KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE; EOPNOTSUPP for others.
  Result<void> allocate(InodeNumber inode, int mode, std::uint64_t offset, std::uint64_t length);
  /// lseek(2) with SEEK_DATA or SEEK_HOLE. ENXIO behind the end.
  Result<std::uint64_t> seek(InodeNumber inode, std::uint64_t offset, int whence);

  /// fsync(2), fdatasync(2): commits what this file needs, else only flushes the device.
  Result<void> sync(InodeNumber inode, bool data_only);

  /// Frees up to a bounded number of blocks behind `size` as part of `operation`; true when nothing is left behind it.
  /// For truncation and for dying inodes, whose holder must be on the orphan list until it returns true.
  Result<bool> free_some(Operation& operation, Inode& inode, std::uint64_t size);

  /// The mapping or the inode changed or died: drops what is cached of it.
  void forget(InodeNumber inode);

  struct State;  ///< of interest to FileData's own source files only

 private:
  std::unique_ptr<State> state_;
};

}  // namespace worker::volume
