#include "worker/disk/journal_format.h"

#include <algorithm>

#include "worker/disk/big_endian.h"
#include "worker/disk/crc32c.h"
#include "worker/disk/ext2fs.h"

namespace worker::disk {
namespace {

// All layouts here: kernel Documentation/filesystems/ext4/journal.rst, "Block Header" to "Commit Block".

/// What descriptors, revoke and commit blocks begin with: 12 bytes.
struct DiskHeader {
  Be32 magic;
  Be32 type;
  Be32 tid;
};
static_assert(sizeof(DiskHeader) == 12);

/// A tag without v3 (struct journal_block_tag_s): 8 bytes, 12 with 64bit; v2 adds two bytes of padding at the end.
struct DiskTag {
  Be32 block_low;
  Be16 checksum;  ///< v2: low 16 bits
  Be16 flags;
  Be32 block_high;
};
static_assert(sizeof(DiskTag) == 12);

/// A tag with v3 (struct journal_block_tag3_s), 64bit or not: 16 bytes.
struct DiskTag3 {
  Be32 block_low;
  Be32 flags;
  Be32 block_high;
  Be32 checksum;
};
static_assert(sizeof(DiskTag3) == 16);

/// Follows the first tag of a descriptor: zeros as the kernel writes it; no reader looks.
constexpr std::uint32_t kUuidSize = 16;

/// A revoke block (struct jbd2_journal_revoke_header_s); records of 4 bytes, 8 with 64bit, follow.
struct DiskRevoke {
  DiskHeader header;
  Be32 length;  ///< bytes in use, this header included
};
static_assert(sizeof(DiskRevoke) == 16);

/// A commit block (struct commit_header); the rest is zeros.
struct DiskCommit {
  DiskHeader header;
  std::uint8_t checksum_type;  ///< v1 only
  std::uint8_t checksum_size;  ///< v1 only
  std::uint8_t padding[2];
  Be32 checksums[8];  ///< the first one is used
  Be64 seconds;
  Be32 nanoseconds;
};
static_assert(sizeof(DiskCommit) == 60);

constexpr std::uint8_t kTypeCrc32 = 1;
constexpr std::uint8_t kCrc32Size = 4;

DiskHeader header_of(JournalBlockType type, TransactionId tid) noexcept {
  return {.magic = kJournalMagic, .type = static_cast<std::uint32_t>(type), .tid = tid};
}

std::uint32_t low(BlockNumber block) noexcept { return static_cast<std::uint32_t>(block); }
std::uint32_t high(const JournalLayout& layout, BlockNumber block) noexcept {
  return layout.wide ? static_cast<std::uint32_t>(block >> 32) : 0;
}

std::uint32_t revoke_record_size(const JournalLayout& layout) noexcept { return layout.wide ? 8 : 4; }

/// Over a block whose last four bytes count as zeros.
std::uint32_t tail_checksum(const JournalLayout& layout, std::span<const std::byte> block) noexcept {
  constexpr std::array<std::byte, 4> kNoChecksum{};
  return crc32c(crc32c(layout.seed, block.first(block.size() - kNoChecksum.size())), kNoChecksum);
}

void seal_tail(const JournalLayout& layout, std::span<std::byte> block) noexcept {
  if (layout.block_checksums()) store<Be32>(block, block.size() - layout.tail_size(), tail_checksum(layout, block));
}

/// Over a commit block that consists of this header and the bytes behind it.
std::uint32_t commit_checksum(const JournalLayout& layout, DiskCommit commit,
                              std::span<const std::byte> rest) noexcept {
  commit.checksums[0] = 0;
  return crc32c(crc32c(layout.seed, std::as_bytes(std::span{&commit, 1})), rest);
}

void store_tag(const JournalLayout& layout, const BlockTag& tag, std::uint32_t flags,
               std::span<std::byte> at) noexcept {
  if (layout.checksum == JournalChecksum::v3) {
    store(at, 0, DiskTag3{low(tag.block), flags, high(layout, tag.block), tag.checksum});
    return;
  }
  store(at, 0, Be32{low(tag.block)});
  if (layout.checksum == JournalChecksum::v2)
    store(at, offsetof(DiskTag, checksum), Be16{static_cast<std::uint16_t>(tag.checksum)});
  store(at, offsetof(DiskTag, flags), Be16{static_cast<std::uint16_t>(flags)});
  if (layout.wide) store(at, offsetof(DiskTag, block_high), Be32{high(layout, tag.block)});
}

BlockTag load_tag(const JournalLayout& layout, std::span<const std::byte> at) noexcept {
  BlockTag tag;
  std::uint32_t high = 0;
  if (layout.checksum == JournalChecksum::v3) {
    const auto disk = load<DiskTag3>(at);
    tag = {.block = disk.block_low, .flags = disk.flags, .checksum = disk.checksum};
    high = disk.block_high;
  } else {
    tag.block = load<Be32>(at);
    tag.flags = load<Be16>(at, offsetof(DiskTag, flags));
    if (layout.checksum == JournalChecksum::v2) tag.checksum = load<Be16>(at, offsetof(DiskTag, checksum));
    if (layout.wide) high = load<Be32>(at, offsetof(DiskTag, block_high));
  }
  if (layout.wide) tag.block |= BlockNumber{high} << 32;
  return tag;
}

}  // namespace

std::optional<JournalBlockHeader> decode_header(std::span<const std::byte> block) noexcept {
  const auto header = load<DiskHeader>(block);
  if (header.magic != kJournalMagic) return std::nullopt;
  return JournalBlockHeader{static_cast<JournalBlockType>(std::uint32_t{header.type}), header.tid};
}

JournalLayout JournalLayout::of(const JournalSuperblock& super) noexcept {
  JournalLayout layout;
  layout.block_size = super.block_size;
  layout.wide = super.has(kJournal64Bit);
  if (super.has(kJournalChecksumV3))
    layout.checksum = JournalChecksum::v3;
  else if (super.has(kJournalChecksumV2))
    layout.checksum = JournalChecksum::v2;
  else if (super.has_compat(kJournalChecksumV1))
    layout.checksum = JournalChecksum::v1;
  layout.seed = crc32c(~0U, super.uuid);
  return layout;
}

std::uint32_t JournalLayout::tag_size() const noexcept {
  if (checksum == JournalChecksum::v3) return sizeof(DiskTag3);
  const std::uint32_t plain = wide ? sizeof(DiskTag) : offsetof(DiskTag, block_high);
  return plain + (checksum == JournalChecksum::v2 ? 2 : 0);
}

std::uint32_t JournalLayout::tags_per_descriptor() const noexcept {
  return (block_size - static_cast<std::uint32_t>(sizeof(DiskHeader)) - kUuidSize - tail_size()) / tag_size();
}

std::uint32_t JournalLayout::revokes_per_block() const noexcept {
  return (block_size - static_cast<std::uint32_t>(sizeof(DiskRevoke)) - tail_size()) / revoke_record_size(*this);
}

void encode_descriptor(const JournalLayout& layout, TransactionId tid, std::span<const BlockTag> tags,
                       std::span<std::byte> block) noexcept {
  std::fill(block.begin(), block.end(), std::byte{0});
  store(block, 0, header_of(JournalBlockType::descriptor, tid));
  std::size_t at = sizeof(DiskHeader);
  for (std::size_t i = 0; i < tags.size(); ++i) {
    std::uint32_t flags = tags[i].flags & kTagEscaped;
    if (i > 0) flags |= kTagSameUuid;
    if (i + 1 == tags.size()) flags |= kTagLast;
    store_tag(layout, tags[i], flags, block.subspan(at));
    at += layout.tag_size();
    if (i == 0) at += kUuidSize;
  }
  seal_tail(layout, block);
}

std::vector<BlockTag> decode_descriptor(const JournalLayout& layout, std::span<const std::byte> block) {
  std::vector<BlockTag> tags;
  const std::size_t end = block.size() - layout.tail_size();
  for (std::size_t at = sizeof(DiskHeader); at + layout.tag_size() <= end;) {
    tags.push_back(load_tag(layout, block.subspan(at, layout.tag_size())));
    if ((tags.back().flags & kTagLast) != 0) break;
    at += layout.tag_size() + ((tags.back().flags & kTagSameUuid) != 0 ? 0 : kUuidSize);
  }
  return tags;
}

std::uint32_t tag_checksum(const JournalLayout& layout, TransactionId tid, std::span<const std::byte> copy) noexcept {
  if (!layout.block_checksums()) return 0;
  const Be32 number{tid};
  const std::uint32_t crc = crc32c(crc32c(layout.seed, std::as_bytes(std::span{&number, 1})), copy);
  return layout.checksum == JournalChecksum::v3 ? crc : crc & 0xFFFF;
}

bool needs_escape(std::span<const std::byte> contents) noexcept { return load<Be32>(contents) == kJournalMagic; }
void escape(std::span<std::byte> copy) noexcept { store(copy, 0, Be32{0}); }
void unescape(std::span<std::byte> copy) noexcept { store(copy, 0, Be32{kJournalMagic}); }

void encode_revoke(const JournalLayout& layout, TransactionId tid, std::span<const BlockNumber> revoked,
                   std::span<std::byte> block) noexcept {
  std::fill(block.begin(), block.end(), std::byte{0});
  const std::uint32_t size = revoke_record_size(layout);
  const std::size_t length = sizeof(DiskRevoke) + revoked.size() * size;
  store(block, 0, DiskRevoke{header_of(JournalBlockType::revoke, tid), static_cast<std::uint32_t>(length)});
  for (std::size_t at = sizeof(DiskRevoke); const BlockNumber number : revoked) {
    if (layout.wide)
      store(block, at, Be64{number});
    else
      store(block, at, Be32{low(number)});
    at += size;
  }
  seal_tail(layout, block);
}

Result<std::vector<BlockNumber>> decode_revoke(const JournalLayout& layout, std::span<const std::byte> block) {
  const std::uint32_t size = revoke_record_size(layout);
  const std::size_t length = load<DiskRevoke>(block).length;
  if (length > block.size() - layout.tail_size())
    return protocol::errno_error(EUCLEAN, "a revoke block of the journal is longer than a block");
  std::vector<BlockNumber> revoked;
  for (std::size_t at = sizeof(DiskRevoke); at + size <= length; at += size)
    revoked.push_back(layout.wide ? BlockNumber{load<Be64>(block, at)} : BlockNumber{load<Be32>(block, at)});
  return revoked;
}

bool tail_is_sound(const JournalLayout& layout, std::span<const std::byte> block) noexcept {
  return !layout.block_checksums() ||
         load<Be32>(block, block.size() - layout.tail_size()) == tail_checksum(layout, block);
}

void encode_commit(const JournalLayout& layout, TransactionId tid, CommitTime time, std::uint32_t v1,
                   std::span<std::byte> block) noexcept {
  std::fill(block.begin(), block.end(), std::byte{0});
  DiskCommit commit{};
  commit.header = header_of(JournalBlockType::commit, tid);
  commit.seconds = time.seconds;
  commit.nanoseconds = time.nanoseconds;
  if (layout.checksum == JournalChecksum::v1) {
    commit.checksum_type = kTypeCrc32;
    commit.checksum_size = kCrc32Size;
    commit.checksums[0] = v1;
  } else if (layout.block_checksums()) {
    commit.checksums[0] = commit_checksum(layout, commit, block.subspan(sizeof commit));
  }
  store(block, 0, commit);
}

CommitTime decode_commit_time(std::span<const std::byte> block) noexcept {
  const auto commit = load<DiskCommit>(block);
  return {.seconds = commit.seconds, .nanoseconds = commit.nanoseconds};
}

CommitCheck check_commit(const JournalLayout& layout, std::uint32_t v1, std::span<const std::byte> block) noexcept {
  const auto commit = load<DiskCommit>(block);
  const std::uint32_t stored = commit.checksums[0];
  if (layout.checksum == JournalChecksum::v1) {
    const bool used = commit.checksum_type == kTypeCrc32 && commit.checksum_size == kCrc32Size;
    const bool unused = commit.checksum_type == 0 && commit.checksum_size == 0 && stored == 0;
    return (used && stored == v1) || unused ? CommitCheck::sound : CommitCheck::wrong;
  }
  if (!layout.block_checksums()) return CommitCheck::sound;
  const auto rest = block.subspan(sizeof commit);
  if (stored == commit_checksum(layout, commit, rest)) return CommitCheck::sound;
  static constexpr std::array<std::byte, EXT2_MAX_BLOCK_SIZE> kZeros{};
  const auto zeros = std::span{kZeros}.first(rest.size());
  return stored == commit_checksum(layout, commit, zeros) ? CommitCheck::torn : CommitCheck::wrong;
}

std::uint32_t journal_crc32(std::uint32_t crc, std::span<const std::byte> block) noexcept {
  return ext2fs_crc32_be(crc, reinterpret_cast<const unsigned char*>(block.data()), block.size());
}

}  // namespace worker::disk
