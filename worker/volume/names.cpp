#include "worker/volume/names.h"

#include <sys/stat.h>

#include <algorithm>
#include <climits>
#include <cstring>

#include "worker/disk/ext2_errors.h"
#include "worker/volume/mapped_blocks.h"
#include "worker/volume/names_support.h"
#include "worker/volume/orphans.h"
#include "worker/volume/references.h"
#include "worker/volume/volume.h"
#include "worker/volume/xattrs.h"

namespace worker::volume {
namespace {

/// Targets shorter than this lie in the inode.
constexpr std::size_t kInodeRoom = sizeof(ext2_inode{}.i_block);

void lend_on_commit(Operation& operation, InodeNumber inode) {
  operation.on_commit([&volume = operation.volume(), inode] { volume.references().lend(inode); });
}

/// The directory that is to hold a name, which must not be there.
Result<Inode> directory_without(Volume& volume, InodeNumber number, std::string_view name) {
  TRY(check_changeable_name(name));
  TRY(inode, changeable_directory(volume, number));
  Directory names{volume, inode};
  TRY(found, find_if_there(names, name));
  if (found) return errno_error(EEXIST);
  return inode;
}

Result<void> store_target(Operation& operation, Inode& inode, std::string_view target) {
  inode.raw.i_flags &= ~std::uint32_t{EXT2_APPEND_FL | EXT2_IMMUTABLE_FL};
  if (target.size() < kInodeRoom) {
    inode.raw.i_flags &= ~std::uint32_t{EXT4_EXTENTS_FL};
    std::memset(inode.raw.i_block, 0, kInodeRoom);
    std::memcpy(inode.raw.i_block, target.data(), target.size());
  } else {
    // Written before the name that leads to it.
    TRY(block, MappedBlocks(operation.volume(), inode).append(operation, disk::BlockKind::inode));
    std::memcpy(block.data(), target.data(), target.size());
  }
  inode.set_size(target.size());
  return {};
}

Result<std::string> inline_target(Volume& volume, Inode& inode) {
  std::string target(volume.fs()->blocksize, '\0');
  std::size_t size = target.size();
  TRY_EXT2(ext2fs_inline_data_size(volume.fs(), inode.number, &size));
  if (size > target.size()) return errno_error(EUCLEAN, "symbolic link too long");
  TRY_EXT2(ext2fs_inline_data_get(volume.fs(), inode.number, nullptr, target.data(), &size));
  target.resize(size);
  return target;
}

Result<std::string> stored_target(Volume& volume, Inode& inode) {
  if ((inode.flags() & EXT4_INLINE_DATA_FL) != 0) return inline_target(volume, inode);
  if (inode.is_fast_symlink()) return std::string(reinterpret_cast<const char*>(inode.raw.i_block), kInodeRoom);
  TRY(block, MappedBlocks(volume, inode).read(0));
  return std::string(reinterpret_cast<const char*>(block->data()), block->size());
}

}  // namespace

Result<Attributes> Names::lookup(InodeNumber directory, std::string_view name) {
  TRY(check_name(name));
  return volume_.inspect([&]() -> Result<Attributes> {
    TRY(inode, volume_.inodes().read(directory));
    TRY(entry, Directory(volume_, inode).find(name));
    const bool is_dot = name == "." || name == "..";
    TRY(child, is_dot ? volume_.inodes().read(entry.inode) : inode_of(volume_, entry));
    volume_.references().lend(child.number);
    return volume_.inodes().attributes(child);
  });
}

Result<Attributes> Names::create(InodeNumber directory, std::string_view name, const NewInode& wanted) {
  NewInode asked = wanted;
  if ((asked.mode & S_IFMT) == 0) asked.mode |= S_IFREG;
  const std::uint8_t type = entry_type(asked.mode);
  if (type == 0 || type == EXT2_FT_SYMLINK) return errno_error(EINVAL);
  return volume_.mutate([&](Operation& operation) -> Result<Attributes> {
    TRY(parent, directory_without(volume_, directory, name));
    Directory names{volume_, parent};
    if (type == EXT2_FT_DIR) TRY(check_room_for_subdirectory(volume_, parent, names.indexed()));

    TRY(inode, volume_.inodes().create(operation, parent, asked));
    TRY(volume_.xattrs().inherit(operation, parent, inode, asked.umask));
    inode.raw.i_links_count = type == EXT2_FT_DIR ? 2 : 1;
    if (type == EXT2_FT_DIR) TRY(Directory(volume_, inode).initialise(operation, directory));
    TRY(volume_.inodes().write(operation, inode));

    TRY(names.insert(operation, name, inode.number, type));
    if (type == EXT2_FT_DIR) count_subdirectory(parent, names.indexed());
    TRY(write_changed(operation, parent, inode.changed()));
    lend_on_commit(operation, inode.number);
    return volume_.inodes().attributes(inode);
  });
}

Result<Attributes> Names::symlink(InodeNumber directory, std::string_view name, std::string_view target,
                                  const NewInode& wanted) {
  if (target.empty()) return errno_error(ENOENT);
  if (target.find('\0') != std::string_view::npos) return errno_error(EINVAL);
  // A NUL behind the target has to fit too.
  if (target.size() >= volume_.cache().block_size() || target.size() >= PATH_MAX) return errno_error(ENAMETOOLONG);
  NewInode asked = wanted;
  asked.mode = S_IFLNK | 0777;
  return volume_.mutate([&](Operation& operation) -> Result<Attributes> {
    TRY(parent, directory_without(volume_, directory, name));
    TRY(inode, volume_.inodes().create(operation, parent, asked));
    inode.raw.i_links_count = 1;
    TRY(store_target(operation, inode, target));
    TRY(volume_.inodes().write(operation, inode));
    TRY(Directory(volume_, parent).insert(operation, name, inode.number, EXT2_FT_SYMLINK));
    TRY(write_changed(operation, parent, inode.changed()));
    lend_on_commit(operation, inode.number);
    return volume_.inodes().attributes(inode);
  });
}

Result<Attributes> Names::link(InodeNumber number, InodeNumber directory, std::string_view name) {
  return volume_.mutate([&](Operation& operation) -> Result<Attributes> {
    TRY(parent, directory_without(volume_, directory, name));
    TRY(inode, volume_.inodes().read(number));
    if (inode.is_directory() || (inode.flags() & (EXT2_APPEND_FL | EXT2_IMMUTABLE_FL)) != 0) return errno_error(EPERM);
    if (inode.links() == 0) return errno_error(ENOENT);
    if (inode.links() >= kMostLinks) return errno_error(EMLINK);
    const Timestamp now = Timestamp::now();
    ++inode.raw.i_links_count;
    inode.set_changed(now);
    TRY(volume_.inodes().write(operation, inode));
    TRY(Directory(volume_, parent).insert(operation, name, number, entry_type(inode.mode())));
    TRY(write_changed(operation, parent, now));
    lend_on_commit(operation, number);
    return volume_.inodes().attributes(inode);
  });
}

Result<void> Names::unlink(InodeNumber directory, std::string_view name) {
  TRY(check_changeable_name(name));
  TRY(dead, volume_.mutate([&](Operation& operation) -> Result<InodeNumber> {
    TRY(parent, changeable_directory(volume_, directory));
    Directory names{volume_, parent};
    TRY(entry, names.find(name));
    TRY(child, inode_of(volume_, entry));
    if (child.is_directory()) return errno_error(EISDIR);
    TRY(check_removable(parent, child));
    const Timestamp now = Timestamp::now();
    TRY(names.remove(operation, name));
    TRY(drop_link(operation, child, now));
    TRY(write_changed(operation, parent, now));
    return child.links() == 0 ? child.number : InodeNumber{0};
  }));
  release_if_unused(volume_, dead);
  return {};
}

Result<void> Names::remove_directory(InodeNumber directory, std::string_view name) {
  TRY(check_changeable_name(name));
  TRY(dead, volume_.mutate([&](Operation& operation) -> Result<InodeNumber> {
    TRY(parent, changeable_directory(volume_, directory));
    Directory names{volume_, parent};
    TRY(entry, names.find(name));
    TRY(child, inode_of(volume_, entry));
    if (!child.is_directory()) return errno_error(ENOTDIR);
    TRY(check_removable(parent, child));
    TRY(empty, Directory(volume_, child).empty());
    if (!empty) return errno_error(ENOTEMPTY);
    const Timestamp now = Timestamp::now();
    TRY(names.remove(operation, name));
    TRY(drop_link(operation, child, now));
    discount_subdirectory(parent);
    TRY(write_changed(operation, parent, now));
    return child.number;
  }));
  release_if_unused(volume_, dead);
  return {};
}

Result<std::string> Names::read_link(InodeNumber number) {
  return volume_.inspect([&]() -> Result<std::string> {
    TRY(inode, volume_.inodes().read(number));
    if (!inode.is_symlink()) return errno_error(EINVAL);
    TRY(target, stored_target(volume_, inode));
    // Whatever the size says, a NUL ends the target, as for the kernel.
    target.resize(strnlen(target.data(), std::min<std::uint64_t>(target.size(), inode.size())));
    if (target.empty()) return errno_error(EUCLEAN, "empty symbolic link, inode " + std::to_string(number));
    return target;
  });
}

Result<void> Names::read_directory(InodeNumber directory, std::uint64_t cookie, bool with_attributes,
                                   const std::function<bool(const Visited&)>& visit) {
  return volume_.inspect([&]() -> Result<void> {
    TRY(inode, volume_.inodes().read(directory));
    if (inode.is_directory() && inode.links() == 0) return errno_error(ENOENT);
    return Directory(volume_, inode).iterate(cookie, [&](const DirectoryEntry& entry) {
      Visited visited{.name = entry.name,
                      .inode = entry.inode,
                      .type = mode_of_type(entry.type),
                      .next_cookie = entry.next_cookie,
                      .attributes = nullptr};
      if (!with_attributes || entry.name == "." || entry.name == "..") return visit(visited);
      const auto child = inode_of(volume_, entry);
      // A single bad inode must not hide the other names; a lookup of this one will tell.
      if (!child.ok()) return visit(visited);
      const Attributes attributes = volume_.inodes().attributes(*child);
      visited.attributes = &attributes;
      visited.type = attributes.mode & S_IFMT;
      volume_.references().lend(entry.inode);
      const bool taken = visit(visited);
      if (!taken) (void)volume_.references().give_back(entry.inode, 1);
      return taken;
    });
  });
}

}  // namespace worker::volume
