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

/// Bytes of the source that hold the volume; length 0 means up to the end.
struct Window {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

/// Everything a mount was asked to be. The broker grants nothing that does not follow from this value.
struct MountPlan {
  Action action = Action::mount;
  std::string program = "fuservicemount";  ///< the name to print in front of errors
  std::string source, mount_point;          ///< as given
  std::string type = "ext4";                ///< without "fuse." or "fuseblk."
  Way way = Way::automatic;
  Writing writing = Writing::unsaid;
  Window window;
  std::uint64_t mount_attributes = 0;  ///< MOUNT_ATTR_* asked for, nosuid and nodev included unless real root said suid, dev
  bool allow_other = false;            ///< always true for root
  bool no_loop = false, direct_io = true;
  bool verbose = false, sloppy = false, fake = false, foreground = false, no_mtab = false;
  bool lazy = false, force = false, json = false;  ///< of unmount and status
  std::string fsname, subtype;                ///< what the mount table shows; empty: the source, the type
  std::vector<std::string> worker_options;  ///< words that are not ours, in order: the worker judges them
  std::vector<std::string> notes;           ///< words accepted without effect, shown with -v
  std::string worker_path, socket_dir;       ///< empty: the defaults
  std::chrono::seconds timeout{30};
};

/// Reads argv of fuservicemount or, told by the name in argv[0], of a mount.* or umount.* link. A failure's detail
/// is the one line to print; its exit code is 1.
Result<MountPlan> parse_command_line(std::span<const char* const> argv);

/// The text of --help, which the man page is checked against.
std::string_view help_text();

}  // namespace broker
