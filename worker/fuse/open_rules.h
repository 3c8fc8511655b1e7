// What opening a file allows, asks for and answers.
#pragma once

#include <cstdint>

#include "worker/fuse/kernel_abi.h"
#include "worker/volume/types.h"

namespace worker::volume {
class Volume;
}

namespace worker::fuse {

/// Every file is cached, and the cache outlives the open file: nobody but this kernel changes it.
inline constexpr std::uint32_t kOpenFlags = FOPEN_KEEP_CACHE;

/// Serves the open(2) `flags` of an inode: what immutable and append-only files forbid, O_TRUNC, and clearing
/// privileges with it as `open_flags` (FUSE_OPEN_*) asks. Returns FOPEN_* flags. EPERM, EROFS, and what truncation
/// fails with.
volume::Result<std::uint32_t> open_inode(volume::Volume& volume, volume::InodeNumber inode, std::uint32_t flags,
                                         std::uint32_t open_flags);

}  // namespace worker::fuse
