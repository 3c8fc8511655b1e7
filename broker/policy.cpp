#include "broker/policy.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <array>
#include <bit>
#include <optional>

namespace broker {

namespace {

/// MS_ flags that a worker may ask for, and what they are for fsmount; 0: no attribute of the mount.
struct MountFlag {
  std::uint32_t flag;
  std::uint64_t attribute;
};
constexpr MountFlag kMountFlags[] = {
    {MS_RDONLY, MOUNT_ATTR_RDONLY},
    {MS_NOSUID, MOUNT_ATTR_NOSUID},
    {MS_NODEV, MOUNT_ATTR_NODEV},
    {MS_NOEXEC, MOUNT_ATTR_NOEXEC},
    {MS_SYNCHRONOUS, 0},
    {MS_DIRSYNC, 0},
    {MS_NOATIME, 0},
    {MS_NODIRATIME, MOUNT_ATTR_NODIRATIME},
    {MS_RELATIME, 0},
    {MS_STRICTATIME, 0},
    {MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW},
};

/// Flags of open(2) that change nothing about what is granted: ours are used in their place.
constexpr std::uint32_t kHarmlessOpenFlags = O_ACCMODE | O_EXCL | O_NOCTTY | O_NONBLOCK | O_CLOEXEC | O_DIRECT |
                                             O_NOFOLLOW | O_NOATIME | O_DSYNC | O_SYNC | 0100000;

enum class Word : std::uint8_t { default_permissions, allow_other, max_read, block_size, ours };
struct KnownOption {
  std::string_view name;
  Word word;
  bool has_value;
};
constexpr KnownOption kKnownOptions[] = {
    {"default_permissions", Word::default_permissions, false},
    {"allow_other", Word::allow_other, false},
    {"max_read", Word::max_read, true},
    {"blksize", Word::block_size, true},
    {"fd", Word::ours, true},
    {"rootmode", Word::ours, true},
    {"user_id", Word::ours, true},
    {"group_id", Word::ours, true},
    {"source", Word::ours, true},
    {"subtype", Word::ours, true},
};

/// The list's next word. Commas inside double quotes belong to the word, as in libfuse's helper.
std::string_view next_word(std::string_view& list) {
  bool quoted = false;
  std::size_t end = 0;
  while (end < list.size() && (quoted || list[end] != ',')) quoted ^= list[end++] == '"';
  const auto word = list.substr(0, end);
  list.remove_prefix(end < list.size() ? end + 1 : end);
  return word;
}

std::uint32_t take_option(const Grants& grants, std::string_view word, MountSpecification& specification) {
  const auto equals = word.find('=');
  const bool has_value = equals != word.npos;
  auto value = has_value ? word.substr(equals + 1) : std::string_view{};
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
  for (const auto& known : kKnownOptions) {
    if (known.name != word.substr(0, equals)) continue;
    if (known.has_value != has_value) return EINVAL;
    switch (known.word) {
      case Word::default_permissions:
      case Word::ours:
        return 0;
      case Word::allow_other:
        return grants.allow_other ? 0 : EPERM;
      case Word::max_read: {
        const auto bytes = parse_number<std::uint32_t>(value);
        if (!bytes) return EINVAL;
        specification.max_read = *bytes;
        return 0;
      }
      case Word::block_size: {
        const auto bytes = parse_number<std::uint32_t>(value);
        if (!specification.block || !bytes || !std::has_single_bit(*bytes) || *bytes < 512 || *bytes > 65536)
          return EINVAL;
        specification.block_size = *bytes;
        return 0;
      }
    }
  }
  return EINVAL;
}

}  // namespace

bool needs_loop(const MountPlan& plan, const Source& source) {
  return !plan.no_loop && !source.read_only && (source.kind == SourceKind::image_file || !source.whole);
}

Grants make_grants(const MountPlan& plan, const Source& source, const LoopDevice* loop, const MountPoint& where) {
  Grants grants;
  grants.source = plan.source;
  grants.mount_point = plan.mount_point;
  grants.source_is_block = loop != nullptr || source.kind == SourceKind::block_device;
  grants.mount_point_is_directory = where.directory;
  grants.read_only = source.read_only;
  grants.block = grants.source_is_block && !source.read_only && !plan.no_loop;
  grants.allow_other = plan.allow_other;
  grants.block_source = loop != nullptr ? loop->path : source.path;

  auto& mount = grants.specification;
  mount.source = plan.fsname.empty() ? source.path : plan.fsname;
  mount.subtype = plan.subtype.empty() ? plan.type : plan.subtype;
  mount.attributes = plan.mount_attributes | (source.read_only ? MOUNT_ATTR_RDONLY : 0u);
  mount.read_only = source.read_only;
  mount.allow_other = plan.allow_other;
  mount.synchronous = plan.synchronous;
  mount.directory_sync = plan.directory_sync;
  mount.root_is_directory = where.directory;

  grants.arguments = {plan.type, plan.source, plan.mount_point};
  const auto list =
      worker_option_list(plan, source.read_only, loop == nullptr && !source.whole ? &source.window : nullptr);
  if (!list.empty()) grants.arguments.insert(grants.arguments.end(), {"-o", list});
  return grants;
}

std::uint32_t hello_flags(const Grants& grants) {
  return (grants.allow_other ? protocol::kHelloAllowOther : 0) | (grants.block ? protocol::kHelloBlock : 0);
}

std::uint32_t judge_open(const Grants& grants, bool block, const protocol::OpenFile& asked) {
  if ((asked.request_flags & ~protocol::kOpenQuiet) != 0) return EINVAL;
  if (asked.path.value != grants.source) return EPERM;
  const auto mode = asked.open_flags & O_ACCMODE;
  if ((asked.open_flags & ~kHarmlessOpenFlags) != 0 || mode == O_ACCMODE) return EPERM;
  if (block && !grants.source_is_block) return ENOTBLK;
  const auto size = asked.block_size;
  if (block && size != 0 && (!std::has_single_bit(size) || size < 512 || size > 65536)) return EINVAL;
  return grants.read_only && mode != O_RDONLY ? EROFS : 0;
}

std::uint32_t judge_type(const Grants& grants, std::uint32_t flags) {
  if ((flags & ~protocol::kTypeBlock) != 0) return EINVAL;
  return flags != 0 && !grants.block ? EPERM : 0;
}

std::uint32_t judge_mount_point(const Grants& grants, const protocol::SetMountPoint& asked) {
  const bool known = asked.expected_type == 0 || asked.expected_type == S_IFDIR || asked.expected_type == S_IFREG;
  if (asked.padding != 0 || !known || asked.path.value != grants.mount_point) return EINVAL;
  if (asked.expected_type == S_IFREG && grants.mount_point_is_directory) return EISDIR;
  return asked.expected_type == S_IFDIR && !grants.mount_point_is_directory ? ENOTDIR : 0;
}

std::uint32_t take_options(const Grants& grants, std::string_view list, MountSpecification& specification) {
  auto taken = specification;
  while (!list.empty()) {
    const auto word = next_word(list);
    if (word.empty()) continue;
    if (const auto error = take_option(grants, word, taken); error != 0) return error;
  }
  specification = taken;
  return 0;
}

std::uint32_t take_mount_flags(std::uint32_t flags, MountSpecification& specification) {
  std::uint32_t unknown = flags;
  std::uint64_t attributes = specification.attributes;
  for (const auto& known : kMountFlags) {
    unknown &= ~known.flag;
    if ((flags & known.flag) != 0) attributes |= known.attribute;
  }
  if (unknown != 0) return EPERM;
  // The three ways to keep access times are one field. Writing none is the strictest; more writing than the caller
  // wants is not granted.
  if ((flags & MS_NOATIME) != 0) attributes = (attributes & ~std::uint64_t{MOUNT_ATTR__ATIME}) | MOUNT_ATTR_NOATIME;
  specification.attributes = attributes;
  specification.read_only |= (flags & MS_RDONLY) != 0;
  specification.synchronous |= (flags & MS_SYNCHRONOUS) != 0;
  specification.directory_sync |= (flags & MS_DIRSYNC) != 0;
  return 0;
}

bool take_facts(const protocol::Facts& facts, MountSpecification& specification) {
  constexpr std::uint32_t kKnown = protocol::kFactReadOnly | protocol::kFactJournal | protocol::kFactUnclean;
  if ((facts.flags & ~kKnown) != 0) return false;
  if (!std::has_single_bit(facts.block_size) || facts.block_size < 1024 || facts.block_size > 65536) return false;
  if ((facts.flags & protocol::kFactReadOnly) != 0) {
    specification.read_only = true;
    specification.attributes |= MOUNT_ATTR_RDONLY;
  }
  // fuseblk's default of 512 would cut every page of the worker's own buffered I/O on the device into eight.
  specification.block_size = std::min(facts.block_size, 4096u);
  return true;
}

std::string keep_table_options(std::string_view list) {
  std::string kept;
  while (!list.empty()) {
    const auto word = next_word(list);
    if (!word.starts_with("x-")) continue;
    if (!kept.empty()) kept.push_back(',');
    kept.append(word);
  }
  return kept;
}

}  // namespace broker
