// Attributes: GETATTR, SETATTR, STATX.
#include <cstring>

#include "worker/fuse/answer.h"
#include "worker/fuse/operations.h"
#include "worker/volume/inodes.h"

namespace worker::fuse::ops {

void get_attributes(fuse_req_t request, fuse_ino_t node, fuse_file_info*) noexcept {
  answer(Request{request}, [&](Volume& volume) -> Result<volume::Attributes> {
    TRY(inode, inode_number(node));
    return volume.inodes().attributes(inode);
  });
}

void statx(const Request& request, const Incoming& incoming) {
  answer(request, [&](Volume& volume) -> Result<abi::StatxOut> {
    TRY(inode, inode_number(incoming.header.nodeid));
    TRY(attributes, volume.inodes().attributes(inode));
    return encode_statx(attributes);
  });
}

namespace {

/// A time that a SETATTR sets: `to_now` wins over the value that comes with it.
std::optional<volume::Timestamp> wanted_time(std::uint32_t valid, std::uint32_t to_value, std::uint32_t to_now,
                                             std::uint64_t seconds, std::uint32_t nanoseconds) {
  if (to_now != 0 && (valid & to_now)) return volume::Timestamp::now();
  if (!(valid & to_value)) return std::nullopt;
  return volume::Timestamp{static_cast<std::int64_t>(seconds), nanoseconds};
}

Result<volume::AttributeChange> wanted_change(const fuse_setattr_in& asked) {
  constexpr std::uint32_t kNanoseconds = 1'000'000'000;
  if (asked.atimensec >= kNanoseconds || asked.mtimensec >= kNanoseconds || asked.ctimensec >= kNanoseconds) {
    return errno_error(EINVAL);
  }
  volume::AttributeChange change;
  if (asked.valid & FATTR_MODE) change.mode = asked.mode & 07777;
  if (asked.valid & FATTR_UID) change.uid = asked.uid;
  if (asked.valid & FATTR_GID) change.gid = asked.gid;
  if (asked.valid & FATTR_SIZE) {
    if (asked.size > static_cast<std::uint64_t>(INT64_MAX)) return errno_error(EFBIG);
    change.size = asked.size;
  }
  change.accessed = wanted_time(asked.valid, FATTR_ATIME, FATTR_ATIME_NOW, asked.atime, asked.atimensec);
  change.modified = wanted_time(asked.valid, FATTR_MTIME, FATTR_MTIME_NOW, asked.mtime, asked.mtimensec);
  change.changed = wanted_time(asked.valid, FATTR_CTIME, 0, asked.ctime, asked.ctimensec);
  change.kill_privileges = (asked.valid & FATTR_KILL_SUIDGID) != 0;
  return change;
}

}  // namespace

void set_attributes(const Request& request, const Incoming& incoming) {
  fuse_setattr_in asked;
  std::memcpy(&asked, incoming.body.data(), sizeof(asked));
  answer(request, [&](Volume& volume) -> Result<volume::Attributes> {
    TRY(inode, inode_number(incoming.header.nodeid));
    TRY(change, wanted_change(asked));
    return volume.inodes().change(inode, change);
  });
}

}  // namespace worker::fuse::ops
