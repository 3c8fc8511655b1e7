// The fields of one inode in memory.
#include <algorithm>
#include <cstddef>

#include "worker/volume/inodes.h"

namespace worker::volume {
namespace {

constexpr std::uint32_t kEpochBits = 2;
constexpr std::uint32_t kEpochMask = (1u << kEpochBits) - 1;
constexpr std::int64_t kEpoch = std::int64_t{1} << 32;
constexpr std::int64_t kEarliest = INT32_MIN;
constexpr std::int64_t kLatestShort = INT32_MAX;
constexpr std::int64_t kLatestExtra = kLatestShort + kEpochMask * kEpoch;

/// Where the optional fields end, from the start of the inode: it has those that i_extra_isize reaches.
constexpr std::size_t kChangedEnd = offsetof(ext2_inode_large, i_mtime_extra);
constexpr std::size_t kModifiedEnd = offsetof(ext2_inode_large, i_atime_extra);
constexpr std::size_t kAccessedEnd = offsetof(ext2_inode_large, i_crtime);
constexpr std::size_t kBornEnd = offsetof(ext2_inode_large, i_crtime_extra);
constexpr std::size_t kBornExtraEnd = offsetof(ext2_inode_large, i_version_hi);

/// A stored time: signed seconds, and where the inode has room 30 bits of nanoseconds above two bits that count 2^32
/// seconds.
Timestamp decode(std::uint32_t seconds, std::uint32_t extra, bool has_extra) noexcept {
  const auto low = static_cast<std::int64_t>(static_cast<std::int32_t>(seconds));
  if (!has_extra) return {low, 0};
  return {low + static_cast<std::int64_t>(extra & kEpochMask) * kEpoch, extra >> kEpochBits};
}

void encode(Timestamp time, std::uint32_t& seconds, std::uint32_t& extra, bool has_extra) noexcept {
  const std::int64_t held = std::clamp(time.seconds, kEarliest, has_extra ? kLatestExtra : kLatestShort);
  const auto low = static_cast<std::int32_t>(static_cast<std::uint32_t>(held));
  seconds = static_cast<std::uint32_t>(low);
  if (!has_extra) return;
  const auto epoch = static_cast<std::uint32_t>((held - low) / kEpoch) & kEpochMask;
  extra = (held == time.seconds ? time.nanoseconds : 0) << kEpochBits | epoch;
}

}  // namespace

bool Inode::has_field(std::size_t end) const noexcept {
  return end <= EXT2_GOOD_OLD_INODE_SIZE + std::size_t{raw.i_extra_isize};
}

std::uint64_t Inode::size() const noexcept {
  return is_regular() || is_directory() ? raw.i_size | std::uint64_t{raw.i_size_high} << 32 : raw.i_size;
}

void Inode::set_size(std::uint64_t bytes) noexcept {
  raw.i_size = static_cast<std::uint32_t>(bytes);
  raw.i_size_high = static_cast<std::uint32_t>(bytes >> 32);
}

std::uint32_t Inode::uid() const noexcept { return raw.i_uid | std::uint32_t{raw.osd2.linux2.l_i_uid_high} << 16; }
std::uint32_t Inode::gid() const noexcept { return raw.i_gid | std::uint32_t{raw.osd2.linux2.l_i_gid_high} << 16; }

void Inode::set_uid(std::uint32_t uid) noexcept {
  raw.i_uid = static_cast<std::uint16_t>(uid);
  raw.osd2.linux2.l_i_uid_high = static_cast<std::uint16_t>(uid >> 16);
}

void Inode::set_gid(std::uint32_t gid) noexcept {
  raw.i_gid = static_cast<std::uint16_t>(gid);
  raw.osd2.linux2.l_i_gid_high = static_cast<std::uint16_t>(gid >> 16);
}

// Old encoding in i_block[0] where both numbers fit into a byte, new encoding in i_block[1] otherwise. A number that
// fits looks the same in both.
std::uint32_t Inode::device() const noexcept { return raw.i_block[0] != 0 ? raw.i_block[0] & 0xffff : raw.i_block[1]; }

void Inode::set_device(std::uint32_t device) noexcept {
  const bool small = device <= 0xffff;
  raw.i_block[0] = small ? device : 0;
  raw.i_block[1] = small ? 0 : device;
}

Timestamp Inode::accessed() const noexcept { return decode(raw.i_atime, raw.i_atime_extra, has_field(kAccessedEnd)); }
Timestamp Inode::modified() const noexcept { return decode(raw.i_mtime, raw.i_mtime_extra, has_field(kModifiedEnd)); }
Timestamp Inode::changed() const noexcept { return decode(raw.i_ctime, raw.i_ctime_extra, has_field(kChangedEnd)); }
Timestamp Inode::born() const noexcept {
  if (!has_field(kBornEnd)) return {};
  return decode(raw.i_crtime, raw.i_crtime_extra, has_field(kBornExtraEnd));
}

void Inode::set_accessed(Timestamp time) noexcept {
  encode(time, raw.i_atime, raw.i_atime_extra, has_field(kAccessedEnd));
}
void Inode::set_modified(Timestamp time) noexcept {
  encode(time, raw.i_mtime, raw.i_mtime_extra, has_field(kModifiedEnd));
}
void Inode::set_changed(Timestamp time) noexcept {
  encode(time, raw.i_ctime, raw.i_ctime_extra, has_field(kChangedEnd));
}
void Inode::set_born(Timestamp time) noexcept {
  if (has_field(kBornEnd)) encode(time, raw.i_crtime, raw.i_crtime_extra, has_field(kBornExtraEnd));
}

bool Inode::is_fast_symlink() const noexcept {
  return is_symlink() && (raw.i_flags & (EXT4_EXTENTS_FL | EXT4_INLINE_DATA_FL)) == 0 &&
         raw.i_size < sizeof raw.i_block;
}

}  // namespace worker::volume
