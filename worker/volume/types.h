// Values that the layers above the disk share: inode numbers, times, attributes.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "protocol/result.h"
#include "worker/disk/block_cache.h"

namespace worker::volume {

using disk::BlockNumber;
using protocol::errno_error;
using protocol::Error;
using protocol::Result;

/// An inode of the volume, 1 to the superblock's inode count; 2 is the root directory.
using InodeNumber = std::uint32_t;
inline constexpr InodeNumber kRootInode = 2;

/// A block of a file, counted in volume blocks from the file's start.
using LogicalBlock = std::uint64_t;

/// Time since the epoch. Stored with nanoseconds in inodes that have room for them, else in whole seconds.
struct Timestamp {
  std::int64_t seconds = 0;
  std::uint32_t nanoseconds = 0;
  auto operator<=>(const Timestamp&) const = default;

  static Timestamp now() noexcept;  ///< the kernel's coarse clock, as kernel ext4 stamps
};

/// What stat(2) tells of one inode, plus its generation and flags.
struct Attributes {
  InodeNumber inode = 0;
  std::uint32_t generation = 0;
  std::uint32_t mode = 0;  ///< type and permission bits, S_IF* and 07777
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t links = 0;
  std::uint32_t device = 0;      ///< for S_IFCHR and S_IFBLK, as the kernel's new_encode_dev()
  std::uint32_t flags = 0;       ///< EXT4_*_FL
  std::uint32_t block_size = 0;  ///< bytes
  std::uint64_t size = 0;        ///< bytes
  std::uint64_t blocks = 0;      ///< units of 512 bytes
  Timestamp accessed, modified, changed, born;
};

/// What an inode made by a request is to be.
struct NewInode {
  std::uint32_t mode = 0;   ///< type and permission bits as asked for, the umask not yet applied
  std::uint32_t umask = 0;  ///< of the caller; a default ACL of the directory takes its place
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;     ///< a set-group-ID directory's group takes its place
  std::uint32_t device = 0;  ///< for S_IFCHR and S_IFBLK
};

/// What a SETATTR asks for; what is not set stays as it is. The kernel has checked permissions (default_permissions).
struct AttributeChange {
  std::optional<std::uint32_t> mode = {};  ///< permission bits, 07777
  std::optional<std::uint32_t> uid = {}, gid = {};
  std::optional<std::uint64_t> size = {};  ///< bytes
  std::optional<Timestamp> accessed = {}, modified = {}, changed = {};
  bool kill_privileges = false;  ///< clear set-user-ID, set-group-ID and security.capability
};

/// Numbers for statfs(2), in volume blocks and inodes.
struct SpaceUsage {
  std::uint64_t blocks = 0, free_blocks = 0, available_blocks = 0;
  std::uint64_t inodes = 0, free_inodes = 0;
  std::uint64_t identity = 0;  ///< f_fsid, from the volume's UUID as the kernel makes it
  std::uint32_t block_size = 0;
};

}  // namespace worker::volume
