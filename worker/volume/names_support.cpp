#include "worker/volume/names_support.h"

#include <sys/stat.h>

#include <array>

#include "worker/volume/orphans.h"
#include "worker/volume/references.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

constexpr std::array<std::uint32_t, EXT2_FT_MAX> kModes = [] {
  std::array<std::uint32_t, EXT2_FT_MAX> modes{};
  modes[EXT2_FT_REG_FILE] = S_IFREG;
  modes[EXT2_FT_DIR] = S_IFDIR;
  modes[EXT2_FT_CHRDEV] = S_IFCHR;
  modes[EXT2_FT_BLKDEV] = S_IFBLK;
  modes[EXT2_FT_FIFO] = S_IFIFO;
  modes[EXT2_FT_SOCK] = S_IFSOCK;
  modes[EXT2_FT_SYMLINK] = S_IFLNK;
  return modes;
}();

}  // namespace

Result<void> check_name(std::string_view name) {
  if (name.empty()) return errno_error(ENOENT);
  if (name.size() > EXT2_NAME_LEN) return errno_error(ENAMETOOLONG);
  if (name.find('/') != std::string_view::npos || name.find('\0') != std::string_view::npos) return errno_error(EINVAL);
  return {};
}

Result<void> check_changeable_name(std::string_view name) {
  if (name == "." || name == "..") return errno_error(EINVAL);
  return check_name(name);
}

Result<Inode> changeable_directory(Volume& volume, InodeNumber number) {
  TRY(inode, volume.inodes().read(number));
  if (!inode.is_directory()) return errno_error(ENOTDIR);
  if (inode.links() == 0) return errno_error(ENOENT);
  if ((inode.flags() & EXT2_IMMUTABLE_FL) != 0) return errno_error(EPERM);
  return inode;
}

Result<std::optional<DirectoryEntry>> find_if_there(Directory& directory, std::string_view name) {
  auto found = directory.find(name);
  if (found.ok()) return std::optional{*found};
  if (found.error().code == std::errc::no_such_file_or_directory) return std::optional<DirectoryEntry>{};
  return std::move(found).error();
}

Result<Inode> inode_of(Volume& volume, const DirectoryEntry& entry) {
  const auto corrupt = [&](const char* what) {
    return errno_error(EUCLEAN, "entry points to " + std::string(what) + " inode " + std::to_string(entry.inode));
  };
  ext2_super_block* super = volume.fs()->super;
  if (entry.inode < EXT2_FIRST_INO(super)) return corrupt("reserved");
  if (ext2fs_has_feature_orphan_file(super) && entry.inode == super->s_orphan_file_inum) return corrupt("the hidden");
  auto inode = volume.inodes().read(entry.inode);
  if (!inode.ok() && inode.error().code.value() == ESTALE) return corrupt("unused");
  if (inode.ok() && (inode->links() == 0 || entry_type(inode->mode()) == 0)) return corrupt("deleted");
  return inode;
}

Result<void> check_removable(const Inode& directory, const Inode& child) {
  const bool fixed = (child.flags() & (EXT2_APPEND_FL | EXT2_IMMUTABLE_FL)) != 0;
  if (fixed || (directory.flags() & EXT2_APPEND_FL) != 0) return errno_error(EPERM);
  return {};
}

Result<void> check_room_for_subdirectory(Volume& volume, const Inode& directory, bool indexed) {
  const bool countless = indexed && ext2fs_has_feature_dir_nlink(volume.fs()->super);
  if (directory.links() >= kMostLinks && !countless) return errno_error(EMLINK);
  return {};
}

void count_subdirectory(Inode& directory, bool indexed) noexcept {
  const std::uint32_t links = directory.links() + 1;
  // 2 can only have been 1 before, which stands for many.
  const bool countless = indexed && (links > kMostLinks || links == 2);
  directory.raw.i_links_count = static_cast<std::uint16_t>(countless ? 1 : links);
}

void discount_subdirectory(Inode& directory) noexcept {
  if (directory.links() > 2) --directory.raw.i_links_count;
}

std::uint8_t entry_type(std::uint32_t mode) noexcept {
  for (std::uint8_t type = 1; type < kModes.size(); ++type)
    if (kModes[type] == (mode & S_IFMT)) return type;
  return 0;
}

std::uint32_t mode_of_type(std::uint8_t type) noexcept { return type < kModes.size() ? kModes[type] : 0; }

Result<void> write_changed(Operation& operation, Inode& directory, Timestamp now) {
  directory.set_modified(now);
  directory.set_changed(now);
  return operation.volume().inodes().write(operation, directory);
}

Result<void> drop_link(Operation& operation, Inode& inode, Timestamp now) {
  inode.set_changed(now);
  inode.raw.i_links_count = inode.is_directory() ? 0 : static_cast<std::uint16_t>(inode.links() - 1);
  if (inode.links() == 0) return operation.volume().orphans().add(operation, inode);
  return operation.volume().inodes().write(operation, inode);
}

void release_if_unused(Volume& volume, InodeNumber dead) {
  if (dead != 0 && !volume.references().lent(dead)) (void)volume.orphans().release(dead);
}

}  // namespace worker::volume
