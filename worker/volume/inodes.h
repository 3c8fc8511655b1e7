// Inodes as stored: reading, writing, times, attributes.
#pragma once

#include "worker/disk/ext2fs.h"
#include "worker/volume/operation.h"

namespace worker::volume {

/// One inode in memory, little-endian fields already in host order (libext2fs swaps). What lies behind the 160 bytes (extended
/// attributes in the inode) stays on the volume when the inode is written back.
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
  void set_accessed(Timestamp time) noexcept;
  void set_modified(Timestamp time) noexcept;
  void set_changed(Timestamp time) noexcept;
};

/// Reads and writes inodes of one volume. Under the mutator lock.
class Inodes {
 public:
  explicit Inodes(Volume& volume) : volume_{volume} {}

  /// EUCLEAN on a bad checksum, ESTALE for a number outside the table or an inode never used or already freed.
  Result<Inode> read(InodeNumber number);
  Result<void> write(Operation& operation, const Inode& inode);

  /// Allocates and writes a fresh inode with link count 0: type, owner, mode, flags inherited from `parent`, times now, an empty
  /// mapping (extents where the volume has them), i_extra_isize, a random generation.
  Result<Inode> create(Operation& operation, const Inode& parent, const NewInode& wanted);

  /// Everything stat(2) asks.
  Attributes attributes(const Inode& inode) const;
  Result<Attributes> attributes(InodeNumber number);

  /// SETATTR; truncation goes through FileData. Returns the attributes afterwards.
  Result<Attributes> change(InodeNumber number, const AttributeChange& change);

  /// FS_IOC_SETFLAGS: EOPNOTSUPP for flags that this volume or we cannot honour.
  Result<void> set_flags(InodeNumber number, std::uint32_t flags);

 private:
  Volume& volume_;
};

}  // namespace worker::volume
