// How the root and the nodes of a directory's hash tree lie in their blocks.
#pragma once

#include "worker/volume/directory_block.h"

namespace worker::volume {

/// The root block begins like a directory's first block: "." in 12 bytes, then ".." with the rest of the block as its
/// record. Behind the name of ".." comes the root's information at byte 24 (reserved zeros, hash version, length of
/// the information, levels, flags), then the pairs. Any other node looks like one unused record, and pairs begin behind
/// its header. With metadata_csum the space of the last pair holds the checksum.
inline constexpr std::uint32_t kDotLength = 12;
inline constexpr std::uint32_t kRootInfo = 24;
inline constexpr std::uint32_t kRootInfoLength = 8;
inline constexpr std::uint32_t kRootPairs = kRootInfo + kRootInfoLength;
inline constexpr std::uint32_t kNodePairs = 8;
inline constexpr std::uint32_t kPairSize = 8;
inline constexpr std::uint32_t kChildMask = 0x0FFFFFFF;

struct RootInfo {
  std::uint8_t hash_version = 0;
  std::uint8_t levels = 0;
};
RootInfo load_root_info(std::span<const std::byte> root) noexcept;
void store_root_info(std::span<std::byte> root, RootInfo info) noexcept;

/// What does not depend on the pairs.
bool root_has_right_shape(const DirectoryFormat& format, std::span<const std::byte> root) noexcept;
bool node_has_right_shape(const DirectoryFormat& format, std::span<const std::byte> node) noexcept;

/// The limit that a node whose pairs begin at `pairs` must have.
std::uint32_t pairs_that_fit(const DirectoryFormat& format, std::uint32_t pairs) noexcept;

bool index_is_sound(const DirectoryFormat& format, std::span<const std::byte> block, std::uint32_t pairs) noexcept;
/// Writes the checksum after a change; does nothing without metadata_csum.
void seal_index(const DirectoryFormat& format, std::span<std::byte> block, std::uint32_t pairs) noexcept;

/// Makes an empty block a node without pairs.
void start_node(const DirectoryFormat& format, std::span<std::byte> block) noexcept;
void set_count(std::span<std::byte> block, std::uint32_t pairs, std::uint32_t count) noexcept;

}  // namespace worker::volume
