// What is mounted by whom: small root-owned files under /run/ext4box, believed only while they are true.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "broker/mount_point.h"
#include "broker/source.h"

namespace broker {

/// One mount as --status shows it and as refusals name it.
struct MountState {
  std::string source, mount_point, type;
  bool read_only = false;
  std::string mode = "classic", way = "spawn", journal = "none";
  std::string loop_device;  ///< empty: none
  bool block = false;       ///< fuseblk
  pid_t worker_pid = 0, supervisor_pid = 0;  ///< as the broker's pid namespace sees them
  std::uint64_t worker_start_time = 0;       ///< /proc/PID/stat field 22: tells a reused pid
  MountIdentity identity;
  dev_t source_device = 0;
  ino_t source_inode = 0;
  Window window;
  std::uint32_t worker_uid = 0;
};

/// The directory, which EXT4BOX_RUN_DIR may move for tests when root says so; made root:root 0755 if missing.
std::string state_directory();

/// A slot number no living mount has, kept by a lock on its file for as long as this object lives; the spawned worker's
/// uid is made from it, so that no two mounts share one.
class StateFile {
 public:
  static Result<StateFile> claim();
  unsigned slot() const noexcept { return slot_; }
  /// Replaces the contents atomically for readers.
  Result<void> publish(const MountState& state);
  /// The mount has ended: appends how ("" is well), for an --unmount that waits, and removes the name.
  void finish(const std::string& outcome);

 private:
  UniqueFd file_;
  unsigned slot_ = 0;
  std::string path_;
};

/// Every state whose worker lives and whose mount exists. Needs no privilege. Malformed or stale files are passed over.
std::vector<MountState> living_mounts();

std::string encode_state(const MountState& state);
std::optional<MountState> decode_state(std::string_view text);

}  // namespace broker
