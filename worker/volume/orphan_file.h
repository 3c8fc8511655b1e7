// The orphan file: slots for the numbers of inodes without a name, on volumes with the orphan_file feature.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "worker/volume/inodes.h"

namespace worker::volume {

/// A hidden file, s_orphan_file_inum, whose blocks are arrays of little-endian 32-bit inode numbers, 0 for a free slot,
/// with a tail of 8 bytes: magic 0x0b10ca04, crc32c over the file's number and generation, the block's number (64 bits)
/// and the slots. An inode in a slot costs no other inode a write, as the orphan list does.
/// Source: kernel Documentation/filesystems/ext4/orphan.rst.
/// Under the mutator lock.
class OrphanFile {
 public:
  explicit OrphanFile(Volume& volume) noexcept : volume_{volume} {}

  /// Reads and checks all blocks that an earlier mount left; until then, and where it fails (EUCLEAN), there are no
  /// slots. Numbers that cannot be orphans are reported as damage and keep their slots. With `adopt` false, nobody in
  /// the file counts as contained.
  Result<void> load(bool adopt);

  /// Puts an inode into a slot; false if none is free.
  Result<bool> add(Operation& operation, InodeNumber inode);
  /// Clears the slot of an inode that is contained.
  Result<void> remove(Operation& operation, InodeNumber inode);
  bool contains(InodeNumber inode) const { return slots_.contains(inode); }
  std::vector<InodeNumber> all() const;

  /// True if no slot is known to hold anything: a file that could not be read may.
  bool empty() const noexcept { return sound_ && used_ == 0; }

 private:
  struct Block {
    BlockNumber home = 0;
    std::uint32_t used = 0;  ///< slots
  };
  struct Slot {
    std::uint32_t block = 0, index = 0;
  };

  Result<Inode> open();
  Result<void> load_block(std::uint32_t index, bool adopt);
  std::uint32_t slots_per_block() const noexcept;
  std::uint32_t checksum(const Block& block, std::span<const std::byte> bytes) const noexcept;
  bool valid(const Block& block, std::span<const std::byte> bytes) const noexcept;
  Result<void> store(Operation& operation, Slot slot, InodeNumber inode);
  void count(std::uint32_t block, int change) noexcept;

  Volume& volume_;
  std::uint32_t generation_ = 0;
  std::vector<Block> blocks_;
  std::unordered_map<InodeNumber, Slot> slots_;
  std::uint32_t used_ = 0;     ///< of all blocks
  std::uint32_t current_ = 0;  ///< the block that had room last
  bool sound_ = true;
};

}  // namespace worker::volume
