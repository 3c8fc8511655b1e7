// Packets written as people read them: hex digits, and text in quotes that may end in \0.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace support {

/// "4e414d45 'hello' 00" becomes bytes; white space separates.
inline std::vector<std::byte> bytes(std::string_view text) {
  std::vector<std::byte> result;
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == ' ' || text[i] == '\n') {
      ++i;
    } else if (text[i] == '\'') {
      for (++i; text[i] != '\''; ++i) result.push_back(static_cast<std::byte>(text[i]));
      ++i;
    } else {
      result.push_back(static_cast<std::byte>(digit(text[i]) << 4 | digit(text[i + 1])));
      i += 2;
    }
  }
  return result;
}

}  // namespace support
