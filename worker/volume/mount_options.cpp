#include "worker/volume/mount_options.h"

#include <algorithm>
#include <charconv>
#include <limits>

namespace worker::volume {
namespace {

/// Sets one option; false if `value` is not one of its values.
using Apply = bool (*)(MountOptions& options, std::string_view value);

struct Word {
  std::string_view name;  ///< with '=' at the end if it takes a value
  Apply apply;
};

/// A decimal number of bytes or seconds, with an optional binary suffix as mount(8) takes it: 1K, 1KiB.
bool parse_number(std::string_view text, std::uint64_t& number) {
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failed != std::errc{}) return false;
  std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
  if (suffix.empty()) return true;
  constexpr std::string_view kUnits = "KMGT";
  const std::size_t unit = kUnits.find(suffix.front());
  if (unit == std::string_view::npos || (suffix.size() != 1 && suffix.substr(1) != "iB")) return false;
  const auto shift = 10 * (unit + 1);
  if (number > std::numeric_limits<std::uint64_t>::max() >> shift) return false;
  number <<= shift;
  return true;
}

bool set_errors(MountOptions& options, std::string_view value) {
  if (value == "continue")
    options.errors = ErrorPolicy::go_on;
  else if (value == "remount-ro")
    options.errors = ErrorPolicy::remount_read_only;
  else if (value == "panic")
    options.errors = ErrorPolicy::panic;
  else
    return false;
  return true;
}

bool set_commit(MountOptions& options, std::string_view value) {
  constexpr std::uint64_t kLongest = std::numeric_limits<std::int32_t>::max() / 1000;
  std::uint64_t seconds = 0;
  if (!parse_number(value, seconds) || seconds > kLongest) return false;
  options.commit_seconds = seconds == 0 ? MountOptions{}.commit_seconds : static_cast<std::uint32_t>(seconds);
  return true;
}

template <bool MountOptions::*member, bool to>
bool set(MountOptions& options, std::string_view) {
  options.*member = to;
  return true;
}

bool no_recovery(MountOptions& options, std::string_view) {
  options.no_recovery = true;
  return true;
}

constexpr Word kHonoured[] = {
    {"ro", set<&MountOptions::read_only, true>},
    {"rw", set<&MountOptions::read_only, false>},
    {"norecovery", no_recovery},
    {"noload", no_recovery},
    {"errors=", set_errors},
    {"commit=", set_commit},
    {"acl", set<&MountOptions::acl, true>},
    {"noacl", set<&MountOptions::acl, false>},
    {"user_xattr", set<&MountOptions::user_xattr, true>},
    {"nouser_xattr", set<&MountOptions::user_xattr, false>},
    {"minixdf", set<&MountOptions::minix_df, true>},
    {"bsddf", set<&MountOptions::minix_df, false>},
    {"offset=",
     [](MountOptions& options, std::string_view value) { return parse_number(value, options.window_offset); }},
    {"sizelimit=",
     [](MountOptions& options, std::string_view value) { return parse_number(value, options.window_size); }},
};

/// Words of kernel ext4 that tune what works differently here, and cost no promise when they are left out. With '='
/// they take any value.
constexpr std::string_view kIgnored[] = {
    "data=ordered",
    "data=writeback",
    "data_err=",
    "barrier",
    "barrier=",
    "nobarrier",
    "delalloc",
    "nodelalloc",
    "discard",
    "nodiscard",
    "journal_checksum",
    "nojournal_checksum",
    "journal_async_commit",
    "journal_ioprio=",
    "inode_readahead_blks=",
    "stripe=",
    "max_batch_time=",
    "min_batch_time=",
    "auto_da_alloc",
    "auto_da_alloc=",
    "noauto_da_alloc",
    "dioread_lock",
    "dioread_nolock",
    "nodioread_nolock",
    "block_validity",
    "noblock_validity",
    "debug",
    "debug_want_extra_isize=",
    "i_version",
    "mblk_io_submit",
    "nomblk_io_submit",
    "max_dir_size_kb=",
    "mbcache",
    "nombcache",
    "no_mbcache",
    "mb_optimize_scan=",
    "prefetch_block_bitmaps",
    "no_prefetch_block_bitmaps",
    "init_itable",
    "init_itable=",
    "noinit_itable",
    "orlov",
    "oldalloc",
    "reservation",
    "noreservation",
    "check=none",
    "nocheck",
    "nogrpid",
    "sysvgroups",
    "quota",
    "noquota",
    "usrquota",
    "grpquota",
    "prjquota",
    "usrjquota=",
    "grpjquota=",
    "jqfmt=",
    "nouid32",
    "resuid=",
    "resgid=",
    "dax=never",
    "dax=inode",
    "nodax",
    "inlinecrypt",
    "no_default_opts",
    "warn_on_error",
    "nowarn_on_error",
    "extents",
    "noextents",
    "bh",
    "nobh",
    "fc_debug_force",
};

/// Words that belong to mount(8), to the kernel's mount or to whoever started us. Helpers other than ours pass them
/// all.
constexpr std::string_view kNotOurs[] = {
    "suid",         "nosuid",        "dev",          "nodev",      "exec",
    "noexec",       "sync",          "async",        "dirsync",    "atime",
    "noatime",      "diratime",      "nodiratime",   "relatime",   "norelatime",
    "strictatime",  "nostrictatime", "lazytime",     "nolazytime", "silent",
    "loud",         "mand",          "nomand",       "iversion",   "noiversion",
    "symfollow",    "nosymfollow",   "defaults",     "auto",       "noauto",
    "user",         "user=",         "nouser",       "users",      "nousers",
    "owner",        "noowner",       "group",        "nogroup",    "nofail",
    "_netdev",      "comment=",      "uhelper=",     "helper=",    "fsname=",
    "subtype=",     "blkdev",        "allow_other",  "allow_root", "default_permissions",
    "kernel_cache", "auto_cache",    "auto_unmount", "max_read=",  "blksize=",
    "rootmode=",    "user_id=",      "group_id=",    "fd=",        "context=",
    "fscontext=",   "defcontext=",   "rootcontext=", "seclabel",   "remount",
    "loop",         "loop=",         "noloop",       "sloppy",
};

bool among(std::span<const std::string_view> list, std::string_view name, std::string_view whole) {
  return std::ranges::any_of(list, [&](std::string_view one) { return one == name || one == whole; });
}

Result<void> take(MountOptions& options, std::string_view word) {
  const std::size_t equals = word.find('=');
  // A word's name keeps its '=': "barrier" and "barrier=" are two.
  const std::string_view name = equals == std::string_view::npos ? word : word.substr(0, equals + 1);
  const std::string_view value = word.substr(name.size());
  const auto* known = std::ranges::find_if(kHonoured, [name](const Word& one) { return one.name == name; });
  if (known != std::end(kHonoured) && known->apply(options, value)) return {};
  const bool ignorable = among(kIgnored, name, word);
  if (!ignorable && (among(kNotOurs, name, word) || word.starts_with("x-") || word.starts_with("X-"))) return {};
  if (!ignorable && !options.sloppy) return errno_error(EINVAL, std::string{word});
  options.ignored.emplace_back(word);
  return {};
}

/// Takes the next word off the front of a comma list. Quotes may hold commas, as in SELinux contexts.
std::string_view take_word(std::string_view& text) {
  std::size_t end = 0;
  for (bool quoted = false; end < text.size() && (quoted || text[end] != ','); ++end)
    if (text[end] == '"') quoted = !quoted;
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(std::min(text.size(), end + 1));
  return word;
}

bool asks_for_sloppiness(std::string_view text) {
  while (!text.empty())
    if (take_word(text) == "sloppy") return true;
  return false;
}

}  // namespace

Result<MountOptions> parse_mount_options(std::string_view text) {
  MountOptions options;
  options.sloppy = asks_for_sloppiness(text);  // wherever it stands, it holds for the whole line
  while (!text.empty())
    if (const std::string_view word = take_word(text); !word.empty()) TRY(take(options, word));
  // Whatever comes later on the line: without replay nothing may be written.
  if (options.no_recovery) options.read_only = true;
  return options;
}

}  // namespace worker::volume
