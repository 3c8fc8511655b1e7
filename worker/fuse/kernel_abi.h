// The FUSE wire as Debian 12's <linux/fuse.h> (protocol 7.38) has it, and the little that we use of later versions.
#pragma once

#include <linux/fuse.h>

#include <cstdint>

/// Later additions, under names of our own so that a newer system header does not collide with them.
/// Source: Linux include/uapi/linux/fuse.h, its version history at the top.
namespace worker::fuse::abi {

/// The newest protocol whose meaning we know for everything we take part in.
inline constexpr std::uint32_t kMinorVersion = 45;
/// Linux 6.1 speaks 7.37; INIT_EXT and SETXATTR_EXT are older than that.
inline constexpr std::uint32_t kOldestMinorVersion = 36;

inline constexpr std::uint32_t kStatx = 52;            ///< since 7.39
inline constexpr std::uint32_t kCopyFileRange64 = 53;  ///< since 7.45

struct StatxIn {
  std::uint32_t getattr_flags;
  std::uint32_t reserved;
  std::uint64_t fh;
  std::uint32_t sx_flags;
  std::uint32_t sx_mask;
};
static_assert(sizeof(StatxIn) == 24);

struct StatxTime {
  std::int64_t seconds;
  std::uint32_t nanoseconds;
  std::int32_t reserved;
};

/// As struct statx, but without what came after its device numbers.
struct Statx {
  std::uint32_t mask;
  std::uint32_t blksize;
  std::uint64_t attributes;
  std::uint32_t nlink;
  std::uint32_t uid;
  std::uint32_t gid;
  std::uint16_t mode;
  std::uint16_t spare0;
  std::uint64_t ino;
  std::uint64_t size;
  std::uint64_t blocks;
  std::uint64_t attributes_mask;
  StatxTime atime, btime, ctime, mtime;
  std::uint32_t rdev_major, rdev_minor;
  std::uint32_t dev_major, dev_minor;
  std::uint64_t spare2[14];
};
static_assert(sizeof(Statx) == 256);

struct StatxOut {
  std::uint64_t attr_valid;  ///< seconds
  std::uint32_t attr_valid_nsec;
  std::uint32_t flags;
  std::uint64_t spare[2];
  Statx stat;
};
static_assert(sizeof(StatxOut) == 288);

}  // namespace worker::fuse::abi
