// One block of directory entries: walking, finding, inserting, removing, checksums.
#pragma once

#include <endian.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

namespace worker::volume {

inline std::uint16_t load16(std::span<const std::byte> bytes, std::size_t offset) noexcept {
  std::uint16_t value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return le16toh(value);
}
inline std::uint32_t load32(std::span<const std::byte> bytes, std::size_t offset) noexcept {
  std::uint32_t value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return le32toh(value);
}
inline void store16(std::span<std::byte> bytes, std::size_t offset, std::uint16_t value) noexcept {
  value = htole16(value);
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}
inline void store32(std::span<std::byte> bytes, std::size_t offset, std::uint32_t value) noexcept {
  value = htole32(value);
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

/// What all blocks of one directory have in common. On the disk an entry is: inode (32 bits), record length (16), name
/// length (8, or 16 where no types are stored), type (8), name; records are multiples of 4 bytes and fill the block.
/// With metadata_csum the last 12 bytes look like an unused entry and carry a checksum.
struct DirectoryFormat {
  std::uint32_t block_size = 0;   ///< bytes, 1024 to 65536
  std::uint32_t inode_count = 0;  ///< of the volume
  std::uint32_t seed = 0;         ///< of this directory's checksums
  bool checksums = false;
  bool types = false;

  static constexpr std::uint32_t kHeader = 8;
  static constexpr std::uint32_t kTail = 12;

  /// Where the entries of a leaf block end.
  std::uint32_t leaf_end() const noexcept { return block_size - (checksums ? kTail : 0); }

  /// Bytes that an entry with such a name needs.
  static constexpr std::uint32_t space_for(std::size_t name_length) noexcept {
    return (kHeader + static_cast<std::uint32_t>(name_length) + 3) & ~3U;
  }

  /// Record lengths up to 65536 in 16 bits.
  std::uint32_t decode_length(std::uint16_t stored) const noexcept;
  std::uint16_t encode_length(std::uint32_t length) const noexcept;
};

/// Goes through the records of a block, used and unused ones, in their order. Stops for good at the first bad one.
class EntryWalk {
 public:
  EntryWalk(const DirectoryFormat& format, std::span<const std::byte> block, std::uint32_t end) noexcept
      : format_{format}, block_{block}, end_{end} {}

  /// False at the end, and when the next record cannot be right.
  bool next() noexcept;
  bool corrupt() const noexcept { return corrupt_; }

  bool used() const noexcept { return inode != 0; }
  /// Bytes behind the name, or all of an unused record.
  std::uint32_t slack() const noexcept { return used() ? length - DirectoryFormat::space_for(name.size()) : length; }

  std::uint32_t offset = 0;  ///< of the record in the block
  std::uint32_t length = 0;
  std::uint32_t inode = 0;
  std::uint8_t type = 0;
  std::string_view name;

 private:
  const DirectoryFormat& format_;
  std::span<const std::byte> block_;
  std::uint32_t end_;
  bool corrupt_ = false;
};

/// An entry that was found, and the record before it, into which it is merged when it is removed.
struct FoundEntry {
  std::uint32_t offset = 0;
  std::optional<std::uint32_t> previous;
  std::uint32_t inode = 0;
  std::uint8_t type = 0;
};

enum class BlockSearch : std::uint8_t { found, missing, corrupt };

BlockSearch find_entry(const DirectoryFormat& format, std::span<const std::byte> block, std::uint32_t end,
                       std::string_view name, FoundEntry& found) noexcept;

/// The record that has `space` bytes to give.
BlockSearch find_room(const DirectoryFormat& format, std::span<const std::byte> block, std::uint32_t end,
                      std::uint32_t space, std::uint32_t& offset) noexcept;

/// Puts an entry into the room that find_room() found in the same contents.
void place_entry(const DirectoryFormat& format, std::span<std::byte> block, std::uint32_t offset, std::string_view name,
                 std::uint32_t inode, std::uint8_t type) noexcept;

/// Removes what find_entry() found in the same contents; its bytes are wiped.
void remove_entry(const DirectoryFormat& format, std::span<std::byte> block, const FoundEntry& entry) noexcept;

/// Points the entry at `offset` to another inode.
void set_target(const DirectoryFormat& format, std::span<std::byte> block, std::uint32_t offset, std::uint32_t inode,
                std::uint8_t type) noexcept;

/// Writes one whole record.
void write_entry(const DirectoryFormat& format, std::span<std::byte> block, std::uint32_t offset, std::uint32_t length,
                 std::string_view name, std::uint32_t inode, std::uint8_t type) noexcept;

/// Fills a leaf block from the start, densely.
class LeafWriter {
 public:
  LeafWriter(const DirectoryFormat& format, std::span<std::byte> block) noexcept;
  /// The sum of space_for() of all names must not exceed leaf_end().
  void add(std::string_view name, std::uint32_t inode, std::uint8_t type) noexcept;
  /// Gives the rest of the block to the last record and writes the checksum.
  void finish() noexcept;

 private:
  const DirectoryFormat& format_;
  std::span<std::byte> block_;
  std::uint32_t end_ = 0;
  std::optional<std::uint32_t> last_;
};

/// Whether a leaf ends in what a checksum needs, and whether the checksum is right. Both true without metadata_csum.
bool has_tail(const DirectoryFormat& format, std::span<const std::byte> block) noexcept;
bool leaf_is_sound(const DirectoryFormat& format, std::span<const std::byte> block) noexcept;
/// Writes tail and checksum after a change; does nothing without metadata_csum.
void seal_leaf(const DirectoryFormat& format, std::span<std::byte> block) noexcept;

/// crc32c as ext4 chains it.
std::uint32_t checksum(std::uint32_t seed, std::span<const std::byte> bytes) noexcept;

}  // namespace worker::volume
