// The other implementations that are asked for their opinion: e2fsck and the kernel's ext4.
#pragma once

#include <initializer_list>
#include <string>

namespace crash {

/// Exit status (128 + signal if one ended it) and what was printed to either stream. Quicker than a shell.
struct Ended {
  int status = -1;
  std::string output;
};
Ended run_program(std::initializer_list<std::string> command);

/// Empty if `e2fsck -fn` has nothing at all to say, else what it said.
std::string fsck_complaint(const std::string& path);

/// Replays the journal of `path` as e2fsck does, and nothing else. Empty if that went well.
std::string replay_by_fsck(const std::string& path);

/// Mounts and unmounts `path` read-write with the kernel's ext4, on a loop device, in a mount namespace of its own.
/// Empty if that went well.
std::string mount_by_kernel(const std::string& path);
bool can_mount_by_kernel();

}  // namespace crash
