#include "broker/mount_table.h"

#include <sys/sysmacros.h>

#include <optional>

namespace broker {
namespace {

using protocol::Result;

/// mountinfo writes space, tab, newline and backslash as three octal digits.
std::string unescape(std::string_view text) {
  std::string plain;
  const auto octal = [&text](std::size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '7'; };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

std::string_view next_field(std::string_view& line) {
  const auto end = line.find(' ');
  const std::string_view field = line.substr(0, end);
  line = end == line.npos ? std::string_view{} : line.substr(end + 1);
  return field;
}

std::optional<MountEntry> parse_line(std::string_view line) {
  MountEntry entry;
  const auto id = parse_number<std::uint64_t>(next_field(line)), parent = parse_number<std::uint64_t>(next_field(line));
  const std::string_view numbers = next_field(line);
  const auto colon = numbers.find(':');
  if (!id || !parent || colon == numbers.npos) return std::nullopt;
  const auto major = parse_number<unsigned>(numbers.substr(0, colon));
  const auto minor = parse_number<unsigned>(numbers.substr(colon + 1));
  if (!major || !minor) return std::nullopt;
  entry.id = *id;
  entry.parent = *parent;
  entry.device = ::makedev(*major, *minor);
  entry.root = unescape(next_field(line));
  entry.mount_point = unescape(next_field(line));
  entry.options = next_field(line);
  // Optional fields of propagation, as many as there are, up to a lone dash.
  while (!line.empty() && next_field(line) != "-") continue;
  entry.type = unescape(next_field(line));
  entry.source = unescape(next_field(line));
  entry.super_options = next_field(line);
  if (entry.mount_point.empty() || entry.type.empty()) return std::nullopt;
  return entry;
}

bool has_word(std::string_view list, std::string_view word) {
  for (std::size_t start = 0; start <= list.size();) {
    const auto end = std::min(list.find(',', start), list.size());
    if (list.substr(start, end - start) == word) return true;
    start = end + 1;
  }
  return false;
}

}  // namespace

bool MountEntry::read_only() const { return has_word(options, "ro") || has_word(super_options, "ro"); }

std::vector<MountEntry> parse_mount_table(std::string_view text) {
  std::vector<MountEntry> entries;
  while (!text.empty()) {
    const auto end = text.find('\n');
    if (auto entry = parse_line(text.substr(0, end))) entries.push_back(std::move(*entry));
    text = end == text.npos ? std::string_view{} : text.substr(end + 1);
  }
  return entries;
}

Result<std::vector<MountEntry>> read_mount_table(const char* path) {
  const std::string text = read_small_file(path, 64 << 20);
  if (text.empty()) return protocol::errno_error(ENOENT, "cannot read the mount table");
  return parse_mount_table(text);
}

}  // namespace broker
