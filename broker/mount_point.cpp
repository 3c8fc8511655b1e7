#include "broker/mount_point.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <climits>

namespace broker {
namespace {

using protocol::errno_error;
using protocol::last_error;

/// Since Linux 6.8; Debian 12's headers do not have it.
constexpr unsigned kStatxUniqueMountId = 0x4000;

/// What the kernel wrote into a file system context to explain a refusal, without its "e " and its full stops.
std::string context_text(int context) {
  char line[512];
  const ssize_t got = ::read(context, line, sizeof line);
  if (got <= 0) return {};
  std::string_view text{line, static_cast<std::size_t>(got)};
  if (text.size() > 2 && text[1] == ' ') text.remove_prefix(2);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\0')) text.remove_suffix(1);
  return std::string{text};
}

/// A file system being configured. Each step's failure is explained by the kernel where it has words for it.
class Context {
 public:
  static Result<Context> open(const char* type) {
    UniqueFd descriptor{::fsopen(type, FSOPEN_CLOEXEC)};
    if (!descriptor) return last_error(std::string{"cannot create a "} + type + " file system");
    return Context{std::move(descriptor)};
  }
  void text(const char* key, const std::string& value) {
    check(::fsconfig(descriptor_.get(), FSCONFIG_SET_STRING, key, value.c_str(), 0), key);
  }
  void number(const char* key, std::uint64_t value) { text(key, std::to_string(value)); }
  void flag(const char* key, bool wanted) {
    if (wanted) check(::fsconfig(descriptor_.get(), FSCONFIG_SET_FLAG, key, nullptr, 0), key);
  }
  Result<UniqueFd> mount(unsigned attributes) {
    check(::fsconfig(descriptor_.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0), "cannot create the file system");
    if (!failure_.code) {
      UniqueFd mount{::fsmount(descriptor_.get(), FSMOUNT_CLOEXEC, attributes)};
      if (mount) return mount;
      check(-1, "fsmount");
    }
    return failure_;
  }

 private:
  explicit Context(UniqueFd descriptor) : descriptor_{std::move(descriptor)} {}
  /// Keeps the first failure: later ones follow from it.
  void check(int result, const char* step) {
    if (result == 0 || failure_.code) return;
    failure_ = last_error(step);
    if (const std::string why = context_text(descriptor_.get()); !why.empty()) failure_.detail += ": " + why;
  }
  UniqueFd descriptor_;
  Error failure_;
};

/// What the kernel knows without a request to the file system.
Result<struct statx> quiet_statx(int descriptor, unsigned mask) {
  struct statx found {};
  if (::statx(descriptor, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, mask, &found) != 0)
    return last_error("cannot look at it");
  return found;
}

std::string bdi_directory(const MountIdentity& identity, bool block) {
  return "/sys/class/bdi/" + std::to_string(::major(identity.device)) + ":" + std::to_string(::minor(identity.device)) +
         (block ? "-fuseblk" : "");
}

std::uint64_t backing_inode(const MountIdentity& identity, bool block) {
  struct stat found {};
  return ::stat(bdi_directory(identity, block).c_str(), &found) == 0 ? found.st_ino : 0;
}

}  // namespace

Result<MountPoint> open_mount_point(const MountPlan& plan) {
  struct open_how how {};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_NO_MAGICLINKS;
  MountPoint where;
  where.descriptor.reset(
      static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, plan.mount_point.c_str(), &how, sizeof how)));
  if (!where.descriptor) return last_error("mount point " + plan.mount_point);
  // Not fstat: what is mounted there may have a dead or wedged server, and unmounting it begins here too.
  TRY(found, quiet_statx(where.descriptor.get(), STATX_TYPE));
  if (!S_ISDIR(found.stx_mode) && !S_ISREG(found.stx_mode))
    return errno_error(ENOTDIR, "mount point " + plan.mount_point);
  where.directory = S_ISDIR(found.stx_mode);
  char path[PATH_MAX];
  const ssize_t length = ::readlink(descriptor_path(where.descriptor.get()).c_str(), path, sizeof path);
  if (length <= 0 || length == sizeof path) return errno_error(ENAMETOOLONG, "mount point " + plan.mount_point);
  where.path.assign(path, static_cast<std::size_t>(length));
  return where;
}

Result<MountIdentity> identify_mount(int descriptor) {
  TRY(found, quiet_statx(descriptor, kStatxUniqueMountId));
  // A kernel that does not know the unique id leaves its bit clear; then the reused one has to do.
  if (!(found.stx_mask & kStatxUniqueMountId)) {
    TRY(again, quiet_statx(descriptor, STATX_MNT_ID));
    found = again;
  }
  MountIdentity identity;
  identity.device = ::makedev(found.stx_dev_major, found.stx_dev_minor);
  if (found.stx_mask & (kStatxUniqueMountId | STATX_MNT_ID)) identity.unique_id = found.stx_mnt_id;
  return identity;
}

