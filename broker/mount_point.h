// A mount from fsopen to detach, through descriptors only.
#pragma once

#include <sys/mount.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "broker/mount_table.h"
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
  dev_t device = 0;             ///< s_dev of the superblock
  std::uint64_t unique_id = 0;  ///< STATX_MNT_ID_UNIQUE, or the reused id where a kernel has no other; 0: none
  std::string source;         ///< as the mount table shows it: tells a superblock from a later one with the same number
  std::uint64_t backing = 0;  ///< inode of its backing device info in sysfs, which is never reused; 0: not known
};

/// The device and id of the mount that an open descriptor (also O_PATH) is on. Never asks the file system, so that
/// neither a dead nor a wedged server can hold us up. `source` stays empty.
Result<MountIdentity> identify_mount(int descriptor);

/// What the new superblock and mount are to be; decided by policy.
struct MountSpecification {
  bool block = false;  ///< fuseblk
  std::string source;  ///< device path for fuseblk, else what the mount table is to show
  std::string subtype;
  std::uint64_t attributes = 0;  ///< MOUNT_ATTR_*
  bool read_only = false, default_permissions = true, allow_other = true;
  bool synchronous = false, directory_sync = false;  ///< `sync`, `dirsync` superblock flags
  std::uint32_t block_size = 0;                      ///< fuseblk only; 0: the kernel's default
  std::uint32_t max_read = 0;                        ///< 0: no limit
  uid_t user = 0;                                    ///< who mounts
  gid_t group = 0;
  bool root_is_directory = true;
};

/// A mount that exists but is attached nowhere yet. Destroying it unattached destroys the superblock.
class FuseMount {
 public:
  /// fsopen, fsconfig, fsmount. `fuse_device` is the /dev/fuse descriptor that the worker serves.
  static Result<FuseMount> create(const MountSpecification& specification, int fuse_device);

  const MountIdentity& identity() const noexcept { return identity_; }
  /// The mount itself, borrowed; -1 once it is attached.
  int descriptor() const noexcept { return mount_.get(); }

  /// move_mount onto the mount point, then closes every descriptor on the mount.
  Result<void> attach(const MountPoint& where);

 private:
  UniqueFd mount_;
  MountIdentity identity_;
};

/// Raises the readahead of the mount's backing device info to `kib`; best effort.
void raise_readahead(const MountIdentity& identity, bool block, unsigned kib);

/// Takes one mount away, exactly this one, wherever its path leads by now. EBUSY if another mount covers it.
Result<void> detach(const MountEntry& entry, int flags);

/// Takes away every mount of this identity's superblock that is reachable here, with umount2's `flags`; covered ones
/// are named in the returned list and left. A superblock whose server lives is destroyed by this, which can wait for
/// that server.
std::vector<std::string> detach_everywhere(const MountIdentity& identity, int flags = MNT_DETACH);
/// The mounts of this superblock in this mount namespace.
std::vector<MountEntry> mounts_of(const MountIdentity& identity);
/// True while mountinfo shows a mount of this superblock.
Result<bool> is_mounted(const MountIdentity& identity);
/// True while the superblock exists, mounted in some namespace or only held open; known from its backing device info. A
/// later superblock that got the same number, as a rule at once, is told apart if identity.backing is known.
bool superblock_exists(const MountIdentity& identity, bool block);

}  // namespace broker
