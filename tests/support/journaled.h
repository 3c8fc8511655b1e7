// Images whose journal other programs have left full of changes.
#pragma once

#include <string>
#include <vector>

#include "tests/support/image.h"
#include "worker/disk/block_cache.h"

namespace tests {

/// Mounts the image with kernel ext4, runs `script` with the mount point as working directory, and makes the image what
/// a power cut then leaves: file data and the journal are written, most metadata is only in the log. The script decides
/// by `sync FILE` what has been committed. Aborts the test program where that fails.
void crash_kernel(const Image& image, const std::string& mount_options, const std::string& script);

/// The same with debugfs: runs its commands, a line each (`jo`, `jw`, `jc`).
void write_journal(const Image& image, const std::string& commands);

/// The blocks of the volume that hold the log, in the log's order.
std::vector<worker::disk::BlockNumber> log_of(const Image& image);

/// Two images that lie side by side: the numbers of blocks that differ, but for those of the log and of the superblock.
std::vector<worker::disk::BlockNumber> differences(const Image& image, const std::string& a, const std::string& b);

}  // namespace tests
