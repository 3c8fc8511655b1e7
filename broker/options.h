// The command line as a value: what was asked for, before anything is opened.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/result.h"

namespace broker {

using protocol::Error;
using protocol::Result;

enum class Action : std::uint8_t { mount, remount, unmount, check, status, help, version };
enum class Way : std::uint8_t { automatic, spawn, service };
/// Whether `rw`, `ro` or neither was said: only without an explicit `rw` may a mount fall back to read-only.
enum class Writing : std::uint8_t { unsaid, read_write, read_only };

/// Bytes that hold the volume; length 0 means up to the end.
struct Window {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

/// Everything a mount was asked to be. The broker grants nothing that does not follow from this value.
struct MountPlan {
  Action action = Action::mount;
  std::string program = "fuservicemount";  ///< the name to print in front of errors
  std::string source, mount_point;         ///< as given
  std::string type = "ext4";               ///< without "fuse." or "fuseblk."
  Way way = Way::automatic;
  Writing writing = Writing::unsaid;
  Window window;
  /// MOUNT_ATTR_* asked for (never RDONLY, which `writing` says); nosuid and nodev included unless real root said
  /// otherwise.
  std::uint64_t mount_attributes = 0;
  std::uint64_t attributes_said = 0;  ///< the bits of mount_attributes that a word named: all that a remount changes
  bool synchronous = false, directory_sync = false;  ///< `sync`, `dirsync`
  bool allow_other = false;                          ///< always true for root
  bool no_loop = false, direct_io = true;
  bool verbose = false, sloppy = false, fake = false, foreground = false;
  bool lazy = false, force = false, read_only_if_busy = false, json = false;  ///< of unmount and status
  std::string fsname, subtype;              ///< what the mount table shows; empty: the source, the type
  std::vector<std::string> worker_options;  ///< words that are not ours, in order: the worker judges them
  std::vector<std::string> notes;           ///< words accepted without effect, shown with -v
  std::string worker_path, socket_dir;      ///< empty: the defaults
  std::chrono::seconds timeout{30};
};

/// Reads argv of fuservicemount or, told by the name in argv[0], of a mount.* or umount.* link. `real_root` says
/// whether `suid` and `dev` may be granted. A failure's detail is the line to print after "PROGRAM: "; its exit code
/// is 1.
Result<MountPlan> parse_command_line(std::span<const char* const> argv, bool real_root);
/// The PROGRAM of such a line: fuservicemount, or the name of the link.
std::string program_name(std::string_view argv0);

/// The comma list for the worker's -o: "ro" where the mount is, the words that are not ours, and the window where the
/// worker has to apply it itself (no loop device carries it). Empty: no -o at all.
std::string worker_option_list(const MountPlan& plan, bool read_only, const Window* window);

/// Where a service for the plan's type would listen.
std::string socket_path(const MountPlan& plan);

/// The text of --help, which the man page is checked against.
std::string help_text();

/// Prints "PROGRAM: SUBJECT: reason" as one line on standard error, control bytes escaped. Returns `exit_code`.
int fail(const MountPlan& plan, std::string_view subject, const Error& error, int exit_code);
void warn(const MountPlan& plan, std::string_view subject, std::string_view reason);

}  // namespace broker
