// What stat(2) shows of an inode, and how SETATTR and FS_IOC_SETFLAGS change it.
#include <sys/stat.h>

#include "worker/volume/file_data.h"
#include "worker/volume/inodes.h"
#include "worker/volume/volume.h"
#include "worker/volume/xattrs.h"

namespace worker::volume {
namespace {

constexpr std::uint32_t kPermissions = 07777;

/// Flags that FS_IOC_SETFLAGS can change here. Others may be handed in as they are.
constexpr std::uint32_t kChangeable = EXT2_SECRM_FL | EXT2_UNRM_FL | EXT2_IMMUTABLE_FL | EXT2_APPEND_FL |
                                      EXT2_NODUMP_FL | EXT2_NOATIME_FL | EXT2_NOTAIL_FL | EXT2_TOPDIR_FL;
/// Flags that kernel ext4 could change and we cannot: asking for another value is an error, not something to ignore.
constexpr std::uint32_t kRefused = EXT2_SYNC_FL | EXT2_DIRSYNC_FL | EXT2_COMPR_FL | EXT2_NOCOMPR_FL |
                                   EXT3_JOURNAL_DATA_FL | EXT4_EXTENTS_FL | FS_DAX_FL | EXT4_PROJINHERIT_FL |
                                   EXT4_CASEFOLD_FL | EXT4_VERITY_FL | EXT4_ENCRYPT_FL | FS_NOCOW_FL;
constexpr std::uint32_t kDirectoriesOnly = EXT2_TOPDIR_FL;
constexpr std::uint32_t kAnyType = EXT2_NODUMP_FL | EXT2_NOATIME_FL;

std::uint32_t changeable_flags(const Inode& inode) noexcept {
  if (inode.is_directory()) return kChangeable;
  return inode.is_regular() ? kChangeable & ~kDirectoriesOnly : kAnyType;
}

/// FUSE does not tell the kernel about ext4's flags, so that the VFS cannot check them. A change of times that brings a
/// change time along is the kernel writing back what it kept for data already written: no user asks for that.
bool allowed_by_flags(const Inode& inode, const AttributeChange& change) noexcept {
  if ((inode.flags() & (EXT2_IMMUTABLE_FL | EXT2_APPEND_FL)) == 0) return true;
  const bool times = (change.accessed || change.modified) && !change.changed;
  return !change.mode && !change.uid && !change.gid && !change.size && !times;
}

void clear_privileges(Inode& inode) noexcept {
  std::uint32_t mode = inode.mode() & ~static_cast<std::uint32_t>(S_ISUID);
  // Without group execution the bit means mandatory locking, not a privilege.
  if (mode & S_IXGRP) mode &= ~static_cast<std::uint32_t>(S_ISGID);
  inode.raw.i_mode = static_cast<std::uint16_t>(mode);
}

}  // namespace

Attributes Inodes::attributes(const Inode& inode) const {
  const bool device = S_ISCHR(inode.mode()) || S_ISBLK(inode.mode());
  std::uint64_t blocks = inode.raw.i_blocks;
  if (geometry_.huge_files) {
    blocks |= std::uint64_t{inode.raw.osd2.linux2.l_i_blocks_hi} << 32;
    if (inode.flags() & EXT4_HUGE_FILE_FL) blocks *= geometry_.block_size / 512;
  }
  return {.inode = inode.number,
          .generation = inode.raw.i_generation,
          .mode = inode.mode(),
          .uid = inode.uid(),
          .gid = inode.gid(),
          .links = inode.links(),
          .device = device ? inode.device() : 0,
          .flags = inode.flags(),
          .block_size = geometry_.block_size,
          .size = inode.size(),
          .blocks = blocks,
          .accessed = inode.accessed(),
          .modified = inode.modified(),
          .changed = inode.changed(),
          .born = inode.born()};
}

Result<Attributes> Inodes::attributes(InodeNumber number) {
  TRY(inode, read_stored(number));
  return attributes(inode);
}

Result<Attributes> Inodes::change(InodeNumber number, const AttributeChange& change) {
  if (change.size) {
    TRY(volume_.inspect([&]() -> Result<void> {
      TRY(inode, read(number));
      if (!allowed_by_flags(inode, change)) return errno_error(EPERM);
      if (!inode.is_regular()) return errno_error(inode.is_directory() ? EISDIR : EINVAL);
      return {};
    }));
    TRY(volume_.files().truncate(number, *change.size));
  }
  return volume_.mutate([&](Operation& operation) -> Result<Attributes> {
    TRY(inode, read(number));
    if (!allowed_by_flags(inode, change)) return errno_error(EPERM);
    TRY(apply(operation, inode, change));
    return attributes(inode);
  });
}

Result<void> Inodes::apply(Operation& operation, Inode& inode, const AttributeChange& change) {
  // Capabilities of a file do not outlive what could make it another file, whoever asks; the other privileges do for
  // root.
  const bool drops_capabilities = change.kill_privileges || change.size || change.uid || change.gid;
  if (drops_capabilities && inode.is_regular()) TRY(volume_.xattrs().drop_capabilities(operation, inode));
  const bool only_size = change.size && !change.mode && !change.uid && !change.gid && !change.accessed &&
                         !change.modified && !change.changed && !change.kill_privileges;
  if (only_size) return {};

  if (change.uid) inode.set_uid(*change.uid);
  if (change.gid) inode.set_gid(*change.gid);
  if (change.mode) {
    inode.raw.i_mode = static_cast<std::uint16_t>((inode.mode() & ~kPermissions) | (*change.mode & kPermissions));
  }
  if (change.kill_privileges && !inode.is_directory()) clear_privileges(inode);
  if (change.accessed) inode.set_accessed(*change.accessed);
  if (change.modified) {
    inode.set_modified(*change.modified);
    // What FileData remembers of the time would keep the next write of this tick from stamping.
    operation.on_commit([this, number = inode.number] { volume_.files().forget(number); });
  }
  inode.set_changed(change.changed ? *change.changed : Timestamp::now());
  if (change.mode) TRY(volume_.xattrs().follow_mode(operation, inode));
  return write(operation, inode);
}

Result<void> Inodes::set_flags(InodeNumber number, std::uint32_t flags) {
  return volume_.mutate([&](Operation& operation) -> Result<void> {
    TRY(inode, read(number));
    const std::uint32_t changeable = changeable_flags(inode);
    const std::uint32_t changed = flags ^ inode.flags();
    // Flags of other types cannot be set; those that describe how the inode is stored are kept whatever is asked.
    const std::uint32_t impossible = (kRefused & changed) | (kChangeable & ~changeable & flags & changed);
    if (impossible != 0) return errno_error(EOPNOTSUPP);
    if ((changed & changeable) == 0) return {};
    inode.raw.i_flags = (inode.flags() & ~changeable) | (flags & changeable);
    inode.set_changed(Timestamp::now());
    return write(operation, inode);
  });
}

}  // namespace worker::volume
