// Numbers as the journal stores them: most significant byte first, at any address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace worker::disk {

/// An unsigned number of sizeof(Number) bytes, big-endian, without alignment.
template <typename Number>
class BigEndian {
 public:
  constexpr BigEndian() = default;
  constexpr BigEndian(Number number) noexcept {
    for (std::size_t i = sizeof bytes_; i > 0; --i, number = static_cast<Number>(std::uint64_t{number} >> 8))
      bytes_[i - 1] = static_cast<std::uint8_t>(number);
  }
  constexpr operator Number() const noexcept {
    std::uint64_t number = 0;
    for (const std::uint8_t byte : bytes_) number = number << 8 | byte;
    return static_cast<Number>(number);
  }

 private:
  std::uint8_t bytes_[sizeof(Number)] = {};
};

using Be16 = BigEndian<std::uint16_t>;
using Be32 = BigEndian<std::uint32_t>;
using Be64 = BigEndian<std::uint64_t>;
static_assert(sizeof(Be64) == 8 && alignof(Be64) == 1 && std::is_trivially_copyable_v<Be64>);

/// A structure of such numbers out of a block and into it. The caller has made sure that it fits.
template <typename Layout>
Layout load(std::span<const std::byte> block, std::size_t offset = 0) noexcept {
  Layout layout;
  std::memcpy(&layout, block.data() + offset, sizeof layout);
  return layout;
}

template <typename Layout>
void store(std::span<std::byte> block, std::size_t offset, const Layout& layout) noexcept {
  std::memcpy(block.data() + offset, &layout, sizeof layout);
}

}  // namespace worker::disk
