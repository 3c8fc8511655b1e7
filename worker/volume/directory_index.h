// The hash tree over a directory's leaf blocks.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "worker/volume/directory_blocks.h"

namespace worker::volume {

/// The hash of a name. The major part orders the leaves and is even: its lowest bit marks, in the index, a leaf that
/// begins with names of the hash that the leaf before it ends with. The minor part is 0 for the legacy hash.
struct NameHash {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
};

/// Hashes names the way one volume does.
class NameHasher {
 public:
  /// `version` as stored in an index or a superblock: 0 legacy, 1 half MD4, 2 TEA; the volume says whether characters
  /// have signs.
  NameHasher(const ext2_super_block& super, std::uint8_t version) noexcept;
  NameHash operator()(std::string_view name) const noexcept;
  std::uint8_t stored_version() const noexcept { return version_; }

 private:
  const ext2_super_block& super_;
  std::uint8_t version_;
  bool unsigned_;
};

/// The hash version that new indexes of a volume get.
std::uint8_t hash_for_new_index(const ext2_super_block& super) noexcept;

/// One node as it lies in a block: a limit and a count, then pairs of hash and block number in ascending order. The
/// first pair's hash is not stored (limit and count take its place) and counts as 0.
struct IndexNode {
  LogicalBlock block = 0;
  std::uint32_t entries = 0;  ///< offset of the pairs in the block
  std::uint32_t limit = 0;
  std::uint32_t count = 0;
  std::uint32_t position = 0;  ///< the pair that a walk took
  disk::Contents contents;

  bool full() const noexcept { return count >= limit; }
  std::uint32_t hash(std::uint32_t index) const noexcept;
  LogicalBlock child(std::uint32_t index) const noexcept;
};

/// A leaf, and the way that leads to it from the root.
struct IndexPath {
  static constexpr std::size_t kDeepest = 3;
  std::array<IndexNode, kDeepest> nodes;  ///< root first
  std::size_t depth = 0;                  ///< nodes in use
  LogicalBlock leaf = 0;
  std::uint32_t start = 0;                  ///< the leaf's own pair's hash, with the continuation bit
  std::optional<std::uint32_t> next_start;  ///< that of the leaf behind it, if there is one

  /// Whether names of hash `major`, the last of this leaf, go on in the next.
  bool continues(std::uint32_t major) const noexcept { return next_start && *next_start == (major | 1); }
};

/// Finds leaves by hash, and grows the tree. Every count, limit, depth and block number is checked before it is used:
/// EUCLEAN. A view for one operation or inspection, under the mutator lock; `blocks` outlives it.
class DirectoryIndex {
 public:
  explicit DirectoryIndex(DirectoryBlocks& blocks) : blocks_{blocks} {}

  /// The hash that the root names.
  Result<NameHasher> hasher();
  /// The first leaf that can hold names of hash `major`.
  Result<IndexPath> seek(std::uint32_t major);
  /// The same for one name, whose hash it stores.
  Result<IndexPath> seek(std::string_view name, NameHash& hash);
  /// Goes on to the leaf behind; false, and the path unchanged, if there is none.
  Result<bool> advance(IndexPath& path);

  struct Place {
    LogicalBlock block = 0;
    FoundEntry entry;
  };
  /// ENOENT if no leaf has the name.
  Result<Place> find(std::string_view name);

  /// Adds a name that is not there. Splits what is full; ENOSPC when the deepest tree is. May append blocks and so
  /// change the inode in memory.
  Result<void> insert(Operation& operation, std::string_view name, InodeNumber inode, std::uint8_t type);

  /// Turns a directory of one block into an indexed one with a single leaf. Changes the inode in memory.
  static Result<void> create(Operation& operation, DirectoryBlocks& blocks);

 private:
  struct Root {
    IndexNode node;
    std::uint8_t hash_version = 0;
    std::uint8_t levels = 0;  ///< nodes between the root and a leaf
  };

  Result<Root> read_root();
  Result<IndexNode> read_node(LogicalBlock block);
  Result<IndexNode> checked(LogicalBlock block, std::uint32_t entries, disk::Contents contents) const;
  Result<IndexPath> seek_from(Root root, std::uint32_t major);
  Result<void> descend(IndexPath& path, std::size_t levels, std::optional<std::uint32_t> major);
  void note_neighbours(IndexPath& path) const;
  std::size_t most_levels() const noexcept;

  Result<void> make_room(Operation& operation, IndexPath path);
  Result<void> deepen(Operation& operation, const IndexNode& root);
  Result<void> split_node(Operation& operation, const IndexNode& parent, const IndexNode& node);
  Result<void> add_pair(Operation& operation, const IndexNode& node, std::uint32_t hash, LogicalBlock child);

  struct LeafEntry {
    std::uint32_t major = 0;
    std::uint32_t inode = 0;
    std::uint8_t type = 0;
    std::string_view name;
  };
  /// The entries of a leaf and `added`, by hash; the names stay where they are.
  Result<std::vector<LeafEntry>> sorted_entries(const IndexPath& path, std::span<const std::byte> leaf,
                                                const LeafEntry& added, const NameHasher& hash_of) const;
  Result<void> pack(Operation& operation, LogicalBlock block, std::span<const LeafEntry> entries);
  Result<void> split_leaf(Operation& operation, const IndexPath& path, std::span<const LeafEntry> entries);

  DirectoryBlocks& blocks_;
};

}  // namespace worker::volume
