#include "broker/mount_words.h"

#include <linux/mount.h>

namespace broker {
namespace {

constexpr std::string_view kAlways = "always so";
constexpr std::string_view kLibrary = "a setting of the FUSE library; the worker chooses";

constexpr MountWord kWords[] = {
    {"ro", Effect::read_only},
    {"rw", Effect::read_write},
    {"norecovery", Effect::no_recovery},
    {"noload", Effect::no_recovery},
    {"remount", Effect::remount},

    {"nosuid", Effect::set, Takes::nothing, MOUNT_ATTR_NOSUID},
    {"suid", Effect::clear, Takes::nothing, MOUNT_ATTR_NOSUID},
    {"nodev", Effect::set, Takes::nothing, MOUNT_ATTR_NODEV},
    {"dev", Effect::clear, Takes::nothing, MOUNT_ATTR_NODEV},
    // mount(8) keeps `suid` and `dev` to itself, so there must be words that it passes on.
    {"allow_suid", Effect::clear, Takes::nothing, MOUNT_ATTR_NOSUID},
    {"allow_dev", Effect::clear, Takes::nothing, MOUNT_ATTR_NODEV},
    {"noexec", Effect::set, Takes::nothing, MOUNT_ATTR_NOEXEC},
    {"exec", Effect::clear, Takes::nothing, MOUNT_ATTR_NOEXEC},
    {"nosymfollow", Effect::set, Takes::nothing, MOUNT_ATTR_NOSYMFOLLOW},
    {"symfollow", Effect::clear, Takes::nothing, MOUNT_ATTR_NOSYMFOLLOW},
    {"nodiratime", Effect::set, Takes::nothing, MOUNT_ATTR_NODIRATIME},
    {"diratime", Effect::clear, Takes::nothing, MOUNT_ATTR_NODIRATIME},
    {"noatime", Effect::set, Takes::nothing, MOUNT_ATTR_NOATIME},
    {"strictatime", Effect::set, Takes::nothing, MOUNT_ATTR_STRICTATIME},
    {"relatime", Effect::clear, Takes::nothing, MOUNT_ATTR__ATIME},
    {"atime", Effect::clear, Takes::nothing, MOUNT_ATTR__ATIME},
    {"nostrictatime", Effect::clear, Takes::nothing, MOUNT_ATTR__ATIME},
    {"norelatime", Effect::no_effect, Takes::nothing, 0, "the kernel's default for access times stays"},

    {"offset", Effect::offset, Takes::value},
    {"sizelimit", Effect::size_limit, Takes::value},
    {"loop", Effect::loop},
    {"noloop", Effect::no_loop},
    {"directio", Effect::direct_io},
    {"nodirectio", Effect::buffered_io},
    {"fsname", Effect::fsname, Takes::value},
    {"subtype", Effect::subtype, Takes::value},
    {"sync", Effect::synchronous},
    {"async", Effect::asynchronous},
    {"dirsync", Effect::directory_sync},
    {"allow_other", Effect::allow_other},
    {"kernel", Effect::replace, Takes::nothing, 0, "allow_other,default_permissions,suid,dev,acl"},

    {"default_permissions", Effect::no_effect, Takes::nothing, 0, kAlways},
    {"auto_unmount", Effect::no_effect, Takes::nothing, 0, kAlways},
    {"nonempty", Effect::no_effect, Takes::nothing, 0, kAlways},
    {"use_ino", Effect::no_effect, Takes::nothing, 0, kAlways},
    {"hard_remove", Effect::no_effect, Takes::nothing, 0, kAlways},
    {"big_writes", Effect::no_effect, Takes::nothing, 0, kAlways},
    {"large_read", Effect::no_effect, Takes::nothing, 0, kAlways},
    {"splice_*", Effect::no_effect, Takes::nothing, 0, kLibrary},
    {"kernel_cache", Effect::no_effect, Takes::nothing, 0, kLibrary},
    {"auto_cache", Effect::no_effect, Takes::nothing, 0, kLibrary},
    {"noforget", Effect::no_effect, Takes::nothing, 0, kLibrary},
    {"clone_fd", Effect::no_effect, Takes::nothing, 0, kLibrary},
    {"attr_timeout", Effect::no_effect, Takes::value, 0, kLibrary},
    {"entry_timeout", Effect::no_effect, Takes::value, 0, kLibrary},
    {"negative_timeout", Effect::no_effect, Takes::value, 0, kLibrary},
    {"ac_attr_timeout", Effect::no_effect, Takes::value, 0, kLibrary},
    {"max_read", Effect::no_effect, Takes::value, 0, kLibrary},
    {"max_write", Effect::no_effect, Takes::value, 0, kLibrary},
    {"blksize", Effect::no_effect, Takes::value, 0, kLibrary},
    {"lockfile", Effect::refused, Takes::value, 0, "use --unmount, which returns when the image is complete"},
    {"lazytime", Effect::no_effect, Takes::nothing, 0, "access times are written back with the inode anyway"},
    {"nolazytime", Effect::no_effect, Takes::nothing, 0, kAlways},
    {"iversion", Effect::no_effect, Takes::nothing, 0, "not visible through FUSE"},
    {"noiversion", Effect::no_effect, Takes::nothing, 0, kAlways},
    {"mand", Effect::no_effect, Takes::nothing, 0, "no longer in the kernel"},
    {"nomand", Effect::no_effect, Takes::nothing, 0, kAlways},
    {"silent", Effect::no_effect, Takes::nothing, 0, kAlways},
    {"loud", Effect::no_effect, Takes::nothing, 0, kAlways},
    // mountinfo shows these, so mount(8) gives them back on a remount.
    {"user_id", Effect::no_effect, Takes::value, 0, "follows from who mounts"},
    {"group_id", Effect::no_effect, Takes::value, 0, "follows from who mounts"},

    {"defaults", Effect::bookkeeping},
    {"auto", Effect::bookkeeping},
    {"noauto", Effect::bookkeeping},
    {"nofail", Effect::bookkeeping},
    {"_netdev", Effect::bookkeeping},
    {"_rnetdev", Effect::bookkeeping},
    {"nouser", Effect::bookkeeping},
    {"nousers", Effect::bookkeeping},
    {"noowner", Effect::bookkeeping},
    {"nogroup", Effect::bookkeeping},
    {"user", Effect::implied, Takes::either, 0, "nosuid,nodev,noexec"},
    {"users", Effect::implied, Takes::nothing, 0, "nosuid,nodev,noexec"},
    {"owner", Effect::implied, Takes::nothing, 0, "nosuid,nodev"},
    {"group", Effect::implied, Takes::nothing, 0, "nosuid,nodev"},
    {"comment", Effect::bookkeeping, Takes::value},
    {"helper", Effect::bookkeeping, Takes::value},
    {"uhelper", Effect::bookkeeping, Takes::value},
    {"X-*", Effect::bookkeeping, Takes::either},
    {"x-*", Effect::bookkeeping, Takes::either},

    {"fd", Effect::refused, Takes::value, 0, "the FUSE descriptor is never taken from outside"},
    {"rootmode", Effect::refused, Takes::value, 0, "follows from the mount point"},
    {"allow_root", Effect::refused, Takes::nothing, 0, "permissions come from the volume; root is always allowed"},
    {"drop_privileges", Effect::refused, Takes::nothing, 0, "the worker never has privileges"},
    {"setuid", Effect::refused, Takes::value, 0, "the worker has an id of its own"},
};

}  // namespace

std::span<const MountWord> mount_words() { return kWords; }

const MountWord* find_mount_word(std::string_view name) {
  for (const MountWord& word : kWords) {
    const bool prefix = word.name.ends_with('*');
    if (prefix ? name.starts_with(word.name.substr(0, word.name.size() - 1)) : name == word.name) return &word;
  }
  return nullptr;
}

}  // namespace broker
