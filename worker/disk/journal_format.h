// How transactions lie in the blocks of a log: descriptors, revoke blocks, commit blocks. Pure; no I/O.
#pragma once

#include <compare>
#include <optional>
#include <span>
#include <vector>

#include "worker/disk/block_cache.h"
#include "worker/disk/journal_superblock.h"

namespace worker::disk {

/// The first word of a header after the magic.
enum class JournalBlockType : std::uint32_t {
  descriptor = 1,
  commit = 2,
  superblock1 = 3,
  superblock2 = 4,
  revoke = 5
};

/// Of a block that begins like one of the journal's own. The type can be anything.
struct JournalBlockHeader {
  JournalBlockType type;
  TransactionId tid;
};
/// Empty for any block that does not begin with the magic. Blocks are always layout.block_size bytes long, here and in
/// all that follows.
std::optional<JournalBlockHeader> decode_header(std::span<const std::byte> block) noexcept;

enum class JournalChecksum : std::uint8_t { none, v1, v2, v3 };

/// How a log of certain features is laid out.
struct JournalLayout {
  std::uint32_t block_size = 0;
  bool wide = false;  ///< 64bit: block numbers above 2^32 have a place
  JournalChecksum checksum = JournalChecksum::none;
  std::uint32_t seed = 0;  ///< what every CRC-32C begins with, from the UUID

  static JournalLayout of(const JournalSuperblock& super) noexcept;

  /// v2 or v3.
  bool block_checksums() const noexcept { return checksum >= JournalChecksum::v2; }
  std::uint32_t tag_size() const noexcept;  ///< bytes
  /// Bytes at the end of descriptors and revoke blocks that hold their checksum.
  std::uint32_t tail_size() const noexcept { return block_checksums() ? 4 : 0; }
  std::uint32_t tags_per_descriptor() const noexcept;
  std::uint32_t revokes_per_block() const noexcept;
};

/// t_flags.
inline constexpr std::uint32_t kTagEscaped = 1;   ///< the copy has zeros where the contents have the magic
inline constexpr std::uint32_t kTagSameUuid = 2;  ///< no UUID follows the tag
inline constexpr std::uint32_t kTagDeleted = 4;
inline constexpr std::uint32_t kTagLast = 8;

/// Says of the block of the log that follows whose new contents it holds.
struct BlockTag {
  BlockNumber block = 0;  ///< at home, on the volume
  std::uint32_t flags = 0;
  std::uint32_t checksum = 0;  ///< tag_checksum() of the copy
  bool operator==(const BlockTag&) const = default;
};

/// Fills a block with 1 to tags_per_descriptor() tags. Of their flags only kTagEscaped counts, the others follow from
/// the place.
void encode_descriptor(const JournalLayout& layout, TransactionId tid, std::span<const BlockTag> tags,
                       std::span<std::byte> block) noexcept;
/// The tags up to the last one, or as many as fit where none says that it is. Whether the tail is right is not asked.
std::vector<BlockTag> decode_descriptor(const JournalLayout& layout, std::span<const std::byte> block);

/// For a tag: over the block as it lies in the log, that is escaped. 0 without v2 and v3; v2 keeps 16 bits.
std::uint32_t tag_checksum(const JournalLayout& layout, TransactionId tid, std::span<const std::byte> copy) noexcept;

/// Contents that begin with the magic must not be taken for a block of the journal's own: their copy in the log has
/// zeros there.
bool needs_escape(std::span<const std::byte> contents) noexcept;
void escape(std::span<std::byte> copy) noexcept;
void unescape(std::span<std::byte> copy) noexcept;

/// Fills a block with up to revokes_per_block() block numbers whose copies of this and of former transactions do not
/// count.
void encode_revoke(const JournalLayout& layout, TransactionId tid, std::span<const BlockNumber> revoked,
                   std::span<std::byte> block) noexcept;
/// EUCLEAN where the length cannot be.
Result<std::vector<BlockNumber>> decode_revoke(const JournalLayout& layout, std::span<const std::byte> block);

/// Of a descriptor or revoke block. True where blocks have no checksum.
bool tail_is_sound(const JournalLayout& layout, std::span<const std::byte> block) noexcept;

/// Since the epoch.
struct CommitTime {
  std::uint64_t seconds = 0;
  std::uint32_t nanoseconds = 0;
  auto operator<=>(const CommitTime&) const = default;
};

/// Fills a block that ends a transaction. `v1`, the journal_crc32() of descriptors and copies, counts in that layout
/// only.
void encode_commit(const JournalLayout& layout, TransactionId tid, CommitTime time, std::uint32_t v1,
                   std::span<std::byte> block) noexcept;
CommitTime decode_commit_time(std::span<const std::byte> block) noexcept;

/// What a commit block's checksum says. `torn`: its beginning is right, what should be zeros behind is not, as when the
/// power failed between two sectors of it; the transaction is complete.
enum class CommitCheck : std::uint8_t { sound, torn, wrong };
CommitCheck check_commit(const JournalLayout& layout, std::uint32_t v1, std::span<const std::byte> block) noexcept;

/// v1: continues over one more descriptor or copy, in the order of the log; a transaction begins with ~0.
std::uint32_t journal_crc32(std::uint32_t crc, std::span<const std::byte> block) noexcept;

}  // namespace worker::disk
