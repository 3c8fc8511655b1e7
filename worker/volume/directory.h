// One directory: its names, linear or indexed.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "worker/volume/inodes.h"

namespace worker::volume {

/// A directory entry. `type` is an EXT2_FT_* value, 0 where the volume does not store it.
struct DirectoryEntry {
  InodeNumber inode = 0;
  std::uint8_t type = 0;
  std::string_view name;       ///< any bytes but '/' and NUL, 1 to 255; valid during the visit only
  std::uint64_t next_cookie = 0;  ///< where a later iteration goes on behind this entry
};

/// The entries of one directory inode. A view for one operation or inspection; under the mutator lock.
/// A corrupt block gives EUCLEAN, never endless work: every record length is checked before it is used.
class Directory {
 public:
  Directory(Volume& volume, Inode& inode) : volume_{volume}, inode_{inode} {}

  /// ENOENT if there is no such name.
  Result<DirectoryEntry> find(std::string_view name);

  /// Adds a name that is not there; grows the directory, makes or splits its index. ENOSPC beyond what an index can hold.
  /// The inode in memory is changed and written.
  Result<void> insert(Operation& operation, std::string_view name, InodeNumber inode, std::uint8_t type);
  Result<void> remove(Operation& operation, std::string_view name);
  /// Points an existing name (also "..") to another inode, in place.
  Result<void> replace(Operation& operation, std::string_view name, InodeNumber inode, std::uint8_t type);

  /// Writes the first block of a new directory: "." and "..".
  Result<void> initialise(Operation& operation, InodeNumber parent);

  /// True if nothing but "." and ".." is in it.
  Result<bool> empty();

  /// Visits entries from `cookie` (0: the start; else a next_cookie) until `visit` returns false. Cookies survive
  /// insertions and removals in between, also in the block that holds them.
  Result<void> iterate(std::uint64_t cookie, const std::function<bool(const DirectoryEntry&)>& visit);

 private:
  Volume& volume_;
  Inode& inode_;
};

}  // namespace worker::volume
