// What a volume holds, as a user can tell: names, types, owners, contents, links, attributes. No times, no places.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "worker/volume/types.h"

namespace crash {

using worker::volume::InodeNumber;

/// One inode.
struct Node {
  std::uint32_t mode = 0;  ///< type and permission bits
  std::uint32_t uid = 0, gid = 0;
  std::uint32_t links = 0;
  std::uint32_t device = 0;  ///< of a character or block special file
  std::uint64_t size = 0;    ///< of a regular file or symbolic link; 0 for others
  std::string data = {};     ///< of a regular file, `size` bytes; the target of a symbolic link
  bool known = true;         ///< false: size and data are not
  std::map<std::string, std::string> xattrs = {};
  std::map<std::string, InodeNumber> entries = {};  ///< of a directory, without "." and ".."
};

/// All inodes that have a name, and the root. Nodes are shared between versions that do not differ in them.
struct Tree {
  std::map<InodeNumber, std::shared_ptr<const Node>> nodes;

  /// The first difference in words, empty if there is none. File contents are left out with `but_data`.
  std::string differs_from(const Tree& other, bool but_data = false) const;
};

/// What differs between two nodes, in words; of files whose contents are not known, size and data never do.
std::string difference(const Node& left, const Node& right, bool but_data);

}  // namespace crash
