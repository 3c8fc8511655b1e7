#include "worker/volume/bitmap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace worker::volume {
namespace {

/// The same answers, a bit at a time.
struct Slow {
  std::vector<bool> used;

  explicit Slow(const BitmapView& view) : used(view.size) {
    for (std::uint32_t bit = 0; bit < view.size; ++bit) used[bit] = is_set(view.bits, bit) || is_set(view.held, bit);
  }
  static bool is_set(std::span<const std::byte> bits, std::uint32_t bit) {
    return !bits.empty() && (std::to_integer<unsigned>(bits[bit / 8]) >> bit % 8 & 1) != 0;
  }
  std::uint32_t run_at(std::uint32_t from, std::uint32_t limit) const {
    std::uint32_t count = 0;
    while (from + count < used.size() && count < limit && !used[from + count]) ++count;
    return count;
  }
  BitRun find_run(std::uint32_t from, std::uint32_t to, std::uint32_t least, std::uint32_t most) const {
    BitRun longest;
    for (std::uint32_t bit = from; bit < std::min<std::uint32_t>(to, static_cast<std::uint32_t>(used.size())); ++bit) {
      const std::uint32_t count = run_at(bit, std::max(least, most));
      if (count >= least && count > 0) return {bit, std::min(count, most)};
      if (count > longest.count) longest = {bit, count};
    }
    return {longest.first, std::min(longest.count, most)};
  }
};

TEST(Bitmap, finds_what_a_bit_by_bit_search_finds) {
  std::mt19937 random{7};
  for (int round = 0; round < 400; ++round) {
    std::vector<std::byte> bits(128), held(128);
    // Long runs of either kind, so that whole words of both occur.
    for (std::uint32_t bit = 0; bit < 1024;) {
      const BitRun run{bit, std::min<std::uint32_t>(1024 - bit, 1 + static_cast<std::uint32_t>(random() % 150))};
      if (random() % 2) set_bits(random() % 4 ? bits : held, run);
      bit += run.count;
    }
    const auto size = static_cast<std::uint32_t>(random() % 1024 + 1);
    const BitmapView view{bits, round % 3 ? std::span<const std::byte>{held} : std::span<const std::byte>{}, size};
    const Slow slow{view};
    const auto from = static_cast<std::uint32_t>(random() % size);
    const auto to = static_cast<std::uint32_t>(from + random() % (1025 - from));
    const auto least = static_cast<std::uint32_t>(random() % 100 + 1);
    const auto most = static_cast<std::uint32_t>(least + random() % 100);

    EXPECT_EQ(count_free(view), static_cast<std::uint32_t>(std::ranges::count(slow.used, false)));
    EXPECT_EQ(free_run_at(view, from, most), slow.run_at(from, most));
    const BitRun found = find_free_run(view, from, to, least, most), expected = slow.find_run(from, to, least, most);
    EXPECT_EQ(found.first, expected.first);
    EXPECT_EQ(found.count, expected.count);
  }
}

TEST(Bitmap, sets_and_clears_exactly_the_run) {
  for (std::uint32_t first = 0; first < 130; first += 3) {
    for (std::uint32_t count = 0; count < 140; count += 7) {
      std::vector<std::byte> bits(64);
      const BitRun run{first, count};
      EXPECT_TRUE(all_clear(bits, {0, 512}));
      set_bits(bits, run);
      EXPECT_EQ(count_free({.bits = bits, .size = 512}), 512 - count);
      EXPECT_TRUE(all_set(bits, run));
      EXPECT_EQ(all_clear(bits, run), count == 0);
      EXPECT_FALSE(all_set(bits, {first, count + 1}));
      clear_bits(bits, run);
      EXPECT_TRUE(all_clear(bits, {0, 512}));
    }
  }
}

}  // namespace
}  // namespace worker::volume
