// Inserting into a directory's hash tree: splitting leaves and nodes, growing in depth, and its creation.
#include <algorithm>
#include <numeric>

#include "worker/volume/directory_index.h"
#include "worker/volume/index_format.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

std::uint32_t space_of(const auto& entry) { return DirectoryFormat::space_for(entry.name.size()); }

std::uint32_t space_of_all(const auto& entries) {
  return std::accumulate(entries.begin(), entries.end(), std::uint32_t{0},
                         [](std::uint32_t sum, const auto& entry) { return sum + space_of(entry); });
}

/// How many of the entries make up the first half of the space, leaving neither half empty.
std::size_t half_by_space(const auto& entries) {
  const std::uint32_t half = space_of_all(entries) / 2;
  std::uint32_t sum = 0;
  std::size_t taken = 0;
  while (taken + 1 < entries.size() && (taken == 0 || sum + space_of(entries[taken]) <= half))
    sum += space_of(entries[taken++]);
  return taken;
}

}  // namespace

std::uint8_t hash_for_new_index(const ext2_super_block& super) noexcept {
  // A superblock that names no hash we know is not worth a refusal.
  return super.s_def_hash_version <= EXT2_HASH_TEA ? super.s_def_hash_version : EXT2_HASH_HALF_MD4;
}

Result<void> DirectoryIndex::insert(Operation& operation, std::string_view name, InodeNumber inode, std::uint8_t type) {
  const DirectoryFormat& format = blocks_.format();
  NameHash hash;
  TRY(path, seek(name, hash));
  TRY(leaf, blocks_.leaf(path.leaf));
  std::uint32_t offset = 0;
  switch (find_room(format, *leaf, format.leaf_end(), DirectoryFormat::space_for(name.size()), offset)) {
    case BlockSearch::corrupt:
      return blocks_.corrupt(path.leaf, "bad entry");
    case BlockSearch::missing:
      break;
    case BlockSearch::found: {
      TRY(block, blocks_.modify(operation, path.leaf));
      place_entry(format, block, offset, name, inode, type);
      seal_leaf(format, block);
      return {};
    }
  }
  TRY(hash_of, hasher());
  // A copy: a block that this operation has changed before is changed in place, under the names.
  const std::vector<std::byte> kept = *leaf;
  TRY(entries, sorted_entries(path, kept, {hash.major, inode, type, name}, hash_of));
  // Removals leave gaps that none is large enough for the name but all together are.
  if (space_of_all(entries) <= format.leaf_end()) return pack(operation, path.leaf, entries);

  // One round for each level that has to be split first, and one that makes the tree deeper.
  for (std::size_t round = 0; path.nodes[path.depth - 1].full(); ++round) {
    if (round > IndexPath::kDeepest + 1) return blocks_.corrupt(path.leaf, "index does not grow");
    TRY(make_room(operation, std::move(path)));
    TRY(again, seek(hash.major));
    path = std::move(again);
  }
  return split_leaf(operation, path, entries);
}

/// Splits the full node nearest to the leaf whose parent is not full, or makes the tree deeper if all are.
Result<void> DirectoryIndex::make_room(Operation& operation, IndexPath path) {
  for (std::size_t level = path.depth - 1; level > 0; --level)
    if (!path.nodes[level - 1].full()) return split_node(operation, path.nodes[level - 1], path.nodes[level]);
  if (path.depth >= most_levels()) return errno_error(ENOSPC, "directory index full");
  return deepen(operation, path.nodes[0]);
}

Result<void> DirectoryIndex::deepen(Operation& operation, const IndexNode& root) {
  const DirectoryFormat& format = blocks_.format();
  const LogicalBlock added = blocks_.count();
  TRY(node, blocks_.append(operation));
  start_node(format, node);
  std::memmove(node.data() + kNodePairs + 4, root.contents->data() + kRootPairs + 4, root.count * kPairSize - 4);
  set_count(node, kNodePairs, root.count);
  seal_index(format, node, kNodePairs);

  TRY(block, blocks_.modify(operation, 0));
  RootInfo info = load_root_info(block);
  ++info.levels;
  store_root_info(block, info);
  set_count(block, kRootPairs, 1);
  store32(block, kRootPairs + 4, static_cast<std::uint32_t>(added));
  seal_index(format, block, kRootPairs);
  return {};
}

Result<void> DirectoryIndex::split_node(Operation& operation, const IndexNode& parent, const IndexNode& node) {
  const DirectoryFormat& format = blocks_.format();
  const std::uint32_t stay = node.count / 2;
  const std::uint32_t move = node.count - stay;
  const std::uint32_t border = node.hash(stay);
  const LogicalBlock added = blocks_.count();
  TRY(upper, blocks_.append(operation));
  start_node(format, upper);
  // The first pair's hash goes to the parent; only its block number comes along.
  std::memmove(upper.data() + kNodePairs + 4, node.contents->data() + node.entries + stay * kPairSize + 4,
               move * kPairSize - 4);
  set_count(upper, kNodePairs, move);
  seal_index(format, upper, kNodePairs);

  TRY(lower, blocks_.modify(operation, node.block));
  set_count(lower, node.entries, stay);
  seal_index(format, lower, node.entries);
  return add_pair(operation, parent, border, added);
}

