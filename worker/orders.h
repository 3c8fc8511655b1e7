// What the broker's argument file asks of this worker, as a value.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "protocol/result.h"

namespace worker {

using protocol::Error;
using protocol::Result;

struct Orders {
  std::string type;               ///< "ext4", "ext3", "ext2"
  std::string source;             ///< to be asked for by exactly these bytes
  std::string mount_point;        ///< likewise
  std::string options;            ///< the whole comma list, judged later by volume::parse_mount_options
  bool read_only = false;         ///< the last of `ro`, `rw` was ro
  bool must_write = false;        ///< `rw` was said: no falling back to read-only
  std::uint32_t mount_flags = 0;  ///< MS_* that the words ask for; nosuid and nodev unless suid and dev were said
  std::string table_options;      ///< x-* words, for the mount table
};

/// Reads arguments: the type, then in any order SOURCE, MOUNTPOINT, `-o LIST` (repeatable, glued or not), `-r`, `-w`
/// and mount(8)'s switches without meaning here (-n, -s, -v, -f). EINVAL and a line that says what is wrong otherwise.
Result<Orders> parse_orders(std::span<const std::string> arguments);

}  // namespace worker
