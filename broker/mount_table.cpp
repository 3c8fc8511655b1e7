#include "broker/mount_table.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <charconv>
#include <optional>

#include "protocol/unique_fd.h"

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

template <typename Number>
bool read_number(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size();
}

std::optional<MountEntry> parse_line(std::string_view line) {
  MountEntry entry;
  if (!read_number(next_field(line), entry.id) || !read_number(next_field(line), entry.parent)) return std::nullopt;
  const std::string_view numbers = next_field(line);
  const auto colon = numbers.find(':');
  unsigned major = 0, minor = 0;
  if (colon == numbers.npos || !read_number(numbers.substr(0, colon), major) ||
      !read_number(numbers.substr(colon + 1), minor))
    return std::nullopt;
  entry.device = ::makedev(major, minor);
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

std::string read_small_file(const std::string& path, std::size_t limit) {
  const protocol::UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)};
  std::string text;
  char part[4096];
  for (ssize_t got; file && (got = ::read(file.get(), part, sizeof part)) != 0;) {
    if (got < 0 || text.size() + static_cast<std::size_t>(got) > limit) return {};
    text.append(part, static_cast<std::size_t>(got));
  }
  return text;
}

}  // namespace broker
