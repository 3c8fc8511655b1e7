// The thing to be mounted: opened once, locked, and never looked up by path again.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "broker/byte_range.h"
#include "broker/state_file.h"

namespace broker {

using protocol::UniqueFd;

enum class SourceKind : std::uint8_t { block_device, image_file };

/// An opened source. `descriptor` carries an OFD lock on the window, shared for reading or exclusive for writing, which
/// lives as long as its open file description does: in the worker or in the loop device that got it.
struct Source {
  UniqueFd descriptor;
  SourceKind kind = SourceKind::image_file;
  bool read_only = false;
  Window window;               ///< length filled in, checked against the source's size
  bool whole = true;           ///< the window is all of the source
  std::string path;            ///< canonical, for the mount table and people
  ByteRange range;             ///< what other mounts are compared with
  std::vector<dev_t> through;  ///< the block devices, source included, between the source and `range`
  std::string warning;         ///< one line when it fell back to read-only
  StateFile slot;              ///< where its use is published

  /// For a block device that is served without fuseblk, whose superblock would be the claim: makes `descriptor` the
  /// exclusive claim, as long as it is open. Nothing to do for files and read-only mounts.
  Result<void> claim();
};

/// Opens and locks the plan's source and publishes its use: of several who try at once, by whatever path or device
/// node, one succeeds. Without an explicit `rw`, EPERM, EACCES and EROFS fall back to read-only. EBUSY is tried again
/// until `deadline`; then the error's detail names the holder: a mount of ours (by its state file), another mount, or a
/// loop device. EINTR once the descriptor `interrupt` is readable.
Result<Source> open_source(const MountPlan& plan, std::chrono::steady_clock::time_point deadline, int interrupt = -1);

/// A second open file description of what `descriptor` names, for the same kind of access but with O_DIRECT, and with no
/// lock of its own. EINVAL where the file system cannot.
Result<UniqueFd> reopen_direct(const UniqueFd& descriptor);

}  // namespace broker
