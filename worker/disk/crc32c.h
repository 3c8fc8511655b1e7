// CRC-32C at the processor's speed, for us and for libext2fs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace worker::disk {

/// Continues the Castagnoli CRC `crc` over `bytes`, least significant bit first, without inversion before or after: as
/// ext4 stores it. Uses the processor's instruction where there is one. The library's exported ext2fs_crc32c_le is this
/// function in every program that links this file, so that its own checksums gain too.
std::uint32_t crc32c(std::uint32_t crc, std::span<const std::byte> bytes) noexcept;

/// The same by table, on any processor.
std::uint32_t crc32c_by_table(std::uint32_t crc, std::span<const std::byte> bytes) noexcept;

}  // namespace worker::disk
