// The words after -o that reach the worker, as a value.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "worker/volume/types.h"

namespace worker::volume {

enum class ErrorPolicy : std::uint8_t { from_superblock, go_on, remount_read_only, panic };

struct MountOptions {
  bool read_only = false;
  bool no_recovery = false;  ///< `norecovery`, `noload`: read-only, a dirty journal is left alone
  bool minix_df = false;     ///< statfs counts metadata overhead as space
  bool acl = true;
  bool user_xattr = true;
  bool sloppy = false;  ///< unknown words are ignored, as mount(8)'s -s asks
  ErrorPolicy errors = ErrorPolicy::from_superblock;
  std::uint32_t commit_seconds = 5;       ///< 0 means the default, as in kernel ext4
  std::uint64_t window_offset = 0;        ///< `offset=`, bytes; 0 when the device handed over is the window itself
  std::uint64_t window_size = 0;          ///< `sizelimit=`, bytes; 0: to the end
  std::vector<std::string> ignored = {};  ///< words accepted without effect, for -v
};

/// Parses a comma list. Fails with EINVAL and the offending word as detail; after the word `sloppy` it ignores such
/// words.
Result<MountOptions> parse_mount_options(std::string_view text);

}  // namespace worker::volume
