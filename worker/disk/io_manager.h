// libext2fs's I/O, carried by a block cache.
#pragma once

#include <string>

#include "worker/disk/block_cache.h"
#include "worker/disk/ext2fs.h"

namespace worker::disk {

/// The io_manager to give to ext2fs_open2(), together with io_name() of the cache that is to carry the I/O. Reads see
/// what the cache's reader would see; writes are part of the running operation and fail with EXT2_ET_RO_FILSYS without
/// one. flush does nothing (durability is the committer's), discard and zeroout are not offered. Has no state of its
/// own.
io_manager cache_io_manager() noexcept;

/// The "device name" that leads cache_io_manager() to `cache`, which must outlive the handle. The library hands a
/// manager nothing but this text, so it carries the address: no registry, and any number of volumes in one process.
std::string io_name(BlockCache& cache);

}  // namespace worker::disk
