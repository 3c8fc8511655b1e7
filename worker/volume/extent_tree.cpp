#include "worker/volume/extent_tree.h"

#include <algorithm>
#include <cstring>

#include "worker/disk/ext2_errors.h"
#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

/// Deeper than any tree that 2^32 blocks can need with the smallest block size.
constexpr int kDeepest = 5;

/// Extents that an inode has room for.
constexpr std::size_t kInInode = (sizeof(ext2_inode{}.i_block) - sizeof(ext3_extent_header)) / sizeof(ext3_extent);

std::uint64_t longest(RunState state) { return state == RunState::written ? kLongestWritten : kLongestUnwritten; }

/// True if both fit into one extent.
bool joins_as_extent(const Run& run, const Run& next) {
  return run.joins(next) && run.length + next.length <= longest(run.state);
}

ext2fs_extent stored(const Run& run) {
  ext2fs_extent extent{};
  extent.e_pblk = run.physical;
  extent.e_lblk = run.logical;
  extent.e_len = static_cast<__u32>(run.length);
  extent.e_flags = EXT2_EXTENT_FLAGS_LEAF | (run.state == RunState::unwritten ? EXT2_EXTENT_FLAGS_UNINIT : 0);
  return extent;
}

Error corrupt() { return errno_error(EUCLEAN, "extent tree"); }

/// A node without entries, or one that is not where its parent says, shows as a failed step through the tree.
Error tree_error(errcode_t code) {
  if (code == EXT2_ET_EXTENT_NO_DOWN || code == EXT2_ET_EXTENT_NO_UP || code == EXT2_ET_EXTENT_NO_PREV)
    return corrupt();
  return disk::ext2_error(code, "extent tree");
}

Result<void> check(errcode_t code) {
  if (code) return tree_error(code);
  return {};
}

}  // namespace

Result<ExtentTree> ExtentTree::open(Volume& volume, Inode& inode) {
  ext2_extent_handle_t handle = nullptr;
  auto* raw = reinterpret_cast<ext2_inode*>(&inode.raw);
  TRY(check(ext2fs_extent_open2(volume.fs(), inode.number, raw, &handle)));
  ExtentTree tree{volume, handle};
  ext2_extent_info info{};
  TRY(check(ext2fs_extent_get_info(handle, &info)));
  if (info.max_depth > kDeepest) return corrupt();
  return tree;
}

ExtentTree::~ExtentTree() {
  if (handle_) ext2fs_extent_free(handle_);
}

Result<Run> ExtentTree::checked(const ext2fs_extent& extent) const {
  const bool unwritten = extent.e_flags & EXT2_EXTENT_FLAGS_UNINIT;
  const Run run{extent.e_lblk, extent.e_pblk, extent.e_len, unwritten ? RunState::unwritten : RunState::written};
  // A zero length would make every walk endless.
  if (run.length == 0 || run.end() > kExtentLimit) return corrupt();
  if (!data_range_valid(*volume_.fs()->super, run.physical, run.length)) return corrupt();
  return run;
}

Result<std::optional<Run>> ExtentTree::seek(LogicalBlock logical) {
  ext2fs_extent extent{};
  const errcode_t found = ext2fs_extent_goto(handle_, logical);
  if (found && found != EXT2_ET_EXTENT_NOT_FOUND) return tree_error(found);
  const errcode_t code = ext2fs_extent_get(handle_, EXT2_EXTENT_CURRENT, &extent);
  if (code == EXT2_ET_NO_CURRENT_NODE) return std::optional<Run>{};
  TRY(check(code));
  TRY(run, checked(extent));
  return std::optional{run};
}

// Not EXT2_EXTENT_NEXT_LEAF: behind a leaf that was found by ext2fs_extent_goto() it visits the same leaf once more.
Result<std::optional<Run>> ExtentTree::next() {
  ext2fs_extent extent{};
  errcode_t code = ext2fs_extent_get(handle_, EXT2_EXTENT_NEXT_SIB, &extent);
  while (code == EXT2_ET_EXTENT_NO_NEXT) {
    const errcode_t up = ext2fs_extent_get(handle_, EXT2_EXTENT_UP, &extent);
    if (up == EXT2_ET_EXTENT_NO_UP) return std::optional<Run>{};
    TRY(check(up));
    code = ext2fs_extent_get(handle_, EXT2_EXTENT_NEXT_SIB, &extent);
  }
  TRY(check(code));
  while (!(extent.e_flags & EXT2_EXTENT_FLAGS_LEAF)) TRY(check(ext2fs_extent_get(handle_, EXT2_EXTENT_DOWN, &extent)));
  TRY(run, checked(extent));
  return std::optional{run};
}

Result<std::optional<Run>> ExtentTree::before(LogicalBlock logical) {
  TRY(extent, seek(logical));
  if (extent && extent->logical > logical) extent.reset();
  return extent;
}

Result<std::size_t> ExtentTree::runs(LogicalBlock first, std::span<Run> into) {
  RunList list{into};
  LogicalBlock reached = first;
  TRY(extent, seek(first));
  while (extent) {
    if (extent->end() > reached) {
      const LogicalBlock start = std::max(extent->logical, reached);
      if (start > reached && !list.add({.logical = reached, .length = start - reached})) return list.size();
      if (!list.add(extent->part(start, extent->end()))) return list.size();
      reached = extent->end();
    }
    const LogicalBlock least = extent->end();
    TRY(following, next());
    if (following && following->logical < least) return corrupt();
    extent = following;
  }
  if (reached < kExtentLimit) list.add({.logical = reached, .length = kExtentLimit - reached});
  return list.size();
}

