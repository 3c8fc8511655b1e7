// Going through a directory's names in an order that survives changes in between.
#pragma once

#include "worker/volume/directory.h"

namespace worker::volume {

/// By hash, "." and ".." first. A cookie is a name's place in that order: 31 bits of the major hash, 26 of the minor
/// (for the legacy hash, which has none, of a checksum of the name), 6 that number the names equal in both by their
/// bytes. So a name's cookie depends on nothing but the name and, should others ever be equal in 57 bits, on those.
Result<void> list_by_hash(DirectoryBlocks& blocks, std::uint64_t cookie, const Directory::Visit& visit);

/// In the order of the blocks. A cookie is the offset of a record in the directory; records never move.
Result<void> list_by_position(DirectoryBlocks& blocks, std::uint64_t cookie, const Directory::Visit& visit);

/// Directories that lie in the inode (inline_data), which we never change. A cookie is a count.
Result<void> list_in_inode(Volume& volume, const Inode& inode, std::uint64_t cookie, const Directory::Visit& visit);
Result<DirectoryEntry> find_in_inode(Volume& volume, const Inode& inode, std::string_view name);

}  // namespace worker::volume
