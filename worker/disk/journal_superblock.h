// The journal's own superblock: log block 0.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "protocol/result.h"

namespace worker::disk {

using protocol::Result;

/// Number of a transaction, counted modulo 2^32.
using TransactionId = std::uint32_t;

/// True if `a` is older than `b`, as long as the two are less than 2^31 apart.
constexpr bool precedes(TransactionId a, TransactionId b) noexcept { return static_cast<std::int32_t>(a - b) < 0; }

/// A block of the log: 0 is the journal's superblock.
using LogBlock = std::uint32_t;

/// What every block of the log that describes others begins with.
inline constexpr std::uint32_t kJournalMagic = 0xC03B3998;

/// s_feature_compat.
inline constexpr std::uint32_t kJournalChecksumV1 = 0x1;
/// s_feature_incompat.
inline constexpr std::uint32_t kJournalRevoke = 0x1;
inline constexpr std::uint32_t kJournal64Bit = 0x2;
inline constexpr std::uint32_t kJournalAsyncCommit = 0x4;
inline constexpr std::uint32_t kJournalChecksumV2 = 0x8;
inline constexpr std::uint32_t kJournalChecksumV3 = 0x10;
inline constexpr std::uint32_t kJournalFastCommit = 0x20;

/// Value of s_checksum_type that goes with v2 and v3.
inline constexpr std::uint8_t kJournalCrc32c = 4;

inline constexpr std::size_t kJournalSuperblockSize = 1024;

/// Kernel ext4 refuses logs with fewer blocks, and so do we (JBD2_MIN_JOURNAL_BLOCKS).
inline constexpr std::uint32_t kFewestLogBlocks = 1024;

/// The fields of the journal superblock, in the processor's order. All sizes count file system blocks.
struct JournalSuperblock {
  std::uint32_t version = 2;     ///< 1 has only the fields down to `error`
  std::uint32_t block_size = 0;  ///< bytes; must be the file system's
  std::uint32_t length = 0;      ///< of the log, with this block and the fast-commit area
  LogBlock first = 0;            ///< where transactions may begin: 1 in a journal inode
  TransactionId sequence = 0;    ///< expected at `start`; in an empty log one not used yet
  LogBlock start = 0;            ///< of the oldest transaction that still counts; 0: the log is empty
  std::uint32_t error = 0;       ///< as an abort left it: a positive or negative errno, 0 for none
  std::uint32_t compat = 0, incompat = 0, ro_compat = 0;
  std::array<std::byte, 16> uuid{};
  std::uint32_t users = 1;  ///< file systems that share the journal
  std::uint8_t checksum_type = 0;
  std::uint32_t fast_commit_blocks = 0;  ///< 0 stands for 256
  LogBlock head = 0;                     ///< where the next transaction begins, of an empty log; may be stale

  bool has_compat(std::uint32_t feature) const noexcept { return (compat & feature) != 0; }
  bool has(std::uint32_t feature) const noexcept { return (incompat & feature) != 0; }
  /// v2 or v3: the superblock, descriptors, revoke and commit blocks carry a CRC-32C.
  bool has_block_checksums() const noexcept { return has(kJournalChecksumV2 | kJournalChecksumV3); }

  /// Transactions live in [first, end()): without the fast-commit area while that feature is set. A length that is too
  /// small for the area gives `first`.
  LogBlock end() const noexcept;

  /// From log block 0, at least kJournalSuperblockSize bytes. EUCLEAN where it is none or its checksum is wrong.
  static Result<JournalSuperblock> decode(std::span<const std::byte> block);

  /// Puts the fields, and the checksum if there is to be one, into log block 0; all other bytes stay as they were.
  void encode(std::span<std::byte> block) const noexcept;

  /// Whether a log of these fields in a file of `blocks` blocks of `block_size` bytes can be read: EOPNOTSUPP for
  /// features that nobody knows, EUCLEAN for numbers that cannot be.
  Result<void> check(std::uint32_t block_size, std::uint64_t blocks) const;

  bool operator==(const JournalSuperblock&) const = default;
};

}  // namespace worker::disk
