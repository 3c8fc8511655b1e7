// mountinfo: an unprivileged user chooses mount points and sources, so any bytes may be in it.
#include <cstdint>
#include <cstdlib>

#include "broker/mount_table.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  for (const auto& entry : broker::parse_mount_table({reinterpret_cast<const char*>(data), size})) {
    if (entry.mount_point.empty() || entry.mount_point.size() > size || entry.type.empty()) std::abort();
    (void)entry.read_only();
  }
  return 0;
}
