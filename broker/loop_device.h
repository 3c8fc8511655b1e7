// A loop device over an image file.
#pragma once

#include <string>
#include <vector>

#include "broker/source.h"

namespace broker {

/// Owns an open loop device that frees itself (autoclear) when its last user, this descriptor or a mount, lets go.
struct LoopDevice {
  UniqueFd descriptor;
  std::string path;  ///< /dev/loopN
  dev_t device = 0;
};

/// Configures a free loop device with the source's open file description (whose lock it thereby keeps), its window,
/// direct I/O where asked for and the backing file allows it, autoclear, no partition scan. Another process taking the
/// number first is no error.
Result<LoopDevice> attach_loop_device(const Source& source, bool direct_io);

/// A loop device somebody else has set up over an overlapping range.
struct ForeignLoop {
  std::string path;
  bool read_only = false;
  bool claimed = false;  ///< mounted or otherwise held exclusively
};
/// Compared by device and inode, never by path. The loop devices that the source itself is on are left out.
std::vector<ForeignLoop> foreign_loops(const Source& source);

}  // namespace broker
