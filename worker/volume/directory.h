// One directory: its names, linear or indexed.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "worker/volume/directory_blocks.h"

namespace worker::volume {

/// A directory entry. `type` is an EXT2_FT_* value, 0 where the volume does not store it.
struct DirectoryEntry {
  InodeNumber inode = 0;          ///< within the volume's count, but nothing says that it is in use
  std::uint8_t type = 0;          ///< only a hint
  std::string_view name;          ///< any bytes but '/' and NUL, 1 to 255; valid during the visit only
  std::uint64_t next_cookie = 0;  ///< where a later iteration goes on behind this entry; fits a positive signed 64-bit
};

/// The entries of one directory inode. A view for one operation or inspection; under the mutator lock.
/// A corrupt block gives EUCLEAN, never endless work: every record length is checked before it is used.
///
/// With an index a name costs as many block reads as the index is deep; without one (no dir_index, or made by others)
/// every block is searched. An index is made when the first block overflows. Directories in the inode (inline_data) can
/// only be read.
class Directory {
 public:
  Directory(Volume& volume, Inode& inode) : blocks_{volume, inode} {}

  /// ENOENT if there is no such name, ENOTDIR if the inode is none. The entry's name is the one asked for.
  Result<DirectoryEntry> find(std::string_view name);

  /// Adds a name that is not there; grows the directory, makes or splits its index. ENOSPC beyond what an index can
  /// hold. The inode in memory is changed and written when the directory grows; the caller sets times.
  Result<void> insert(Operation& operation, std::string_view name, InodeNumber inode, std::uint8_t type);
  Result<void> remove(Operation& operation, std::string_view name);
  /// Points an existing name (also "..") to another inode, in place.
  Result<void> replace(Operation& operation, std::string_view name, InodeNumber inode, std::uint8_t type);

  /// Writes the first block of a new directory: "." and "..". The inode in memory is changed; the caller writes it.
  Result<void> initialise(Operation& operation, InodeNumber parent);

  /// True if nothing but "." and ".." is in it.
  Result<bool> empty();

  /// True if names are found by hash.
  bool indexed() const noexcept { return blocks_.indexed(); }

  using Visit = std::function<bool(const DirectoryEntry&)>;
  /// Visits entries from `cookie` (0: the start; else a next_cookie) until `visit` returns false; an entry that was
  /// refused comes again when an iteration starts at the cookie of the one before it. Cookies survive insertions and
  /// removals in between, also in the block that holds them. `visit` must not change the directory.
  Result<void> iterate(std::uint64_t cookie, const Visit& visit);

 private:
  struct Place {
    LogicalBlock block = 0;
    FoundEntry entry;
  };

  bool in_inode() const noexcept;
  Result<Place> locate(std::string_view name);
  Result<Place> locate_in(LogicalBlock block, std::string_view name);
  Result<void> insert_anywhere(Operation& operation, std::string_view name, InodeNumber inode, std::uint8_t type);
  Result<bool> insert_into(Operation& operation, LogicalBlock block, std::string_view name, InodeNumber inode,
                           std::uint8_t type);

  DirectoryBlocks blocks_;
};

}  // namespace worker::volume
