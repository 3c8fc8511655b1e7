// Bytes on the wire: big-endian integers and NUL-terminated text, every access bounded.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace protocol {

/// The largest packet either end accepts, bytes.
inline constexpr std::size_t kMaximumPacket = 65536;

/// Appends to a packet. Once something did not fit or could not be expressed it is broken, and stays so.
class Writer {
 public:
  void unsigned16(std::uint16_t value) { big_endian(value, 2); }
  void unsigned32(std::uint32_t value) { big_endian(value, 4); }

  /// The text and its NUL. Text that holds a NUL itself, or whose length is outside the limits, breaks the writer.
  void text(std::string_view value, std::size_t minimum, std::size_t maximum) {
    if (value.size() < minimum || value.size() > maximum || value.find('\0') != value.npos) broken_ = true;
    if (broken_ || !fits(value.size() + 1)) return;
    for (const char c : value) bytes_.push_back(static_cast<std::byte>(c));
    bytes_.push_back(std::byte{0});
  }

  bool broken() const noexcept { return broken_; }
  std::vector<std::byte> take() && { return std::move(bytes_); }

 private:
  bool fits(std::size_t count) noexcept {
    if (count > kMaximumPacket - bytes_.size()) broken_ = true;
    return !broken_;
  }
  void big_endian(std::uint32_t value, unsigned width) {
    if (!fits(width)) return;
    for (unsigned shift = width * 8; shift > 0; shift -= 8)
      bytes_.push_back(static_cast<std::byte>((value >> (shift - 8)) & 0xff));
  }

  std::vector<std::byte> bytes_;
  bool broken_ = false;
};

/// Reads a packet front to back. After the first thing that is missing or out of bounds everything reads as zero or
/// empty, and finished() is false for ever.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) noexcept : rest_{bytes} {}

  std::uint16_t unsigned16() noexcept { return static_cast<std::uint16_t>(big_endian(2)); }
  std::uint32_t unsigned32() noexcept { return big_endian(4); }

  /// Bytes up to the next NUL, which is consumed.
  std::string text(std::size_t minimum, std::size_t maximum) {
    const auto end = std::find(rest_.begin(), rest_.end(), std::byte{0});
    const auto length = static_cast<std::size_t>(end - rest_.begin());
    if (broken_ || end == rest_.end() || length < minimum || length > maximum) {
      broken_ = true;
      return {};
    }
    std::string value(reinterpret_cast<const char*>(rest_.data()), length);
    rest_ = rest_.subspan(length + 1);
    return value;
  }

  /// For a decoder that found a value it refuses.
  void refuse() noexcept { broken_ = true; }

  bool broken() const noexcept { return broken_; }
  /// All bytes were read and every one made sense.
  bool finished() const noexcept { return !broken_ && rest_.empty(); }

 private:
  std::uint32_t big_endian(unsigned width) noexcept {
    if (broken_ || rest_.size() < width) {
      broken_ = true;
      return 0;
    }
    std::uint32_t value = 0;
    for (unsigned i = 0; i < width; ++i) value = value << 8 | std::to_integer<std::uint32_t>(rest_[i]);
    rest_ = rest_.subspan(width);
    return value;
  }

  std::span<const std::byte> rest_;
  bool broken_ = false;
};

}  // namespace protocol
