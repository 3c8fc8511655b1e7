// The one ioctl that a mount of ours serves on its root directory: turning read-only and back.
#pragma once

#include <linux/ioctl.h>

#include <cstdint>

namespace protocol {

/// Argument: a std::uint32_t, one of MountMode. Only uid 0 may; anybody else gets EPERM.
/// `remount,ro` first reconfigures the kernel's superblock, so that no new write arrives, then asks the worker;
/// `remount,rw` asks the worker first, then reconfigures.
inline constexpr unsigned long kSetMountMode = _IOW('e', 0xE4, std::uint32_t);

enum class MountMode : std::uint32_t {
  writable = 0,   ///< EROFS if the volume or its descriptor can only be read
  read_only = 1,  ///< commits, marks the volume clean, flushes; durable on return
};

}  // namespace protocol
