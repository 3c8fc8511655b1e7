#include "worker/volume/bitmap.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace worker::volume {
namespace {

static_assert(std::endian::native == std::endian::little, "bitmaps are read in words as they lie on the disk");

constexpr std::uint32_t kWordBits = 64;
constexpr std::uint64_t kAll = ~std::uint64_t{0};

std::uint64_t load(std::span<const std::byte> bits, std::uint32_t word) noexcept {
  std::uint64_t value = 0;
  std::memcpy(&value, bits.data() + std::size_t{word} * sizeof value, sizeof value);
  return value;
}

void store(std::span<std::byte> bits, std::uint32_t word, std::uint64_t value) noexcept {
  std::memcpy(bits.data() + std::size_t{word} * sizeof value, &value, sizeof value);
}

/// Bits in use in word `word`, held ones included.
std::uint64_t used(const BitmapView& view, std::uint32_t word) noexcept {
  const std::uint64_t bits = load(view.bits, word);
  return view.held.empty() ? bits : bits | load(view.held, word);
}

/// Ones from bit `first` of a word on, below bit `first + count`.
constexpr std::uint64_t mask(std::uint32_t first, std::uint32_t count) noexcept {
  return (count >= kWordBits ? kAll : (std::uint64_t{1} << count) - 1) << first;
}

/// Calls visit(word, mask) for each word that `run` touches until it returns false; true if it never did.
template <typename Visit>
bool for_each_word(BitRun run, Visit visit) noexcept {
  std::uint32_t position = run.first;
  std::uint32_t left = run.count;
  while (left > 0) {
    const std::uint32_t in_word = position % kWordBits;
    const std::uint32_t here = std::min(left, kWordBits - in_word);
    if (!visit(position / kWordBits, mask(in_word, here))) return false;
    position += here;
    left -= here;
  }
  return true;
}

}  // namespace

std::optional<std::uint32_t> find_free(const BitmapView& view, std::uint32_t from, std::uint32_t to) noexcept {
  to = std::min(to, view.size);
  while (from < to) {
    const std::uint64_t free = ~used(view, from / kWordBits) & (kAll << (from % kWordBits));
    const std::uint32_t word_start = from - from % kWordBits;
    if (free != 0) {
      const auto found = word_start + static_cast<std::uint32_t>(std::countr_zero(free));
      return found < to ? std::optional{found} : std::nullopt;
    }
    from = word_start + kWordBits;
  }
  return std::nullopt;
}

std::uint32_t free_run_at(const BitmapView& view, std::uint32_t from, std::uint32_t limit) noexcept {
  if (from >= view.size) return 0;
  const std::uint32_t end = from + std::min(limit, view.size - from);
  std::uint32_t position = from;
  while (position < end) {
    const std::uint64_t busy = used(view, position / kWordBits) & (kAll << (position % kWordBits));
    const std::uint32_t word_start = position - position % kWordBits;
    if (busy != 0) return std::min(word_start + static_cast<std::uint32_t>(std::countr_zero(busy)), end) - from;
    position = word_start + kWordBits;
  }
  return end - from;
}

BitRun find_free_run(const BitmapView& view, std::uint32_t from, std::uint32_t to, std::uint32_t least,
                     std::uint32_t most) noexcept {
  BitRun longest;
  while (const auto start = find_free(view, from, to)) {
    const BitRun run{*start, free_run_at(view, *start, std::max(least, most))};
    if (run.count >= least) return {run.first, std::min(run.count, most)};
    if (run.count > longest.count) longest = run;
    from = run.first + run.count;
  }
  return {longest.first, std::min(longest.count, most)};
}

std::uint32_t count_free(const BitmapView& view) noexcept {
  std::uint32_t count = 0;
  for_each_word({0, view.size}, [&](std::uint32_t word, std::uint64_t mask) {
    count += static_cast<std::uint32_t>(std::popcount(~used(view, word) & mask));
    return true;
  });
  return count;
}

bool all_set(std::span<const std::byte> bits, BitRun run) noexcept {
  return for_each_word(run, [&](std::uint32_t word, std::uint64_t mask) { return (load(bits, word) & mask) == mask; });
}

bool all_clear(std::span<const std::byte> bits, BitRun run) noexcept {
  return for_each_word(run, [&](std::uint32_t word, std::uint64_t mask) { return (load(bits, word) & mask) == 0; });
}

void set_bits(std::span<std::byte> bits, BitRun run) noexcept {
  for_each_word(run, [&](std::uint32_t word, std::uint64_t mask) {
    store(bits, word, load(bits, word) | mask);
    return true;
  });
}

void clear_bits(std::span<std::byte> bits, BitRun run) noexcept {
  for_each_word(run, [&](std::uint32_t word, std::uint64_t mask) {
    store(bits, word, load(bits, word) & ~mask);
    return true;
  });
}

}  // namespace worker::volume
