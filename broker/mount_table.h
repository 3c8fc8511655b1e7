// What /proc/self/mountinfo says.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "broker/text.h"
#include "protocol/result.h"

namespace broker {

/// One line of mountinfo, unescaped.
struct MountEntry {
  std::uint64_t id = 0, parent = 0;
  dev_t device = 0;
  std::string root, mount_point, type, source, options, super_options;

  /// Whether the mount or its superblock is read-only.
  bool read_only() const;
};

protocol::Result<std::vector<MountEntry>> read_mount_table(const char* path = "/proc/self/mountinfo");
/// The parser alone, for tests and fuzzing: lines it does not understand are left out.
std::vector<MountEntry> parse_mount_table(std::string_view text);

}  // namespace broker
