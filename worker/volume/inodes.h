// Inodes as stored: reading, writing, times, attributes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "worker/disk/ext2fs.h"
#include "worker/volume/operation.h"

namespace worker::volume {

/// One inode in memory, little-endian fields already in host order (libext2fs swaps). What lies behind the 160 bytes
/// (extended attributes in the inode) stays on the volume when the inode is written back.
struct Inode {
  InodeNumber number = 0;
  ext2_inode_large raw{};

  std::uint32_t mode() const noexcept { return raw.i_mode; }
  bool is_directory() const noexcept { return (raw.i_mode & 0170000) == 0040000; }
  bool is_regular() const noexcept { return (raw.i_mode & 0170000) == 0100000; }
  bool is_symlink() const noexcept { return (raw.i_mode & 0170000) == 0120000; }
  std::uint64_t size() const noexcept;
  void set_size(std::uint64_t bytes) noexcept;
  std::uint32_t uid() const noexcept;
  std::uint32_t gid() const noexcept;
  void set_uid(std::uint32_t uid) noexcept;
  void set_gid(std::uint32_t gid) noexcept;
  std::uint32_t links() const noexcept { return raw.i_links_count; }
  std::uint32_t flags() const noexcept { return raw.i_flags; }
  Timestamp accessed() const noexcept;
  Timestamp modified() const noexcept;
  Timestamp changed() const noexcept;
  Timestamp born() const noexcept;  ///< the epoch where the inode has no room for it
  /// Times are clamped to what the inode can hold: 1901 to 2038, or to 2446 with nanoseconds.
  void set_accessed(Timestamp time) noexcept;
  void set_modified(Timestamp time) noexcept;
  void set_changed(Timestamp time) noexcept;
  void set_born(Timestamp time) noexcept;
  /// Of a block or character special file, as Attributes::device.
  std::uint32_t device() const noexcept;
  void set_device(std::uint32_t device) noexcept;
  /// The target lies in i_block, so that there is no mapping to look at.
  bool is_fast_symlink() const noexcept;

 private:
  bool has_field(std::size_t end) const noexcept;
};

/// Reads and writes inodes of one volume. Under the mutator lock where nothing else is said.
class Inodes {
 public:
  explicit Inodes(Volume& volume);

  /// EUCLEAN on a bad checksum, ESTALE for a number outside the table or an inode never used or already freed.
  Result<Inode> read(InodeNumber number);
  /// The times, the generation and all else as they are in `inode`; i_dtime of an orphan as its list needs it.
  Result<void> write(Operation& operation, const Inode& inode);

  /// Allocates and writes a fresh inode with link count 0: type, owner, mode, flags inherited from `parent`, times now,
  /// an empty mapping (extents where the volume has them), i_extra_isize, a random generation.
  Result<Inode> create(Operation& operation, const Inode& parent, const NewInode& wanted);

  /// Frees an inode without links, blocks, attributes and place on the orphan list.
  Result<void> destroy(Operation& operation, Inode& inode);

  /// Everything stat(2) asks. Any thread, with or without the mutator lock.
  Attributes attributes(const Inode& inode) const;
  Result<Attributes> attributes(InodeNumber number);

  /// SETATTR. Takes its own locks; truncation goes through FileData first and stays if the rest fails. Returns the
  /// attributes afterwards. EPERM for what an immutable or append-only file does not allow.
  Result<Attributes> change(InodeNumber number, const AttributeChange& change);

  /// FS_IOC_SETFLAGS; takes its own locks. EOPNOTSUPP for flags that this volume or we cannot honour.
  Result<void> set_flags(InodeNumber number, std::uint32_t flags);

 private:
  struct Place {
    BlockNumber block = 0;
    std::uint32_t offset = 0;  ///< bytes
  };
  Result<Place> find(InodeNumber number) const;
  Result<Inode> read_stored(InodeNumber number) const;
  std::uint32_t next_generation() noexcept;
  Result<void> apply(Operation& operation, Inode& inode, const AttributeChange& change);

  bool checksum_matches(InodeNumber number, std::span<const std::byte> stored) const noexcept;

  /// Copied from the superblock, whose bytes an operation that fails puts back, so that readers need no lock.
  struct Geometry {
    std::uint32_t inodes, per_group, inode_size, block_size;
    BlockNumber first_block, blocks;
    bool checksums, huge_files;
    std::uint32_t seed;  ///< of checksums
  };

  Volume& volume_;
  const Geometry geometry_;
  std::vector<BlockNumber> tables_;  ///< of each group: where its inode table starts
  std::uint64_t random_;
};

}  // namespace worker::volume
