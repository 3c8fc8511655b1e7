// What the operations on names share: checks of names and entries, link counts, times.
#pragma once

#include <optional>
#include <string_view>

#include "worker/volume/directory.h"
#include "worker/volume/inodes.h"

namespace worker::volume {

/// A name that may be looked up: ENAMETOOLONG, ENOENT if empty, EINVAL with '/' or NUL.
Result<void> check_name(std::string_view name);
/// A name that may be made or removed: not "." or ".." either.
Result<void> check_changeable_name(std::string_view name);

/// A directory that is to be changed: ENOTDIR, ENOENT if it was removed, EPERM if immutable.
Result<Inode> changeable_directory(Volume& volume, InodeNumber number);

Result<std::optional<DirectoryEntry>> find_if_there(Directory& directory, std::string_view name);

/// The inode of an entry. EUCLEAN when it is none that a name can have: reserved, unused, deleted, or another
/// directory's root.
Result<Inode> inode_of(Volume& volume, const DirectoryEntry& entry);

/// The rules of append-only and immutable files for removing or replacing a name. EPERM.
Result<void> check_removable(const Inode& directory, const Inode& child);

/// Whether one more ".." may point to a directory: EMLINK at 65000, unless it has an index and the volume dir_nlink.
Result<void> check_room_for_subdirectory(Volume& volume, const Inode& directory, bool indexed);
/// Counts of subdirectories beyond 65000 are not kept: 1 says many.
void count_subdirectory(Inode& directory, bool indexed) noexcept;
void discount_subdirectory(Inode& directory) noexcept;

inline constexpr std::uint32_t kMostLinks = 65000;

/// EXT2_FT_* of an inode's mode, 0 for an impossible one; S_IF* bits of an entry's type, 0 for none.
std::uint8_t entry_type(std::uint32_t mode) noexcept;
std::uint32_t mode_of_type(std::uint8_t type) noexcept;

/// Sets both times of a directory whose names changed, and writes it.
Result<void> write_changed(Operation& operation, Inode& directory, Timestamp now);

/// A name went away: one link less, or none for a directory; puts the inode on the orphan list with the last, and
/// writes it.
Result<void> drop_link(Operation& operation, Inode& inode, Timestamp now);

/// Behind an operation whose drop_link() took the last name of inode `dead` (0: of none): frees it unless the kernel
/// still knows it. What cannot be freed now stays on the orphan list; the name is gone all the same. Takes its own
/// locks.
void release_if_unused(Volume& volume, InodeNumber dead);

}  // namespace worker::volume
