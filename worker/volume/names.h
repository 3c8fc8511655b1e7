// What changes the name space: lookup, creation, links, removal, rename.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "worker/volume/types.h"

namespace worker::volume {

class Volume;

/// Each call is one operation of the volume. The Attributes they return lend the kernel one reference of the inode
/// (References), taken under the same lock that found it; the caller gives it back if the reply does not reach the
/// kernel.
class Names {
 public:
  explicit Names(Volume& volume) : volume_{volume} {}

  Result<Attributes> lookup(InodeNumber directory, std::string_view name);
  /// Regular files, directories, devices, FIFOs and sockets. EEXIST, ENAMETOOLONG, EMLINK, ENOSPC, EDQUOT.
  Result<Attributes> create(InodeNumber directory, std::string_view name, const NewInode& wanted);
  Result<Attributes> symlink(InodeNumber directory, std::string_view name, std::string_view target,
                             const NewInode& wanted);
  Result<Attributes> link(InodeNumber inode, InodeNumber directory, std::string_view name);
  Result<void> unlink(InodeNumber directory, std::string_view name);
  Result<void> remove_directory(InodeNumber directory, std::string_view name);
  /// Plain rename(2), RENAME_NOREPLACE and RENAME_EXCHANGE; other flags EINVAL.
  Result<void> rename(InodeNumber from, std::string_view name, InodeNumber to, std::string_view new_name,
                      unsigned flags);
  Result<std::string> read_link(InodeNumber inode);

  /// An entry as READDIR and READDIRPLUS see it. With `with_attributes` each visited entry but "." and ".." lends a
  /// reference; a visit that returns false takes the entry back and ends the walk.
  struct Visited {
    std::string_view name;
    InodeNumber inode;
    std::uint32_t type;  ///< S_IF* bits
    std::uint64_t next_cookie;
    const Attributes* attributes;  ///< null without with_attributes, for "." and "..", or when the inode is unreadable
  };
  Result<void> read_directory(InodeNumber directory, std::uint64_t cookie, bool with_attributes,
                              const std::function<bool(const Visited&)>& visit);

 private:
  Volume& volume_;
};

}  // namespace worker::volume
