#include "worker/fuse/attributes.h"

#include <linux/fs.h>
#include <linux/stat.h>

namespace worker::fuse {

volume::Result<InodeNumber> inode_number(std::uint64_t node) {
  if (node == FUSE_ROOT_ID) return volume::kRootInode;
  if (node <= volume::kRootInode || node > UINT32_MAX) return volume::errno_error(ESTALE, "unknown node");
  return static_cast<InodeNumber>(node);
}

fuse_attr encode_attributes(const volume::Attributes& attributes) noexcept {
  return fuse_attr{
      .ino = attributes.inode,
      .size = attributes.size,
      .blocks = attributes.blocks,
      .atime = static_cast<std::uint64_t>(attributes.accessed.seconds),
      .mtime = static_cast<std::uint64_t>(attributes.modified.seconds),
      .ctime = static_cast<std::uint64_t>(attributes.changed.seconds),
      .atimensec = attributes.accessed.nanoseconds,
      .mtimensec = attributes.modified.nanoseconds,
      .ctimensec = attributes.changed.nanoseconds,
      .mode = attributes.mode,
      .nlink = attributes.links,
      .uid = attributes.uid,
      .gid = attributes.gid,
      .rdev = attributes.device,
      .blksize = attributes.block_size,
      .flags = 0,
  };
}

fuse_attr_out encode_attributes_reply(const volume::Attributes& attributes) noexcept {
  return fuse_attr_out{.attr_valid = kForever, .attr_valid_nsec = 0, .dummy = 0, .attr = encode_attributes(attributes)};
}

fuse_entry_out encode_entry(const volume::Attributes& attributes) noexcept {
  return fuse_entry_out{
      .nodeid = node_id(attributes.inode),
      .generation = attributes.generation,
      .entry_valid = kForever,
      .attr_valid = kForever,
      .entry_valid_nsec = 0,
      .attr_valid_nsec = 0,
      .attr = encode_attributes(attributes),
  };
}

fuse_entry_out encode_missing_entry() noexcept {
  fuse_entry_out entry{};
  entry.entry_valid = kForever;
  return entry;
}

namespace {

abi::StatxTime statx_time(volume::Timestamp time) noexcept { return {time.seconds, time.nanoseconds, 0}; }

/// The inode flags that statx(2) shows; FS_*_FL on the left.
constexpr struct {
  std::uint32_t flag;
  std::uint64_t attribute;
} kShownFlags[] = {
    {FS_COMPR_FL, STATX_ATTR_COMPRESSED}, {FS_IMMUTABLE_FL, STATX_ATTR_IMMUTABLE}, {FS_APPEND_FL, STATX_ATTR_APPEND},
    {FS_NODUMP_FL, STATX_ATTR_NODUMP},    {FS_ENCRYPT_FL, STATX_ATTR_ENCRYPTED},   {FS_VERITY_FL, STATX_ATTR_VERITY},
};

}  // namespace

abi::StatxOut encode_statx(const volume::Attributes& attributes) noexcept {
  abi::StatxOut out{};
  out.attr_valid = kForever;

  abi::Statx& stat = out.stat;
  stat.mask = STATX_BASIC_STATS;
  if (attributes.born != volume::Timestamp{}) stat.mask |= STATX_BTIME;  // small inodes have no room for it
  stat.blksize = attributes.block_size;
  for (const auto& [flag, attribute] : kShownFlags) {
    stat.attributes_mask |= attribute;
    if (attributes.flags & flag) stat.attributes |= attribute;
  }
  stat.nlink = attributes.links;
  stat.uid = attributes.uid;
  stat.gid = attributes.gid;
  stat.mode = static_cast<std::uint16_t>(attributes.mode);
  stat.ino = attributes.inode;
  stat.size = attributes.size;
  stat.blocks = attributes.blocks;
  stat.atime = statx_time(attributes.accessed);
  stat.btime = statx_time(attributes.born);
  stat.ctime = statx_time(attributes.changed);
  stat.mtime = statx_time(attributes.modified);
  // Attributes.device is the kernel's 32-bit form: 12 bits of major between 8 low and 12 high bits of minor.
  stat.rdev_major = (attributes.device >> 8) & 0xfff;
  stat.rdev_minor = (attributes.device & 0xff) | ((attributes.device >> 12) & 0xfff00);
  return out;
}

}  // namespace worker::fuse
