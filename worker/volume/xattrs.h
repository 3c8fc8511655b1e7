// Extended attributes, in the inode and in its attribute block, and the ACLs among them.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "worker/volume/inodes.h"

namespace worker::volume {

enum class SetMode : std::uint8_t { any, create_only, replace_only };  ///< XATTR_CREATE, XATTR_REPLACE

/// Names are full ("user.x", "system.posix_acl_access"); ACL values travel in the form of getxattr(2). Calls take their
/// own locks.
class Xattrs {
 public:
  explicit Xattrs(Volume& volume) : volume_{volume} {}

  /// ENODATA if not there; EOPNOTSUPP for a name space this volume does not serve.
  Result<std::vector<std::byte>> get(InodeNumber inode, std::string_view name);
  /// Names, each with its NUL, as listxattr(2) returns them.
  Result<std::string> list(InodeNumber inode);
  /// ENOSPC when neither the inode nor its block has room, ERANGE for a name too long. Setting an access ACL updates
  /// the mode; `clear_set_gid` as FUSE_SETXATTR_ACL_KILL_SGID asks.
  Result<void> set(InodeNumber inode, std::string_view name, std::span<const std::byte> value, SetMode mode,
                   bool clear_set_gid);
  Result<void> remove(InodeNumber inode, std::string_view name);

  /// For a new inode in `parent`: applies the parent's default ACL, or `umask` where there is none. Changes
  /// inode.raw.i_mode; the caller writes the inode.
  Result<void> inherit(Operation& operation, const Inode& parent, Inode& inode, std::uint32_t umask);
  /// chmod(2) of a file with an access ACL: keeps the ACL in step with the new mode.
  Result<void> follow_mode(Operation& operation, Inode& inode);
  /// Drops security.capability, for writes that clear privileges.
  Result<void> drop_capabilities(Operation& operation, Inode& inode);
  /// Gives up the attribute block of a dying inode: frees it, or counts one user less.
  Result<void> release(Operation& operation, Inode& inode);

 private:
  using Value = std::vector<std::byte>;

  /// The value as stored. Under the mutator lock.
  Result<std::optional<Value>> stored(InodeNumber inode, std::string_view name);
  /// Stores a value as it is. Writes `inode` before and reads it again afterwards, because the library changes it on
  /// the volume.
  Result<void> store(Operation& operation, Inode& inode, std::string_view name, std::span<const std::byte> value);
  /// No effect if there is none.
  Result<void> erase(Operation& operation, Inode& inode, std::string_view name);
  Result<void> set_acl(Operation& operation, Inode& inode, std::string_view name, std::span<const std::byte> value,
                       bool clear_set_gid);
  Result<void> drop_empty_block(Operation& operation, Inode& inode);
  /// Fails unless names like this are served; gives the errors of set(2) and its kin.
  Result<void> check_name(std::string_view name) const;

  Volume& volume_;
};

}  // namespace worker::volume