/// Adds a pair behind the one that the walk took. The node must not be full.
Result<void> DirectoryIndex::add_pair(Operation& operation, const IndexNode& node, std::uint32_t hash,
                                      LogicalBlock child) {
  TRY(block, blocks_.modify(operation, node.block));
  const std::uint32_t at = node.entries + (node.position + 1) * kPairSize;
  std::byte* const pairs = block.data() + at;
  std::memmove(pairs + kPairSize, pairs, (node.count - node.position - 1) * kPairSize);
  store32(block, at, hash);
  store32(block, at + 4, static_cast<std::uint32_t>(child));
  set_count(block, node.entries, node.count + 1);
  seal_index(blocks_.format(), block, node.entries);
  return {};
}

Result<std::vector<DirectoryIndex::LeafEntry>> DirectoryIndex::sorted_entries(const IndexPath& path,
                                                                              std::span<const std::byte> leaf,
                                                                              const LeafEntry& added,
                                                                              const NameHasher& hash_of) const {
  std::vector<LeafEntry> entries{added};
  EntryWalk walk{blocks_.format(), leaf, blocks_.format().leaf_end()};
  while (walk.next()) {
    if (!walk.used()) continue;
    const std::uint32_t major = hash_of(walk.name).major;
    // A split would carry a misplaced name into the index.
    if (major < (path.start & ~1U) || (path.next_start && major >= *path.next_start))
      return blocks_.corrupt(path.leaf, "name in the wrong leaf");
    entries.push_back({major, walk.inode, walk.type, walk.name});
  }
  if (walk.corrupt()) return blocks_.corrupt(path.leaf, "bad entry");
  std::stable_sort(entries.begin(), entries.end(),
                   [](const LeafEntry& a, const LeafEntry& b) { return a.major < b.major; });
  return entries;
}

Result<void> DirectoryIndex::pack(Operation& operation, LogicalBlock block, std::span<const LeafEntry> entries) {
  TRY(contents, blocks_.modify(operation, block));
  LeafWriter writer{blocks_.format(), contents};
  for (const LeafEntry& entry : entries) writer.add(entry.name, entry.inode, entry.type);
  writer.finish();
  return {};
}

Result<void> DirectoryIndex::split_leaf(Operation& operation, const IndexPath& path,
                                        std::span<const LeafEntry> entries) {
  const std::size_t stay = half_by_space(entries);
  const std::uint32_t border = entries[stay].major;
  const bool continued = border == entries[stay - 1].major;
  const LogicalBlock added = blocks_.count();
  TRY(upper, blocks_.append(operation));
  LeafWriter writer{blocks_.format(), upper};
  for (const LeafEntry& entry : entries.subspan(stay)) writer.add(entry.name, entry.inode, entry.type);
  writer.finish();
  TRY(pack(operation, path.leaf, entries.first(stay)));
  return add_pair(operation, path.nodes[path.depth - 1], border | (continued ? 1 : 0), added);
}

Result<void> DirectoryIndex::create(Operation& operation, DirectoryBlocks& blocks) {
  const DirectoryFormat& format = blocks.format();
  TRY(old, blocks.leaf(0));
  const LogicalBlock first_leaf = blocks.count();
  TRY(leaf, blocks.append(operation));
  LeafWriter writer{format, leaf};
  EntryWalk walk{format, *old, format.leaf_end()};
  std::array<FoundEntry, 2> dots;
  for (FoundEntry& dot : dots) {
    if (!walk.next() || !walk.used() || walk.name != (&dot == dots.data() ? "." : ".."))
      return blocks.corrupt(0, "no \".\" and \"..\" at the start");
    dot = {.offset = walk.offset, .previous = {}, .inode = walk.inode, .type = walk.type};
  }
  while (walk.next())
    if (walk.used()) writer.add(walk.name, walk.inode, walk.type);
  if (walk.corrupt()) return blocks.corrupt(0, "bad entry");
  writer.finish();

  TRY(root, blocks.modify(operation, 0));
  std::fill(root.begin(), root.end(), std::byte{0});
  write_entry(format, root, 0, kDotLength, ".", dots[0].inode, dots[0].type);
  write_entry(format, root, kDotLength, format.block_size - kDotLength, "..", dots[1].inode, dots[1].type);
  store_root_info(root, {.hash_version = hash_for_new_index(*blocks.volume().fs()->super), .levels = 0});
  store16(root, kRootPairs, static_cast<std::uint16_t>(pairs_that_fit(format, kRootPairs)));
  set_count(root, kRootPairs, 1);
  store32(root, kRootPairs + 4, static_cast<std::uint32_t>(first_leaf));
  seal_index(format, root, kRootPairs);
  blocks.inode().raw.i_flags |= EXT2_INDEX_FL;
  return {};
}

}  // namespace worker::volume
