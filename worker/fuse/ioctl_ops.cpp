// ioctl(2) on files and directories of a mount.
#include <linux/fs.h>

#include <cstring>

#include "protocol/mount_ioctl.h"
#include "worker/fuse/answer.h"
#include "worker/fuse/operations.h"
#include "worker/volume/inodes.h"

namespace worker::fuse::ops {

namespace {

/// An ioctl's argument as it arrived, and what is asked of us.
struct Control {
  Volume& volume;
  InodeNumber inode;
  std::uint32_t uid;
  Bytes in;
  std::size_t out_size;  ///< how much the asker takes

  template <typename Structure>
  Result<Structure> argument() const {
    Structure structure;
    if (in.size() < sizeof(structure)) return errno_error(EINVAL);
    std::memcpy(&structure, in.data(), sizeof(structure));
    return structure;
  }
};

/// What goes back to the asker; the largest is an fsxattr.
struct ControlReply {
  std::array<std::byte, sizeof(fsxattr)> bytes{};
  std::size_t length = 0;
};

template <typename Structure>
Result<ControlReply> reply_with(const Control& control, const Structure& structure) {
  static_assert(sizeof(structure) <= sizeof(fsxattr));
  if (control.out_size < sizeof(structure)) return errno_error(EINVAL);
  ControlReply reply;
  std::memcpy(reply.bytes.data(), &structure, sizeof(structure));
  reply.length = sizeof(structure);
  return reply;
}

/// Inode flags and the names that FS_IOC_FSGETXATTR has for them.
constexpr struct {
  std::uint32_t flag, xflag;
} kExtendedFlags[] = {
    {FS_SYNC_FL, FS_XFLAG_SYNC},     {FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE}, {FS_APPEND_FL, FS_XFLAG_APPEND},
    {FS_NODUMP_FL, FS_XFLAG_NODUMP}, {FS_NOATIME_FL, FS_XFLAG_NOATIME},     {FS_PROJINHERIT_FL, FS_XFLAG_PROJINHERIT},
};

// The kernel has checked who may change flags before these arrive: they come only by way of its fileattr interface.

Result<ControlReply> get_flags(const Control& control) {
  TRY(attributes, control.volume.inodes().attributes(control.inode));
  return reply_with(control, attributes.flags);
}

Result<ControlReply> set_flags(const Control& control) {
  TRY(flags, control.argument<std::uint32_t>());
  TRY(control.volume.inodes().set_flags(control.inode, flags));
  return ControlReply{};
}

Result<ControlReply> get_extended(const Control& control) {
  TRY(attributes, control.volume.inodes().attributes(control.inode));
  fsxattr extended{};
  for (const auto& [flag, xflag] : kExtendedFlags) {
    if (attributes.flags & flag) extended.fsx_xflags |= xflag;
  }
  return reply_with(control, extended);
}

Result<ControlReply> set_extended(const Control& control) {
  TRY(extended, control.argument<fsxattr>());
  if (extended.fsx_projid != 0 || extended.fsx_extsize != 0 || extended.fsx_cowextsize != 0) {
    return errno_error(EOPNOTSUPP);
  }
  TRY(attributes, control.volume.inodes().attributes(control.inode));
  std::uint32_t flags = attributes.flags;
  std::uint32_t unknown = extended.fsx_xflags;
  for (const auto& [flag, xflag] : kExtendedFlags) {
    flags = (extended.fsx_xflags & xflag) ? flags | flag : flags & ~flag;
    unknown &= ~xflag;
  }
  if (unknown != 0) return errno_error(EOPNOTSUPP);
  TRY(control.volume.inodes().set_flags(control.inode, flags));
  return ControlReply{};
}

Result<ControlReply> get_version(const Control& control) {
  TRY(attributes, control.volume.inodes().attributes(control.inode));
  return reply_with(control, attributes.generation);
}

Result<ControlReply> set_mount_mode(const Control& control) {
  if (control.uid != 0) return errno_error(EPERM);
  if (control.inode != volume::kRootInode) return errno_error(ENOTTY);
  TRY(mode, control.argument<std::uint32_t>());
  switch (static_cast<protocol::MountMode>(mode)) {
    case protocol::MountMode::read_only:
      TRY(control.volume.become_read_only());
      return ControlReply{};
    case protocol::MountMode::writable:
      TRY(control.volume.become_writable());
      return ControlReply{};
  }
  return errno_error(EINVAL);
}

struct Command {
  unsigned long number;
  Result<ControlReply> (*serve)(const Control&);
};

constexpr Command kCommands[] = {
    {FS_IOC_GETFLAGS, get_flags},      {FS_IOC_SETFLAGS, set_flags},     {FS_IOC_FSGETXATTR, get_extended},
    {FS_IOC_FSSETXATTR, set_extended}, {FS_IOC_GETVERSION, get_version}, {protocol::kSetMountMode, set_mount_mode},
};

}  // namespace

void control(fuse_req_t request, fuse_ino_t node, unsigned command, void*, fuse_file_info*, unsigned, const void* in,
             std::size_t in_size, std::size_t out_size) noexcept {
  const Request asked{request};
  const auto reply = attempt([&]() -> Result<ControlReply> {
    TRY(inode, inode_number(node));
    for (const Command& known : kCommands) {
      if (known.number != command) continue;
      return known.serve({.volume = asked.volume(),
                          .inode = inode,
                          .uid = asked.uid(),
                          .in = {static_cast<const std::byte*>(in), in ? in_size : 0},
                          .out_size = out_size});
    }
    return errno_error(ENOTTY);
  });
  if (!reply.ok()) return fail(asked, reply.error());
  fuse_reply_ioctl(request, 0, reply->length ? reply->bytes.data() : nullptr, reply->length);
}

}  // namespace worker::fuse::ops