Result<void> ExtentTree::replace(const Run& run) {
  ext2fs_extent extent = stored(run);
  return check(ext2fs_extent_replace(handle_, 0, &extent));
}

Result<void> ExtentTree::insert_here(const Run& run, bool behind) {
  ext2fs_extent extent = stored(run);
  return check(ext2fs_extent_insert(handle_, behind ? EXT2_EXTENT_INSERT_AFTER : 0, &extent));
}

Result<void> ExtentTree::fix_parents() {
  const errcode_t code = ext2fs_extent_fix_parents(handle_);
  // The tree is empty, or became so.
  if (code == EXT2_ET_NO_CURRENT_NODE) return {};
  return check(code);
}

Result<void> ExtentTree::insert(Run run) {
  if (run.length == 0 || run.end() > kExtentLimit) return errno_error(EFBIG);
  while (run.length > 0) {
    const LogicalBlock split = run.logical + std::min(run.length, longest(run.state));
    TRY(insert_one(run.part(run.logical, split)));
    if (split == run.end()) break;
    run = run.part(split, run.end());
  }
  return {};
}

Result<void> ExtentTree::insert_one(const Run& run) {
  TRY(here, seek(run.logical));
  if (!here) return insert_here(run, false);
  const bool behind = here->logical < run.logical;
  if (behind && here->end() > run.logical) return corrupt();
  if (behind && joins_as_extent(*here, run)) {
    const Run longer{here->logical, here->physical, here->length + run.length, run.state};
    TRY(replace(longer));
    return join_behind(longer);
  }
  std::optional<Run> following = here;
  if (behind) {
    TRY(found, next());
    following = found;
  }
  if (following && following->logical < run.end()) return corrupt();
  if (following && joins_as_extent(run, *following)) {
    TRY(replace({run.logical, run.physical, run.length + following->length, run.state}));
    return fix_parents();
  }
  // Looking for the one behind may have left the leaf.
  if (behind) TRY(seek(run.logical));
  TRY(insert_here(run, behind));
  return behind ? Result<void>{} : fix_parents();
}

Result<void> ExtentTree::join_behind(Run run) {
  TRY(following, next());
  if (!following || !joins_as_extent(run, *following)) return {};
  TRY(check(ext2fs_extent_delete(handle_, 0)));
  TRY(fix_parents());
  TRY(here, seek(run.logical));
  if (!here || *here != run) return corrupt();
  run.length += following->length;
  return replace(run);
}

Result<void> ExtentTree::cut(const Run& extent, LogicalBlock first, LogicalBlock last) {
  TRY(here, seek(extent.logical));
  if (!here || *here != extent) return corrupt();
  if (first == extent.logical && last == extent.end()) {
    TRY(check(ext2fs_extent_delete(handle_, 0)));
    return fix_parents();
  }
  if (first == extent.logical) {
    TRY(replace(extent.part(last, extent.end())));
    return fix_parents();
  }
  TRY(replace(extent.part(extent.logical, first)));
  if (last == extent.end()) return {};
  return insert_here(extent.part(last, extent.end()), true);
}

Result<std::optional<ExtentTree::Few>> ExtentTree::few() {
  ext2_extent_info info{};
  TRY(check(ext2fs_extent_get_info(handle_, &info)));
  if (info.max_depth == 0) return std::optional<Few>{};
  Few found;
  ext2fs_extent extent{};
  errcode_t code = ext2fs_extent_get(handle_, EXT2_EXTENT_ROOT, &extent);
  while (code == 0) {
    if (extent.e_flags & EXT2_EXTENT_FLAGS_LEAF) {
      if (found.extents.size() == kInInode) return std::optional<Few>{};
      TRY(run, checked(extent));
      found.extents.push_back(run);
    } else if (!(extent.e_flags & EXT2_EXTENT_FLAGS_SECOND_VISIT)) {
      if (!data_range_valid(*volume_.fs()->super, extent.e_pblk, 1)) return corrupt();
      found.nodes.push_back(extent.e_pblk);
    }
    code = ext2fs_extent_get(handle_, EXT2_EXTENT_NEXT, &extent);
  }
  if (code != EXT2_ET_EXTENT_NO_NEXT) return tree_error(code);
  return std::optional{std::move(found)};
}

void ExtentTree::store_in_inode(Inode& inode, const std::vector<Run>& extents) {
  ext3_extent_header header{};
  header.eh_magic = ext2fs_cpu_to_le16(EXT3_EXT_MAGIC);
  header.eh_entries = ext2fs_cpu_to_le16(static_cast<__u16>(extents.size()));
  header.eh_max = ext2fs_cpu_to_le16(kInInode);
  auto* at = reinterpret_cast<std::byte*>(inode.raw.i_block);
  std::memset(at, 0, sizeof inode.raw.i_block);
  std::memcpy(at, &header, sizeof header);
  at += sizeof header;
  for (const Run& run : extents) {
    ext3_extent entry{};
    const std::uint64_t length = run.length + (run.state == RunState::unwritten ? kLongestWritten : 0);
    entry.ee_block = ext2fs_cpu_to_le32(static_cast<__u32>(run.logical));
    entry.ee_len = ext2fs_cpu_to_le16(static_cast<__u16>(length));
    entry.ee_start_hi = ext2fs_cpu_to_le16(static_cast<__u16>(run.physical >> 32));
    entry.ee_start = ext2fs_cpu_to_le32(static_cast<__u32>(run.physical));
    std::memcpy(at, &entry, sizeof entry);
    at += sizeof entry;
  }
}

}  // namespace worker::volume
