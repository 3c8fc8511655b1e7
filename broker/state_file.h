// What is mounted by whom: small root-owned files under /run/ext4box, believed only while they are true.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "broker/byte_range.h"
#include "broker/mount_point.h"

namespace broker {

/// One mount as --status shows it and as refusals name it.
struct MountState {
  std::string source, mount_point, type;
  bool read_only = false;
  std::string mode = "classic", way = "spawn", journal = "none";
  std::string loop_device;  ///< empty: none
  bool block = false;       ///< fuseblk
  /// As the broker's pid namespace sees them. A worker 0 is yet to come: the range is claimed for a mount being made.
  pid_t worker_pid = 0, supervisor_pid = 0;
  std::uint64_t worker_start_time = 0;  ///< /proc/PID/stat field 22: tells a reused pid
  MountIdentity identity;
  ByteRange range;  ///< Source::range
  std::uint32_t worker_uid = 0;
};

/// /run/ext4box, or where root's EXT4BOX_RUN_DIR says (tests). Made root:root 0755 by the first claim.
std::string state_directory();

/// A slot number that no living mount has, kept by a lock for as long as this object lives; the spawned worker's uid is
/// made from it, so that no two mounts share one.
class StateFile {
 public:
  static Result<StateFile> claim();
  /// Held between looking for other users of a source and publishing one's own use, by one broker at a time. Waits for
  /// the one who has it, until `deadline` (EBUSY) or until `interrupt` is readable (EINTR).
  static Result<UniqueFd> gate(std::chrono::steady_clock::time_point deadline, int interrupt);
  unsigned slot() const noexcept { return slot_; }
  /// Replaces the contents atomically for readers.
  Result<void> publish(const MountState& state);
  /// The mount has ended: appends how ("" is well), for an --unmount that waits, and removes the name.
  void finish(const std::string& outcome);

 private:
  UniqueFd lock_;
  UniqueFd file_;  ///< what was published last
  unsigned slot_ = 0;
};

enum class Visibility : std::uint8_t {
  here,      ///< mounted in the caller's mount namespace
  anywhere,  ///< also in others: the worker lives, which is enough to be in the way
};

/// Every state whose worker lives and whose mount exists, and for root those whose broker is still making the mount.
/// Needs no privilege. Malformed, foreign and stale files are passed over.
std::vector<MountState> living_mounts(Visibility visibility = Visibility::here);

/// A mount's state file, open, so that its end can be read when the name has gone.
struct OpenState {
  MountState state;
  UniqueFd file;
  unsigned slot = 0;

  /// What finish() wrote; nothing yet, or never.
  std::optional<std::string> outcome() const;
  /// False once the broker or supervisor, which would write the outcome, has gone. Needs root.
  bool supervised() const;
};
/// The living mount with this s_dev and source, if there is one.
std::optional<OpenState> find_state(const MountIdentity& identity);

std::string encode_state(const MountState& state);
std::optional<MountState> decode_state(std::string_view text);

}  // namespace broker