Result<FuseMount> FuseMount::create(const MountSpecification& specification, int fuse_device) {
  TRY(context, Context::open(specification.block ? "fuseblk" : "fuse"));
  char mode[16];
  std::snprintf(mode, sizeof mode, "%o", specification.root_is_directory ? S_IFDIR : S_IFREG);
  context.text("source", specification.source);
  if (!specification.subtype.empty()) context.text("subtype", specification.subtype);
  context.number("fd", static_cast<std::uint64_t>(fuse_device));
  context.text("rootmode", mode);
  context.number("user_id", specification.user);
  context.number("group_id", specification.group);
  context.flag("default_permissions", specification.default_permissions);
  context.flag("allow_other", specification.allow_other);
  if (specification.max_read) context.number("max_read", specification.max_read);
  if (specification.block && specification.block_size) context.number("blksize", specification.block_size);
  context.flag("ro", specification.read_only);
  context.flag("sync", specification.synchronous);
  context.flag("dirsync", specification.directory_sync);

  const std::uint64_t attributes = specification.attributes | (specification.read_only ? MOUNT_ATTR_RDONLY : 0U);
  FuseMount made;
  TRY(mount, context.mount(static_cast<unsigned>(attributes)));
  TRY(identity, identify_mount(mount.get()));
  made.mount_ = std::move(mount);
  made.identity_ = std::move(identity);
  made.identity_.source = specification.source;
  made.identity_.backing = backing_inode(made.identity_, specification.block);
  return made;
}

Result<void> FuseMount::attach(const MountPoint& where) {
  if (::move_mount(mount_.get(), "", where.descriptor.get(), "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) !=
      0)
    return last_error("cannot attach the mount to " + where.path);
  mount_.reset();
  return {};
}

void raise_readahead(const MountIdentity& identity, bool block, unsigned kib) {
  const std::string path = bdi_directory(identity, block) + "/read_ahead_kb";
  const std::string wanted = std::to_string(kib);
  const UniqueFd file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
  if (file && read_number_file(path) < kib) (void)!::write(file.get(), wanted.data(), wanted.size());
}

std::vector<MountEntry> mounts_of(const MountIdentity& identity) {
  auto table = read_mount_table();
  if (!table) return {};
  // The kernel gives device numbers out again at once: those of a superblock that is gone may be somebody else's.
  if (identity.backing != 0 && backing_inode(identity, false) != identity.backing &&
      backing_inode(identity, true) != identity.backing)
    return {};
  std::erase_if(*table, [&identity](const MountEntry& entry) {
    return entry.device != identity.device || entry.source != identity.source || !entry.type.starts_with("fuse");
  });
  return std::move(*table);
}

Result<void> detach(const MountEntry& entry, int flags) {
  const auto slash = entry.mount_point.rfind('/');
  const std::string name = entry.mount_point.substr(slash + 1);
  const UniqueFd parent{::open(entry.mount_point.substr(0, slash + 1).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
  // Without following a final link and, being O_PATH, without a request to the file system mounted there.
  UniqueFd root{::openat(parent.get(), name.empty() ? "." : name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
  if (!root) return last_error();
  TRY(top, quiet_statx(root.get(), STATX_MNT_ID));
  if (top.stx_mnt_id != entry.id) return errno_error(EBUSY, "covered by another mount");
  std::string path = descriptor_path(root.get());
  if (!(flags & MNT_DETACH)) {
    // An open root keeps a mount busy. Its name in the open parent is as good: nobody can rename a mount point.
    path = descriptor_path(parent.get()) + "/" + name;
    flags |= UMOUNT_NOFOLLOW;
    root.reset();
  }
  return ::umount2(path.c_str(), flags) == 0 ? Result<void>{} : last_error();
}

std::vector<std::string> detach_everywhere(const MountIdentity& identity, int flags) {
  std::vector<std::string> left;
  // One that is covered by another of ours appears when that one is gone, so go on for as long as something moves.
  for (bool moved = true; moved;) {
    moved = false;
    left.clear();
    for (const MountEntry& entry : mounts_of(identity)) {
      const auto detached = detach(entry, flags);
      if (!detached) left.push_back(entry.mount_point + ": " + detached.error().message());
      moved = moved || detached;
    }
  }
  return left;
}

Result<bool> is_mounted(const MountIdentity& identity) {
  TRY(read_mount_table());
  return !mounts_of(identity).empty();
}

bool superblock_exists(const MountIdentity& identity, bool block) {
  const std::uint64_t now = backing_inode(identity, block);
  return now != 0 && (identity.backing == 0 || now == identity.backing);
}

}  // namespace broker
