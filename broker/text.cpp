#include "broker/text.h"

#include <fcntl.h>

#include "protocol/unique_fd.h"

namespace broker {

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

std::uint64_t read_number_file(const std::string& path) {
  const std::string text = read_small_file(path);
  return parse_number<std::uint64_t>(std::string_view{text}.substr(0, text.find('\n'))).value_or(0);
}

std::string descriptor_path(int descriptor) { return "/proc/self/fd/" + std::to_string(descriptor); }

}  // namespace broker
