#include "worker/volume/directory.h"

#include "worker/volume/directory_index.h"
#include "worker/volume/directory_listing.h"
#include "worker/volume/index_format.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

bool is_dot(std::string_view name) { return name == "." || name == ".."; }

}  // namespace

bool Directory::in_inode() const noexcept { return (blocks_.inode().flags() & EXT4_INLINE_DATA_FL) != 0; }

Result<DirectoryEntry> Directory::find(std::string_view name) {
  if (in_inode()) return find_in_inode(blocks_.volume(), blocks_.inode(), name);
  TRY(place, locate(name));
  return DirectoryEntry{.inode = place.entry.inode, .type = place.entry.type, .name = name};
}

Result<Directory::Place> Directory::locate_in(LogicalBlock block, std::string_view name) {
  TRY(contents, blocks_.any(block));
  Place place{.block = block, .entry = {}};
  switch (find_entry(blocks_.format(), *contents, blocks_.end_of(block, *contents), name, place.entry)) {
    case BlockSearch::found:
      return place;
    case BlockSearch::missing:
      return errno_error(ENOENT);
    case BlockSearch::corrupt:
      break;
  }
  return blocks_.corrupt(block, "bad entry");
}

Result<Directory::Place> Directory::locate(std::string_view name) {
  TRY(blocks_.check());
  // "." and ".." are never hashed.
  if (blocks_.indexed() && is_dot(name)) return locate_in(0, name);
  if (blocks_.indexed()) {
    TRY(found, DirectoryIndex{blocks_}.find(name));
    return Place{.block = found.block, .entry = found.entry};
  }
  for (LogicalBlock block = 0; block < blocks_.count(); ++block) {
    auto found = locate_in(block, name);
    if (found.ok() || found.error().code != std::errc::no_such_file_or_directory) return found;
  }
  return errno_error(ENOENT);
}

Result<void> Directory::insert(Operation& operation, std::string_view name, InodeNumber inode, std::uint8_t type) {
  TRY(blocks_.check());
  const std::uint64_t size = blocks_.inode().size();
  const std::uint32_t flags = blocks_.inode().flags();
  TRY(insert_anywhere(operation, name, inode, type));
  if (blocks_.inode().size() == size && blocks_.inode().flags() == flags) return {};
  return blocks_.volume().inodes().write(operation, blocks_.inode());
}

Result<void> Directory::insert_anywhere(Operation& operation, std::string_view name, InodeNumber inode,
                                        std::uint8_t type) {
  DirectoryIndex index{blocks_};
  if (blocks_.indexed()) return index.insert(operation, name, inode, type);
  // An index that the volume's features do not speak of would be out of date from here on.
  blocks_.inode().raw.i_flags &= ~std::uint32_t{EXT2_INDEX_FL};

  for (LogicalBlock block = 0; block < blocks_.count(); ++block) {
    TRY(inserted, insert_into(operation, block, name, inode, type));
    if (inserted) return {};
  }
  if (blocks_.listed_by_hash()) {
    TRY(DirectoryIndex::create(operation, blocks_));
    return index.insert(operation, name, inode, type);
  }
  TRY(added, blocks_.append(operation));
  LeafWriter writer{blocks_.format(), added};
  writer.add(name, inode, type);
  writer.finish();
  return {};
}

/// False if the block has no room.
Result<bool> Directory::insert_into(Operation& operation, LogicalBlock block, std::string_view name, InodeNumber inode,
                                    std::uint8_t type) {
  const DirectoryFormat& format = blocks_.format();
  std::uint32_t offset = 0;
  {
    TRY(contents, blocks_.any(block));
    if (blocks_.pairs_in(block, *contents)) return false;
    const std::uint32_t space = DirectoryFormat::space_for(name.size());
    const BlockSearch search = find_room(format, *contents, format.leaf_end(), space, offset);
    if (search == BlockSearch::corrupt) return blocks_.corrupt(block, "bad entry");
    if (search == BlockSearch::missing) return false;
  }
  TRY(bytes, blocks_.modify(operation, block));
  place_entry(format, bytes, offset, name, inode, type);
  seal_leaf(format, bytes);
  return true;
}

Result<void> Directory::remove(Operation& operation, std::string_view name) {
  TRY(place, locate(name));
  TRY(bytes, blocks_.modify(operation, place.block));
  if (blocks_.pairs_in(place.block, bytes)) return blocks_.corrupt(place.block, "name in the index");
  remove_entry(blocks_.format(), bytes, place.entry);
  seal_leaf(blocks_.format(), bytes);
  return {};
}

Result<void> Directory::replace(Operation& operation, std::string_view name, InodeNumber inode, std::uint8_t type) {
  TRY(place, locate(name));
  TRY(bytes, blocks_.modify(operation, place.block));
  set_target(blocks_.format(), bytes, place.entry.offset, inode, type);
  // Of the index only the root has names, "." and "..".
  if (const auto pairs = blocks_.pairs_in(place.block, bytes))
    seal_index(blocks_.format(), bytes, *pairs);
  else
    seal_leaf(blocks_.format(), bytes);
  return {};
}

Result<void> Directory::initialise(Operation& operation, InodeNumber parent) {
  TRY(bytes, blocks_.append(operation));
  LeafWriter writer{blocks_.format(), bytes};
  writer.add(".", blocks_.inode().number, EXT2_FT_DIR);
  writer.add("..", parent, EXT2_FT_DIR);
  writer.finish();
  return {};
}

Result<bool> Directory::empty() {
  bool empty = true;
  // Every block is looked at, whatever an index says: removal must not lose a name.
  const auto visit = [&](const DirectoryEntry& entry) {
    empty = is_dot(entry.name);
    return empty;
  };
  if (in_inode()) {
    TRY(list_in_inode(blocks_.volume(), blocks_.inode(), 0, visit));
  } else {
    TRY(blocks_.check());
    TRY(list_by_position(blocks_, 0, visit));
  }
  return empty;
}

Result<void> Directory::iterate(std::uint64_t cookie, const Visit& visit) {
  if (in_inode()) return list_in_inode(blocks_.volume(), blocks_.inode(), cookie, visit);
  TRY(blocks_.check());
  return blocks_.listed_by_hash() ? list_by_hash(blocks_, cookie, visit) : list_by_position(blocks_, cookie, visit);
}

}  // namespace worker::volume
