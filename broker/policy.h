// What a worker is granted: decided from our own command line, whatever the worker says. Pure functions; errnos as
// answers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "broker/loop_device.h"
#include "broker/mount_point.h"
#include "broker/source.h"
#include "protocol/messages.h"

namespace broker {

/// All that one session may give away. Made before there is a worker.
struct Grants {
  std::vector<std::string> arguments;  ///< the worker's: type, source, mount point, "-o", list
  std::string source, mount_point;     ///< the only paths it may name, byte for byte
  bool source_is_block = false;        ///< what it gets as the source is a block device
  bool mount_point_is_directory = true;
  bool read_only = false;
  bool block = false;  ///< a fuseblk mount is wanted, and may be made
  bool allow_other = true;
  std::string block_source;          ///< device path that a fuseblk mount shows
  MountSpecification specification;  ///< the mount, if the worker asks for nothing stricter
};

/// Whether the volume travels over a loop device: writing, unless that was not wanted; not for a block device without a
/// window.
bool needs_loop(const MountPlan& plan, const Source& source);
/// `loop`: the device made for needs_loop, or null.
Grants make_grants(const MountPlan& plan, const Source& source, const LoopDevice* loop, const MountPoint& where);

std::uint32_t hello_flags(const Grants& grants);

/// Whether OPEN or BDEV (`block`) may have the source. EPERM: another path, or flags that are not plain opening;
/// EROFS: writing to a read-only mount; ENOTBLK, EINVAL as libfuse's helper says.
std::uint32_t judge_open(const Grants& grants, bool block, const protocol::OpenFile& asked);
std::uint32_t judge_type(const Grants& grants, std::uint32_t flags);
std::uint32_t judge_mount_point(const Grants& grants, const protocol::SetMountPoint& asked);

/// Takes the kernel options the worker asks for into `specification`, which is unchanged unless 0 is returned. EINVAL:
/// unknown or malformed; EPERM: not granted.
std::uint32_t take_options(const Grants& grants, std::string_view list, MountSpecification& specification);
/// Takes MS_ flags, the stricter of them and what is there. EPERM: a flag outside the allow-list.
std::uint32_t take_mount_flags(std::uint32_t flags, MountSpecification& specification);
/// Takes what the worker found out about the volume. False: that cannot be.
bool take_facts(const protocol::Facts& facts, MountSpecification& specification);

/// The x-* words of a list; everything else is not for a worker to say.
std::string keep_table_options(std::string_view list);

}  // namespace broker
