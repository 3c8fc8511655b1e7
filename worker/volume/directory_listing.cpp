#include "worker/volume/directory_listing.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "worker/disk/ext2_errors.h"
#include "worker/volume/directory_index.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

constexpr std::uint32_t kLastMajor = 0xFFFFFFFC;
constexpr unsigned kNumberBits = 6;
constexpr std::uint64_t kMostNumbered = (1U << kNumberBits) - 2;
constexpr std::uint64_t kFirstNameCookie = 2;  // behind "." and ".."
constexpr std::uint64_t kCookieLimit = std::uint64_t{1} << 63;

/// Leaves held in memory at once: those that one chain of equal hashes joins. Chance makes chains of two or three.
constexpr std::size_t kMostBytesTogether = std::size_t{8} << 20;

bool is_dot(std::string_view name) { return name == "." || name == ".."; }

/// The kernel fails a whole listing for such a name.
bool can_be_listed(std::string_view name) {
  return name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

struct Listed {
  std::uint64_t key = 0;  ///< the upper 57 bits of the cookie
  std::uint32_t minor = 0;
  std::uint32_t inode = 0;
  std::uint8_t type = 0;
  std::string_view name;
  auto order() const { return std::tie(key, minor, name, inode); }
};

class HashListing {
 public:
  HashListing(DirectoryBlocks& blocks, std::uint64_t cookie, const Directory::Visit& visit)
      : blocks_{blocks}, cookie_{cookie}, visit_{visit} {}

  Result<void> run() {
    if (cookie_ >= kCookieLimit) return {};
    if (cookie_ < kFirstNameCookie) {
      TRY(go_on, dots());
      if (!go_on) return {};
    }
    return blocks_.indexed() ? all_leaves() : single_block();
  }

 private:
  Result<bool> dots() {
    TRY(first, blocks_.any(0));
    std::uint64_t place = 0;
    for (const std::string_view name : {".", ".."}) {
      FoundEntry found;
      const BlockSearch search = find_entry(blocks_.format(), *first, blocks_.end_of(0, *first), name, found);
      if (search == BlockSearch::corrupt) return blocks_.corrupt(0, "bad entry");
      if (place++ < cookie_ || search != BlockSearch::found) continue;
      if (!visit_({.inode = found.inode, .type = found.type, .name = name, .next_cookie = place})) return false;
    }
    return true;
  }

  Result<void> single_block() {
    const ext2_super_block& super = *blocks_.volume().fs()->super;
    const NameHasher hash_of{super, hash_for_new_index(super)};
    TRY(gather(0, hash_of, 0, kLastMajor));
    (void)emit();
    return {};
  }

  Result<void> all_leaves() {
    DirectoryIndex index{blocks_};
    TRY(hash_of, index.hasher());
    TRY(path, index.seek(static_cast<std::uint32_t>(cookie_ >> 32) << 1));
    for (std::uint64_t steps = 0; steps < blocks_.count(); ++steps) {
      const std::uint32_t lowest = path.start & ~1U;
      const std::uint32_t behind = path.next_start.value_or(kLastMajor + 1);
      if (behind <= lowest) return blocks_.corrupt(path.leaf, "index out of order");
      const bool continued = (behind & 1) != 0;
      TRY(gather(path.leaf, hash_of, lowest, continued ? behind - 1 : behind - 2));
      // Equal hashes of two leaves have to be sorted together.
      if (!(continued && path.next_start) && !emit()) return {};
      TRY(more, index.advance(path));
      if (!more) return {};
    }
    return blocks_.corrupt(0, "endless index");
  }

  /// Collects a leaf's entries that the cookie does not lie behind. Names that are in the wrong leaf are listed with
  /// the hash nearest to theirs, so that each comes once and the order holds.
  Result<void> gather(LogicalBlock block, const NameHasher& hash_of, std::uint32_t lowest, std::uint32_t highest) {
    TRY(contents, blocks_.leaf(block));
    if ((held_.size() + 1) * blocks_.format().block_size > kMostBytesTogether)
      return blocks_.corrupt(block, "too many equal hashes");
    const bool legacy = hash_of.stored_version() == EXT2_HASH_LEGACY;
    EntryWalk walk{blocks_.format(), *contents, blocks_.format().leaf_end()};
    while (walk.next()) {
      if (!walk.used() || is_dot(walk.name)) continue;
      if (!can_be_listed(walk.name)) return blocks_.corrupt(block, "impossible name");
      const NameHash hash = hash_of(walk.name);
      const std::uint32_t minor = legacy ? checksum(0, std::as_bytes(std::span{walk.name})) : hash.minor;
      const std::uint64_t major = std::clamp(hash.major, lowest, highest);
      const std::uint64_t key = major >> 1 << (32 - kNumberBits) | minor >> kNumberBits;
      if (key >= cookie_ >> kNumberBits) found_.push_back({key, minor, walk.inode, walk.type, walk.name});
    }
    if (walk.corrupt()) return blocks_.corrupt(block, "bad entry");
    held_.push_back(std::move(contents));
    return {};
  }

  /// Visits what was collected. False if the visitor has had enough.
  bool emit() {
    std::sort(found_.begin(), found_.end(), [](const Listed& a, const Listed& b) { return a.order() < b.order(); });
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < found_.size(); ++i) {
      const Listed& entry = found_[i];
      const bool first = i == 0 || found_[i - 1].key != entry.key;
      number = first ? (entry.key == 0 ? kFirstNameCookie : 0) : number + 1;
      const std::uint64_t place = entry.key << kNumberBits | std::min(number, kMostNumbered);
      if (place < cookie_) continue;
      // What is beyond counting cannot be resumed at: better skipped, if a buffer ends just there, than listed for
      // ever.
      const std::uint64_t next = number < kMostNumbered ? place + 1 : (entry.key + 1) << kNumberBits;
      if (!visit_({.inode = entry.inode, .type = entry.type, .name = entry.name, .next_cookie = next})) return false;
    }
    found_.clear();
    held_.clear();
    return true;
  }

  DirectoryBlocks& blocks_;
  const std::uint64_t cookie_;
  const Directory::Visit& visit_;
  std::vector<Listed> found_;
  std::vector<disk::Contents> held_;  // where the names lie
};

