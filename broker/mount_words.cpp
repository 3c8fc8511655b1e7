#include "broker/mount_words.h"

#include <linux/mount.h>

namespace broker {
namespace {

using Plan = MountPlan;

constexpr std::uint64_t bits(std::uint64_t attributes) { return attributes; }

constexpr MountWord kWords[] = {
    {"ro", Effect::read_only},
    {"rw", Effect::read_write},
    {"norecovery noload", Effect::no_recovery},
    {"remount", Effect::remount},

    // mount(8) keeps `suid` and `dev` to itself, so there must be words that it passes on.
    {"nosuid", Effect::set, bits(MOUNT_ATTR_NOSUID)},
    {"suid allow_suid", Effect::clear, bits(MOUNT_ATTR_NOSUID)},
    {"nodev", Effect::set, bits(MOUNT_ATTR_NODEV)},
    {"dev allow_dev", Effect::clear, bits(MOUNT_ATTR_NODEV)},
    {"noexec", Effect::set, bits(MOUNT_ATTR_NOEXEC)},
    {"exec", Effect::clear, bits(MOUNT_ATTR_NOEXEC)},
    {"nosymfollow", Effect::set, bits(MOUNT_ATTR_NOSYMFOLLOW)},
    {"symfollow", Effect::clear, bits(MOUNT_ATTR_NOSYMFOLLOW)},
    {"nodiratime", Effect::set, bits(MOUNT_ATTR_NODIRATIME)},
    {"diratime", Effect::clear, bits(MOUNT_ATTR_NODIRATIME)},
    {"noatime", Effect::set, bits(MOUNT_ATTR_NOATIME)},
    {"strictatime", Effect::set, bits(MOUNT_ATTR_STRICTATIME)},
    {"relatime atime nostrictatime", Effect::clear, bits(MOUNT_ATTR__ATIME)},

    {"offset=", Effect::bytes, &Window::offset},
    {"sizelimit=", Effect::bytes, &Window::length},
    {"noloop", Effect::yes, &Plan::no_loop},
    {"loop", Effect::no, &Plan::no_loop},
    {"directio", Effect::yes, &Plan::direct_io},
    {"nodirectio", Effect::no, &Plan::direct_io},
    {"sync", Effect::yes, &Plan::synchronous},
    {"async", Effect::no, &Plan::synchronous},
    {"dirsync", Effect::yes, &Plan::directory_sync},
    {"allow_other", Effect::yes, &Plan::allow_other},
    {"fsname=", Effect::text, &Plan::fsname},
    {"subtype=", Effect::text, &Plan::subtype},
    {"kernel", Effect::replace, "allow_other,default_permissions,suid,dev,acl"},

    {"default_permissions auto_unmount nonempty use_ino hard_remove big_writes large_read", Effect::no_effect,
     "always so"},
    {"nolazytime noiversion nomand silent loud", Effect::no_effect, "always so"},
    {"splice_* kernel_cache auto_cache noforget clone_fd", Effect::no_effect, "the FUSE library's; the worker chooses"},
    {"attr_timeout= entry_timeout= negative_timeout= ac_attr_timeout= max_read= max_write= blksize=", Effect::no_effect,
     "the FUSE library's; the worker chooses"},
    {"norelatime", Effect::no_effect, "the kernel's default for access times stays"},
    {"lazytime", Effect::no_effect, "access times are written back with the inode anyway"},
    {"iversion", Effect::no_effect, "not visible through FUSE"},
    {"mand", Effect::no_effect, "no longer in the kernel"},
    // mountinfo shows these, so mount(8) gives them back on a remount.
    {"user_id= group_id=", Effect::no_effect, "follows from who mounts"},

    {"defaults auto noauto nofail _netdev _rnetdev nouser nousers noowner nogroup", Effect::bookkeeping},
    {"comment= helper= uhelper= X-*? x-*?", Effect::bookkeeping},
    {"user? users", Effect::implied, "nosuid,nodev,noexec"},
    {"owner group", Effect::implied, "nosuid,nodev"},

    {"fd=", Effect::refused, "the FUSE descriptor is never taken from outside"},
    {"rootmode=", Effect::refused, "follows from the mount point"},
    {"allow_root", Effect::refused, "permissions come from the volume; root is always allowed"},
    {"drop_privileges", Effect::refused, "the worker never has privileges"},
    {"setuid=", Effect::refused, "the worker has an id of its own"},
    {"lockfile=", Effect::refused, "use --unmount, which returns when the image is complete"},
};

}  // namespace

std::span<const MountWord> mount_words() { return kWords; }

WordName next_name(std::string_view& names) {
  const auto end = names.find(' ');
  WordName name{names.substr(0, end)};
  names = end == names.npos ? std::string_view{} : names.substr(end + 1);
  for (const auto& [mark, takes] : {std::pair{'=', Takes::value}, std::pair{'?', Takes::either}})
    if (name.text.ends_with(mark)) name = {name.text.substr(0, name.text.size() - 1), takes};
  return name;
}

std::optional<FoundWord> find_mount_word(std::string_view name) {
  for (const MountWord& word : kWords) {
    for (std::string_view rest = word.names; !rest.empty();) {
      const WordName known = next_name(rest);
      const bool prefix = known.text.ends_with('*');
      if (prefix ? name.starts_with(known.text.substr(0, known.text.size() - 1)) : name == known.text)
        return FoundWord{&word, known.takes};
    }
  }
  return std::nullopt;
}

}  // namespace broker
