#include "worker/disk/journal_superblock.h"

#include <cstddef>

#include "worker/disk/big_endian.h"
#include "worker/disk/crc32c.h"

namespace worker::disk {
namespace {

using protocol::errno_error;

constexpr std::uint32_t kTypeVersion1 = 3;
constexpr std::uint32_t kTypeVersion2 = 4;
constexpr std::uint32_t kDefaultFastCommitBlocks = 256;
constexpr std::uint32_t kKnownIncompat =
    kJournalRevoke | kJournal64Bit | kJournalAsyncCommit | kJournalChecksumV2 | kJournalChecksumV3 | kJournalFastCommit;

/// Log block 0, big-endian. Sizes and places count blocks.
/// Source: kernel Documentation/filesystems/ext4/journal.rst, "Super Block" (struct journal_superblock_s).
struct DiskJournalSuperblock {
  Be32 magic;
  Be32 type;  ///< 3 or 4
  Be32 header_sequence;
  Be32 block_size;  ///< bytes
  Be32 length;      ///< s_maxlen
  Be32 first;
  Be32 sequence;
  Be32 start;
  Be32 error;  ///< s_errno; the last field of version 1
  Be32 compat, incompat, ro_compat;
  std::array<std::byte, 16> uuid;
  Be32 users;
  Be32 dynamic_superblock;
  Be32 longest_transaction;
  Be32 most_data;
  std::uint8_t checksum_type;
  std::uint8_t padding2[3];
  Be32 fast_commit_blocks;
  Be32 head;
  Be32 padding[40];
  Be32 checksum;
  std::byte user_ids[16 * 48];
};
static_assert(sizeof(DiskJournalSuperblock) == kJournalSuperblockSize);
static_assert(offsetof(DiskJournalSuperblock, start) == 0x1C && offsetof(DiskJournalSuperblock, uuid) == 0x30);
static_assert(offsetof(DiskJournalSuperblock, checksum_type) == 0x50 && offsetof(DiskJournalSuperblock, head) == 0x58);
static_assert(offsetof(DiskJournalSuperblock, checksum) == 0xFC);

/// Over the whole structure with the field itself zero.
std::uint32_t checksum(DiskJournalSuperblock disk) noexcept {
  disk.checksum = 0;
  return crc32c(~0U, std::as_bytes(std::span{&disk, 1}));
}

}  // namespace

LogBlock JournalSuperblock::end() const noexcept {
  if (!has(kJournalFastCommit)) return length;
  const std::uint32_t area = fast_commit_blocks != 0 ? fast_commit_blocks : kDefaultFastCommitBlocks;
  return length > first && length - first > area ? length - area : first;
}

Result<JournalSuperblock> JournalSuperblock::decode(std::span<const std::byte> block) {
  if (block.size() < kJournalSuperblockSize) return errno_error(EINVAL);
  const auto disk = load<DiskJournalSuperblock>(block);
  if (disk.magic != kJournalMagic || (disk.type != kTypeVersion1 && disk.type != kTypeVersion2))
    return errno_error(EUCLEAN, "the journal's superblock is damaged");
  JournalSuperblock super;
  super.version = disk.type == kTypeVersion1 ? 1 : 2;
  super.block_size = disk.block_size;
  super.length = disk.length;
  super.first = disk.first;
  super.sequence = disk.sequence;
  super.start = disk.start;
  super.error = disk.error;
  if (super.version == 1) return super;
  super.compat = disk.compat;
  super.incompat = disk.incompat;
  super.ro_compat = disk.ro_compat;
  super.uuid = disk.uuid;
  super.users = disk.users;
  super.checksum_type = disk.checksum_type;
  super.fast_commit_blocks = disk.fast_commit_blocks;
  super.head = disk.head;
  if (super.has_block_checksums() && disk.checksum != checksum(disk))
    return errno_error(EUCLEAN, "the journal's superblock has a wrong checksum");
  return super;
}

void JournalSuperblock::encode(std::span<std::byte> block) const noexcept {
  auto disk = load<DiskJournalSuperblock>(block);
  disk.magic = kJournalMagic;
  disk.type = version == 1 ? kTypeVersion1 : kTypeVersion2;
  disk.block_size = block_size;
  disk.length = length;
  disk.first = first;
  disk.sequence = sequence;
  disk.start = start;
  disk.error = error;
  if (version != 1) {
    disk.compat = compat;
    disk.incompat = incompat;
    disk.ro_compat = ro_compat;
    disk.uuid = uuid;
    disk.users = users;
    disk.checksum_type = checksum_type;
    disk.fast_commit_blocks = fast_commit_blocks;
    disk.head = head;
    if (has_block_checksums()) disk.checksum = checksum(disk);
  }
  store(block, 0, disk);
}

Result<void> JournalSuperblock::check(std::uint32_t file_system_block_size, std::uint64_t blocks) const {
  const auto wrong = [](const char* what) { return errno_error(EUCLEAN, std::string{"the journal has "} + what); };
  if (ro_compat != 0 || (incompat & ~kKnownIncompat) != 0)
    return errno_error(EOPNOTSUPP, "the journal has features that are not known");
  if (users > 1) return errno_error(EOPNOTSUPP, "the journal is shared between file systems");
  const int kinds =
      (has_compat(kJournalChecksumV1) ? 1 : 0) + (has(kJournalChecksumV2) ? 1 : 0) + (has(kJournalChecksumV3) ? 1 : 0);
  if (kinds > 1) return wrong("more than one kind of checksum");
  if (has_block_checksums() && checksum_type != kJournalCrc32c) return wrong("an unknown checksum");
  if (block_size != file_system_block_size) return wrong("another block size than the volume");
  if (length > blocks) return wrong("a length beyond its file's end");
  if (first == 0 || first >= length || end() - first + 1 < kFewestLogBlocks) return wrong("an impossible length");
  if (start != 0 && (start < first || start >= end())) return wrong("a start outside of its log");
  return {};
}

}  // namespace worker::disk
