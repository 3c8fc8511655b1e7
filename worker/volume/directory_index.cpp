#include "worker/volume/directory_index.h"

#include <algorithm>

#include "worker/volume/index_format.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

constexpr std::uint32_t kLastHash = 0xFFFFFFFE;

bool all_distinct(const IndexPath& path) {
  for (std::size_t i = 0; i < path.depth; ++i) {
    if (path.nodes[i].block == path.leaf) return false;
    for (std::size_t j = 0; j < i; ++j)
      if (path.nodes[i].block == path.nodes[j].block) return false;
  }
  return true;
}

}  // namespace

NameHasher::NameHasher(const ext2_super_block& super, std::uint8_t version) noexcept
    : super_{super}, version_{version}, unsigned_{(super.s_flags & EXT2_FLAGS_UNSIGNED_HASH) != 0} {}

NameHash NameHasher::operator()(std::string_view name) const noexcept {
  NameHash hash;
  const int version = version_ + (unsigned_ ? EXT2_HASH_LEGACY_UNSIGNED - EXT2_HASH_LEGACY : 0);
  // Fails only for versions that were refused before.
  (void)ext2fs_dirhash2(version, name.data(), static_cast<int>(name.size()), nullptr, 0, super_.s_hash_seed,
                        &hash.major, &hash.minor);
  hash.major &= ~1U;
  // The kernel keeps the last value free for its end-of-directory cookie.
  if (hash.major == kLastHash) hash.major -= 2;
  return hash;
}

std::uint32_t IndexNode::hash(std::uint32_t index) const noexcept {
  return index == 0 ? 0 : load32(*contents, entries + index * kPairSize);
}

LogicalBlock IndexNode::child(std::uint32_t index) const noexcept {
  return load32(*contents, entries + index * kPairSize + 4) & kChildMask;
}

Result<IndexNode> DirectoryIndex::checked(LogicalBlock block, std::uint32_t entries, disk::Contents contents) const {
  const DirectoryFormat& format = blocks_.format();
  IndexNode node{.block = block, .entries = entries, .contents = std::move(contents)};
  node.limit = load16(*node.contents, entries);
  node.count = load16(*node.contents, entries + 2);
  if (node.limit != pairs_that_fit(format, entries)) return blocks_.corrupt(block, "bad index limit");
  if (node.count == 0 || node.count > node.limit) return blocks_.corrupt(block, "bad index count");
  if (!index_is_sound(format, *node.contents, entries)) return blocks_.corrupt(block, "bad index checksum");
  return node;
}

Result<DirectoryIndex::Root> DirectoryIndex::read_root() {
  TRY(contents, blocks_.read(0));
  const RootInfo info = load_root_info(*contents);
  const DirectoryFormat& format = blocks_.format();
  if (!root_has_right_shape(format, *contents)) return blocks_.corrupt(0, "bad index root");
  if (info.hash_version > EXT2_HASH_TEA) return blocks_.corrupt(0, "unknown hash");
  if (info.levels >= most_levels()) return blocks_.corrupt(0, "index too deep");
  TRY(node, checked(0, kRootPairs, std::move(contents)));
  return Root{.node = std::move(node), .hash_version = info.hash_version, .levels = info.levels};
}

Result<IndexNode> DirectoryIndex::read_node(LogicalBlock block) {
  TRY(contents, blocks_.read(block));
  if (!node_has_right_shape(blocks_.format(), *contents)) return blocks_.corrupt(block, "bad index node");
  return checked(block, kNodePairs, std::move(contents));
}

std::size_t DirectoryIndex::most_levels() const noexcept {
  return ext2fs_has_feature_largedir(blocks_.volume().fs()->super) ? IndexPath::kDeepest : IndexPath::kDeepest - 1;
}

Result<NameHasher> DirectoryIndex::hasher() {
  TRY(root, read_root());
  return NameHasher{*blocks_.volume().fs()->super, root.hash_version};
}

Result<IndexPath> DirectoryIndex::seek(std::uint32_t major) {
  TRY(root, read_root());
  return seek_from(std::move(root), major);
}

Result<IndexPath> DirectoryIndex::seek(std::string_view name, NameHash& hash) {
  TRY(root, read_root());
  hash = NameHasher{*blocks_.volume().fs()->super, root.hash_version}(name);
  return seek_from(std::move(root), hash.major);
}

Result<IndexPath> DirectoryIndex::seek_from(Root root, std::uint32_t major) {
  IndexPath path;
  path.nodes[0] = std::move(root.node);
  path.depth = 1;
  TRY(descend(path, root.levels, major));
  return path;
}

/// From the last node of the path down to a leaf, by hash or else always by the first pair.
Result<void> DirectoryIndex::descend(IndexPath& path, std::size_t levels, std::optional<std::uint32_t> major) {
  for (;; --levels) {
    IndexNode& node = path.nodes[path.depth - 1];
    if (major) {
      std::uint32_t low = 1, high = node.count;
      while (low < high) {
        const std::uint32_t middle = (low + high) / 2;
        if (node.hash(middle) <= *major)
          low = middle + 1;
        else
          high = middle;
      }
      node.position = low - 1;
    }
    const LogicalBlock child = node.child(node.position);
    if (child == 0 || child >= blocks_.count()) return blocks_.corrupt(node.block, "index points outside");
    if (levels == 0) {
      path.leaf = child;
      break;
    }
    TRY(next, read_node(child));
    path.nodes[path.depth++] = std::move(next);
  }
  if (!all_distinct(path)) return blocks_.corrupt(path.leaf, "index loop");
  note_neighbours(path);
  return {};
}

void DirectoryIndex::note_neighbours(IndexPath& path) const {
  path.start = 0;
  path.next_start.reset();
  // A first pair has its hash in the parent.
  for (std::size_t level = path.depth; level-- > 0;) {
    const IndexNode& node = path.nodes[level];
    if (path.start == 0) path.start = node.hash(node.position);
    if (!path.next_start && node.position + 1 < node.count) path.next_start = node.hash(node.position + 1);
  }
}

Result<bool> DirectoryIndex::advance(IndexPath& path) {
  if (!path.next_start) return false;
  const std::size_t levels = path.depth - 1;
  std::size_t level = levels;
  while (path.nodes[level].position + 1 >= path.nodes[level].count) --level;
  ++path.nodes[level].position;
  path.depth = level + 1;
  const std::size_t below = levels - level;
  // The node just moved on keeps its position; those below start at their first pair.
  TRY(descend(path, below, std::nullopt));
  return true;
}

Result<DirectoryIndex::Place> DirectoryIndex::find(std::string_view name) {
  NameHash hash;
  TRY(path, seek(name, hash));
  for (std::uint64_t steps = 0; steps < blocks_.count(); ++steps) {
    TRY(leaf, blocks_.leaf(path.leaf));
    Place place{.block = path.leaf, .entry = {}};
    switch (find_entry(blocks_.format(), *leaf, blocks_.format().leaf_end(), name, place.entry)) {
      case BlockSearch::found:
        return place;
      case BlockSearch::corrupt:
        return blocks_.corrupt(path.leaf, "bad entry");
      case BlockSearch::missing:
        break;
    }
    if (!path.continues(hash.major)) return errno_error(ENOENT);
    TRY(advance(path));
  }
  return blocks_.corrupt(0, "endless index");
}

}  // namespace worker::volume
