#include "worker/sandbox/empty_root.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "protocol/unique_fd.h"

namespace worker::sandbox {
namespace {

using protocol::last_error;
using protocol::Result;
using protocol::UniqueFd;

// <sys/mount.h> and <linux/mount.h> of Debian 12 exclude each other. This is all that is needed of the former.
constexpr unsigned long kRecursivelyPrivate = MS_REC | MS_PRIVATE;
constexpr int kDetach = 2;

/// A tmpfs for one directory and no file, read-only from the start.
Result<UniqueFd> empty_tmpfs() {
  const UniqueFd context{static_cast<int>(::syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC))};
  if (!context) return last_error("tmpfs");
  const auto set = [&](const char* key, const char* value) {
    return ::syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_STRING, key, value, 0) == 0;
  };
  if (!set("size", "4k") || !set("nr_inodes", "2") || !set("mode", "0555")) return last_error("tmpfs options");
  if (::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) return last_error("tmpfs");
  constexpr unsigned kAttributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  UniqueFd root{static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, kAttributes))};
  if (!root) return last_error("tmpfs mount");
  return root;
}

}  // namespace

Result<void> enter_empty_root() {
  // Only now, not when the process was made: the program and its libraries are mapped from the mounts they were found
  // on. Were those already copies in a namespace of ours, the mappings would keep them, with every other mount below
  // them, and no file system mounted at this moment could be unmounted by anybody while we live.
  if (::unshare(CLONE_NEWNS) != 0) return last_error("mount namespace");
  // Nothing that happens to mounts from here on, above all the detaching, may travel to where we came from.
  if (::syscall(SYS_mount, nullptr, "/", nullptr, kRecursivelyPrivate, nullptr) != 0)
    return last_error("private mounts");
  TRY(root, empty_tmpfs());
  if (::syscall(SYS_move_mount, root.get(), "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return last_error("attach the new root");
  }
  // The old root ends up on top of the new one, at the same place, and is taken off it.
  if (::fchdir(root.get()) != 0 || ::syscall(SYS_pivot_root, ".", ".") != 0) return last_error("pivot_root");
  if (::syscall(SYS_umount2, ".", kDetach) != 0) return last_error("detach the old root");
  if (::chdir("/") != 0) return last_error("chdir");
  return {};
}

}  // namespace worker::sandbox
