// A mount from fsopen to detach, through descriptors only.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "broker/options.h"
#include "protocol/unique_fd.h"

namespace broker {

using protocol::UniqueFd;

/// Where to mount: resolved once.
struct MountPoint {
  UniqueFd descriptor;  ///< O_PATH
  std::string path;     ///< canonical, for people and the mount table
  bool directory = true;
};

Result<MountPoint> open_mount_point(const MountPlan& plan);

/// What tells our mount from every other: taken before it is attached.
struct MountIdentity {
  dev_t device = 0;            ///< s_dev of the superblock
  std::uint64_t unique_id = 0;  ///< STATX_MNT_ID_UNIQUE, or the reused id where a kernel has no other; 0: none
};

/// What the new superblock and mount are to be; decided by policy.
struct MountSpecification {
  bool block = false;      ///< fuseblk
  std::string source;      ///< device path for fuseblk, else what the mount table is to show
  std::string subtype;
  std::uint64_t attributes = 0;  ///< MOUNT_ATTR_*
  bool read_only = false, default_permissions = true, allow_other = true;
  bool synchronous = false, directory_sync = false;  ///< `sync`, `dirsync` superblock flags
  std::uint32_t block_size = 0;  ///< fuseblk only; 0: the kernel's default
  std::uint32_t max_read = 0;    ///< 0: no limit
  bool root_is_directory = true;
};

/// A mount that exists but is attached nowhere yet. Destroying it unattached destroys the superblock.
class FuseMount {
 public:
  /// fsopen, fsconfig, fsmount. `fuse_device` is the /dev/fuse descriptor that the worker serves.
  static Result<FuseMount> create(const MountSpecification& specification, int fuse_device);

  const MountIdentity& identity() const noexcept { return identity_; }

  /// move_mount onto the mount point, then closes every descriptor on the mount.
  Result<void> attach(const MountPoint& where);

 private:
  UniqueFd mount_;
  MountIdentity identity_;
};

/// Raises the readahead of the mount's backing device info to `kib`; best effort.
void raise_readahead(const MountIdentity& identity, bool block, unsigned kib);

/// One line of mountinfo, unescaped.
struct MountEntry {
  std::uint64_t id = 0, parent = 0;
  dev_t device = 0;
  std::string root, mount_point, type, source, options, super_options;
};
Result<std::vector<MountEntry>> read_mount_table(const char* path = "/proc/self/mountinfo");
/// The parser alone, for tests and fuzzing: lines it does not understand are left out.
std::vector<MountEntry> parse_mount_table(std::string_view text);

/// Detaches every mount of this identity's superblock that is reachable here; covered ones and other namespaces' are named in
/// the returned list and left.
std::vector<std::string> detach_everywhere(const MountIdentity& identity);
/// True while mountinfo shows a mount of this superblock.
Result<bool> is_mounted(const MountIdentity& identity);

}  // namespace broker
