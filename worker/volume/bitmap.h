// Bit operations on allocation bitmaps, a word at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace worker::volume {

/// A run of bits.
struct BitRun {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

/// What is free in one group: bits that are clear in `bits` and, unless that is empty, in `held`. Both are whole blocks
/// with bit 0 the lowest of byte 0; what lies at or behind `size` counts as in use.
struct BitmapView {
  std::span<const std::byte> bits;
  std::span<const std::byte> held = {};
  std::uint32_t size = 0;
};

/// The first free bit in [from, to).
std::optional<std::uint32_t> find_free(const BitmapView& view, std::uint32_t from, std::uint32_t to) noexcept;

/// How many bits from `from` on are free, counted up to `limit`.
std::uint32_t free_run_at(const BitmapView& view, std::uint32_t from, std::uint32_t limit) noexcept;

/// The first run of at least `least` free bits that starts in [from, to), cut to `most`. Where there is none, the
/// longest shorter run (count 0: nothing is free). A run may reach beyond `to`.
BitRun find_free_run(const BitmapView& view, std::uint32_t from, std::uint32_t to, std::uint32_t least,
                     std::uint32_t most) noexcept;

std::uint32_t count_free(const BitmapView& view) noexcept;

bool all_set(std::span<const std::byte> bits, BitRun run) noexcept;
bool all_clear(std::span<const std::byte> bits, BitRun run) noexcept;
void set_bits(std::span<std::byte> bits, BitRun run) noexcept;
void clear_bits(std::span<std::byte> bits, BitRun run) noexcept;

}  // namespace worker::volume
