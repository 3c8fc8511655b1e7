#include "worker/volume/directory_block.h"

#include <algorithm>

#include "worker/disk/crc32c.h"

namespace worker::volume {
namespace {

constexpr std::uint32_t kNameLengthOffset = 6;
constexpr std::uint32_t kTypeOffset = 7;
constexpr std::uint32_t kSmallestRecord = DirectoryFormat::space_for(1);
constexpr std::uint8_t kTailType = 0xDE;  // marks the unused entry that carries the checksum

std::string_view name_at(std::span<const std::byte> block, std::uint32_t offset, std::uint32_t length) noexcept {
  return {reinterpret_cast<const char*>(block.data()) + offset + DirectoryFormat::kHeader, length};
}

std::uint8_t byte_at(std::span<const std::byte> block, std::uint32_t offset) noexcept {
  return std::to_integer<std::uint8_t>(block[offset]);
}

}  // namespace

std::uint32_t DirectoryFormat::decode_length(std::uint16_t stored) const noexcept {
  if (block_size < 65536) return stored;
  if (stored == 65535 || stored == 0) return block_size;
  return (stored & 65532U) | ((stored & 3U) << 16);
}

std::uint16_t DirectoryFormat::encode_length(std::uint32_t length) const noexcept {
  return static_cast<std::uint16_t>(length < 65536 ? length : 65535);
}

bool EntryWalk::next() noexcept {
  offset += length;
  if (corrupt_ || offset == end_) return false;
  corrupt_ = true;
  if (end_ - offset < kSmallestRecord) return false;
  length = format_.decode_length(load16(block_, offset + 4));
  if (length < kSmallestRecord || length % 4 != 0 || length > end_ - offset) return false;
  inode = load32(block_, offset);
  if (inode > format_.inode_count) return false;
  // Without types the name length has 16 bits on the disk, but no name is longer than 255.
  const std::uint32_t name_length = inode == 0 ? 0 : byte_at(block_, offset + kNameLengthOffset);
  if (DirectoryFormat::space_for(name_length) > length || (inode != 0 && name_length == 0)) return false;
  type = format_.types ? byte_at(block_, offset + kTypeOffset) : 0;
  name = name_at(block_, offset, name_length);
  corrupt_ = false;
  return true;
}

BlockSearch find_entry(const DirectoryFormat& format, std::span<const std::byte> block, std::uint32_t end,
                       std::string_view name, FoundEntry& found) noexcept {
  EntryWalk walk{format, block, end};
  std::optional<std::uint32_t> previous;
  while (walk.next()) {
    if (walk.used() && walk.name == name) {
      found = {walk.offset, previous, walk.inode, walk.type};
      return BlockSearch::found;
    }
    previous = walk.offset;
  }
  return walk.corrupt() ? BlockSearch::corrupt : BlockSearch::missing;
}

BlockSearch find_room(const DirectoryFormat& format, std::span<const std::byte> block, std::uint32_t end,
                      std::uint32_t space, std::uint32_t& offset) noexcept {
  EntryWalk walk{format, block, end};
  while (walk.next()) {
    if (walk.slack() >= space) {
      offset = walk.offset;
      return BlockSearch::found;
    }
  }
  return walk.corrupt() ? BlockSearch::corrupt : BlockSearch::missing;
}

void write_entry(const DirectoryFormat& format, std::span<std::byte> block, std::uint32_t offset, std::uint32_t length,
                 std::string_view name, std::uint32_t inode, std::uint8_t type) noexcept {
  store32(block, offset, inode);
  store16(block, offset + 4, format.encode_length(length));
  block[offset + kNameLengthOffset] = static_cast<std::byte>(name.size());
  block[offset + kTypeOffset] = static_cast<std::byte>(format.types ? type : 0);
  std::memcpy(block.data() + offset + DirectoryFormat::kHeader, name.data(), name.size());
  const std::uint32_t end = DirectoryFormat::kHeader + static_cast<std::uint32_t>(name.size());
  std::memset(block.data() + offset + end, 0, DirectoryFormat::space_for(name.size()) - end);
}

void place_entry(const DirectoryFormat& format, std::span<std::byte> block, std::uint32_t offset, std::string_view name,
                 std::uint32_t inode, std::uint8_t type) noexcept {
  std::uint32_t length = format.decode_length(load16(block, offset + 4));
  if (load32(block, offset) != 0) {
    const std::uint32_t kept = DirectoryFormat::space_for(byte_at(block, offset + kNameLengthOffset));
    store16(block, offset + 4, format.encode_length(kept));
    offset += kept;
    length -= kept;
  }
  write_entry(format, block, offset, length, name, inode, type);
}

void remove_entry(const DirectoryFormat& format, std::span<std::byte> block, const FoundEntry& entry) noexcept {
  const std::uint32_t length = format.decode_length(load16(block, entry.offset + 4));
  const std::uint32_t used = DirectoryFormat::space_for(byte_at(block, entry.offset + kNameLengthOffset));
  std::memset(block.data() + entry.offset, 0, used);
  if (entry.previous) {
    const std::uint32_t before = format.decode_length(load16(block, *entry.previous + 4));
    store16(block, *entry.previous + 4, format.encode_length(before + length));
  } else {
    store16(block, entry.offset + 4, format.encode_length(length));
  }
}

void set_target(const DirectoryFormat& format, std::span<std::byte> block, std::uint32_t offset, std::uint32_t inode,
                std::uint8_t type) noexcept {
  store32(block, offset, inode);
  if (format.types) block[offset + kTypeOffset] = std::byte{type};
}

LeafWriter::LeafWriter(const DirectoryFormat& format, std::span<std::byte> block) noexcept
    : format_{format}, block_{block} {
  std::fill(block.begin(), block.end(), std::byte{0});
}

void LeafWriter::add(std::string_view name, std::uint32_t inode, std::uint8_t type) noexcept {
  const std::uint32_t space = DirectoryFormat::space_for(name.size());
  write_entry(format_, block_, end_, space, name, inode, type);
  last_ = end_;
  end_ += space;
}

void LeafWriter::finish() noexcept {
  const std::uint32_t last = last_.value_or(0);
  store16(block_, last + 4, format_.encode_length(format_.leaf_end() - last));
  seal_leaf(format_, block_);
}

bool has_tail(const DirectoryFormat& format, std::span<const std::byte> block) noexcept {
  if (!format.checksums) return true;
  const std::uint32_t tail = format.leaf_end();
  return load32(block, tail) == 0 && load16(block, tail + 4) == DirectoryFormat::kTail &&
         byte_at(block, tail + kNameLengthOffset) == 0 && byte_at(block, tail + kTypeOffset) == kTailType;
}

bool leaf_is_sound(const DirectoryFormat& format, std::span<const std::byte> block) noexcept {
  if (!format.checksums) return true;
  const std::uint32_t tail = format.leaf_end();
  return has_tail(format, block) && load32(block, tail + 8) == checksum(format.seed, block.first(tail));
}

void seal_leaf(const DirectoryFormat& format, std::span<std::byte> block) noexcept {
  if (!format.checksums) return;
  const std::uint32_t tail = format.leaf_end();
  store32(block, tail, 0);
  store16(block, tail + 4, DirectoryFormat::kTail);
  block[tail + kNameLengthOffset] = std::byte{0};
  block[tail + kTypeOffset] = std::byte{kTailType};
  store32(block, tail + 8, checksum(format.seed, block.first(tail)));
}

std::uint32_t checksum(std::uint32_t seed, std::span<const std::byte> bytes) noexcept {
  return disk::crc32c(seed, bytes);
}

}  // namespace worker::volume
