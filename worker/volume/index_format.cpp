#include "worker/volume/index_format.h"

#include <algorithm>
#include <array>

namespace worker::volume {
namespace {

// Within the root's information.
constexpr std::uint32_t kHashVersion = kRootInfo + 4;
constexpr std::uint32_t kInfoLength = kRootInfo + 5;
constexpr std::uint32_t kLevels = kRootInfo + 6;
constexpr std::uint32_t kFlags = kRootInfo + 7;
constexpr std::uint8_t kUnknownFlag = 1;  // the kernel refuses an index that has it

std::uint8_t byte_at(std::span<const std::byte> block, std::uint32_t offset) noexcept {
  return std::to_integer<std::uint8_t>(block[offset]);
}

std::uint32_t index_checksum(const DirectoryFormat& format, std::span<const std::byte> block,
                             std::uint32_t pairs) noexcept {
  const std::uint32_t limit = pairs_that_fit(format, pairs);
  const std::uint32_t used = pairs + std::min<std::uint32_t>(load16(block, pairs + 2), limit) * kPairSize;
  const std::uint32_t tail = pairs + limit * kPairSize;
  constexpr std::array<std::byte, 4> kNoChecksum{};
  const std::uint32_t over_pairs = checksum(format.seed, block.first(used));
  return checksum(checksum(over_pairs, block.subspan(tail, 4)), kNoChecksum);
}

}  // namespace

RootInfo load_root_info(std::span<const std::byte> root) noexcept {
  return {.hash_version = byte_at(root, kHashVersion), .levels = byte_at(root, kLevels)};
}

void store_root_info(std::span<std::byte> root, RootInfo info) noexcept {
  store32(root, kRootInfo, 0);
  root[kHashVersion] = std::byte{info.hash_version};
  root[kInfoLength] = std::byte{kRootInfoLength};
  root[kLevels] = std::byte{info.levels};
  root[kFlags] = std::byte{0};
}

bool root_has_right_shape(const DirectoryFormat& format, std::span<const std::byte> root) noexcept {
  EntryWalk walk{format, root, format.block_size};
  return walk.next() && walk.used() && walk.name == "." && walk.length == kDotLength &&  //
         walk.next() && walk.used() && walk.name == ".." && walk.length == format.block_size - kDotLength &&
         load32(root, kRootInfo) == 0 && byte_at(root, kInfoLength) == kRootInfoLength &&
         (byte_at(root, kFlags) & kUnknownFlag) == 0;
}

bool node_has_right_shape(const DirectoryFormat& format, std::span<const std::byte> node) noexcept {
  return load32(node, 0) == 0 && format.decode_length(load16(node, 4)) == format.block_size;
}

std::uint32_t pairs_that_fit(const DirectoryFormat& format, std::uint32_t pairs) noexcept {
  return (format.block_size - pairs) / kPairSize - (format.checksums ? 1 : 0);
}

bool index_is_sound(const DirectoryFormat& format, std::span<const std::byte> block, std::uint32_t pairs) noexcept {
  if (!format.checksums) return true;
  const std::uint32_t tail = pairs + pairs_that_fit(format, pairs) * kPairSize;
  return load32(block, tail + 4) == index_checksum(format, block, pairs);
}

void seal_index(const DirectoryFormat& format, std::span<std::byte> block, std::uint32_t pairs) noexcept {
  if (!format.checksums) return;
  const std::uint32_t tail = pairs + pairs_that_fit(format, pairs) * kPairSize;
  store32(block, tail + 4, index_checksum(format, block, pairs));
}

void start_node(const DirectoryFormat& format, std::span<std::byte> block) noexcept {
  store32(block, 0, 0);
  store16(block, 4, format.encode_length(format.block_size));
  store16(block, 6, 0);
  store16(block, kNodePairs, static_cast<std::uint16_t>(pairs_that_fit(format, kNodePairs)));
  store16(block, kNodePairs + 2, 0);
}

void set_count(std::span<std::byte> block, std::uint32_t pairs, std::uint32_t count) noexcept {
  store16(block, pairs + 2, static_cast<std::uint16_t>(count));
}

}  // namespace worker::volume
