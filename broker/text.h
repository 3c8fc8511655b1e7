// Numbers and small files of /proc and /sys.
#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

namespace broker {

/// A number that is all of the text.
template <typename Number>
std::optional<Number> parse_number(std::string_view text, int base = 10) {
  Number number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (failure != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// A whole file of /proc, /sys or the like; empty if it can not be read or is longer than `limit`.
std::string read_small_file(const std::string& path, std::size_t limit = 1 << 16);
/// The number that is the first line of such a file; 0 if there is none.
std::uint64_t read_number_file(const std::string& path);

/// The path that opens what a descriptor of ours has open.
std::string descriptor_path(int descriptor);

}  // namespace broker