struct InlineEntry {
  InodeNumber inode;
  std::uint8_t type;
  std::string name;
};

int collect_inline(ext2_dir_entry* entry, int, int, char*, void* into) noexcept {
  auto& entries = *static_cast<std::vector<InlineEntry>*>(into);
  const auto length = static_cast<std::size_t>(ext2fs_dirent_name_len(entry));
  if (entry->inode != 0 && length > 0)
    entries.push_back(
        {entry->inode, static_cast<std::uint8_t>(ext2fs_dirent_file_type(entry)), std::string(entry->name, length)});
  return 0;
}

Result<std::vector<InlineEntry>> inline_entries(Volume& volume, const Inode& inode) {
  if (!inode.is_directory()) return errno_error(ENOTDIR);
  std::vector<InlineEntry> entries;
  TRY_EXT2(ext2fs_dir_iterate(volume.fs(), inode.number, 0, nullptr, collect_inline, &entries));
  for (const InlineEntry& entry : entries)
    if (entry.inode > volume.fs()->super->s_inodes_count || !can_be_listed(entry.name))
      return errno_error(EUCLEAN, "directory inode " + std::to_string(inode.number) + ": bad entry");
  return entries;
}

}  // namespace

Result<void> list_by_hash(DirectoryBlocks& blocks, std::uint64_t cookie, const Directory::Visit& visit) {
  return HashListing{blocks, cookie, visit}.run();
}

Result<void> list_by_position(DirectoryBlocks& blocks, std::uint64_t cookie, const Directory::Visit& visit) {
  const std::uint32_t block_size = blocks.format().block_size;
  for (LogicalBlock block = cookie / block_size; block < blocks.count(); ++block) {
    TRY(contents, blocks.any(block));
    EntryWalk walk{blocks.format(), *contents, blocks.end_of(block, *contents)};
    while (walk.next()) {
      const std::uint64_t place = block * block_size + walk.offset;
      if (!walk.used() || place < cookie) continue;
      if (!can_be_listed(walk.name)) return blocks.corrupt(block, "impossible name");
      // The next record may be merged into this one meanwhile; a walk from the block's start finds what lies behind.
      if (!visit({.inode = walk.inode, .type = walk.type, .name = walk.name, .next_cookie = place + walk.length}))
        return {};
    }
    if (walk.corrupt()) return blocks.corrupt(block, "bad entry");
  }
  return {};
}

Result<void> list_in_inode(Volume& volume, const Inode& inode, std::uint64_t cookie, const Directory::Visit& visit) {
  TRY(entries, inline_entries(volume, inode));
  for (std::uint64_t i = cookie; i < entries.size(); ++i) {
    const InlineEntry& entry = entries[i];
    if (!visit({.inode = entry.inode, .type = entry.type, .name = entry.name, .next_cookie = i + 1})) break;
  }
  return {};
}

Result<DirectoryEntry> find_in_inode(Volume& volume, const Inode& inode, std::string_view name) {
  TRY(entries, inline_entries(volume, inode));
  for (const InlineEntry& entry : entries)
    if (entry.name == name) return DirectoryEntry{.inode = entry.inode, .type = entry.type, .name = name};
  return errno_error(ENOENT);
}

}  // namespace worker::volume
