// Extended attributes: GETXATTR, LISTXATTR, SETXATTR, REMOVEXATTR.
#include <linux/limits.h>
#include <linux/xattr.h>

#include <cstring>

#include "worker/fuse/answer.h"
#include "worker/fuse/dispatcher.h"
#include "worker/fuse/operations.h"
#include "worker/volume/xattrs.h"

namespace worker::fuse::ops {

namespace {

/// Size 0 only asks how much there is.
void reply_sized(const Request& request, Bytes value, std::size_t room) noexcept {
  if (room == 0) {
    request.reply_structure(fuse_getxattr_out{.size = static_cast<std::uint32_t>(value.size()), .padding = 0});
  } else if (value.size() > room) {
    request.reply_error(ERANGE);
  } else {
    request.reply(value);
  }
}

}  // namespace

void get_xattr(fuse_req_t request, fuse_ino_t node, const char* name, std::size_t size) noexcept {
  const Request asked{request};
  const auto value = attempt([&]() -> Result<std::vector<std::byte>> {
    TRY(inode, inode_number(node));
    return asked.volume().xattrs().get(inode, name);
  });
  if (!value.ok()) return fail(asked, value.error());
  reply_sized(asked, value.value(), size);
}

void list_xattrs(fuse_req_t request, fuse_ino_t node, std::size_t size) noexcept {
  const Request asked{request};
  const auto names = attempt([&]() -> Result<std::string> {
    TRY(inode, inode_number(node));
    return asked.volume().xattrs().list(inode);
  });
  if (!names.ok()) return fail(asked, names.error());
  reply_sized(asked, std::as_bytes(std::span{names.value()}), size);
}

void remove_xattr(fuse_req_t request, fuse_ino_t node, const char* name) noexcept {
  answer(Request{request}, [&](Volume& volume) -> Result<void> {
    TRY(inode, inode_number(node));
    return volume.xattrs().remove(inode, name);
  });
}

namespace {

/// The fixed part of a SETXATTR, its name and its value.
struct SetXattr {
  fuse_setxattr_in fixed{};
  std::string_view name;
  Bytes value;
};

/// Without FUSE_SETXATTR_EXT the fixed part has only size and flags.
Result<SetXattr> parse_set_xattr(Bytes body, bool extended) {
  SetXattr parsed;
  const std::size_t length = extended ? sizeof(parsed.fixed) : FUSE_COMPAT_SETXATTR_IN_SIZE;
  if (body.size() < length) return errno_error(EINVAL);
  std::memcpy(&parsed.fixed, body.data(), length);
  body = body.subspan(length);

  const std::string_view text{reinterpret_cast<const char*>(body.data()), body.size()};
  const std::size_t end = text.find('\0');
  if (end == text.npos || end == 0) return errno_error(EINVAL);
  if (end > XATTR_NAME_MAX) return errno_error(ERANGE);
  parsed.name = text.substr(0, end);
  body = body.subspan(end + 1);

  if (parsed.fixed.size > body.size()) return errno_error(EINVAL);
  if (parsed.fixed.size > XATTR_SIZE_MAX) return errno_error(E2BIG);
  parsed.value = body.first(parsed.fixed.size);
  return parsed;
}

Result<volume::SetMode> set_mode(std::uint32_t flags) {
  switch (flags) {
    case 0:
      return volume::SetMode::any;
    case XATTR_CREATE:
      return volume::SetMode::create_only;
    case XATTR_REPLACE:
      return volume::SetMode::replace_only;
    default:
      return errno_error(EINVAL);
  }
}

}  // namespace

void set_xattr(const Request& request, const Incoming& incoming) {
  answer(request, [&](Volume& volume) -> Result<void> {
    TRY(inode, inode_number(incoming.header.nodeid));
    TRY(asked, parse_set_xattr(incoming.body, request.dispatcher().negotiated().has(FUSE_SETXATTR_EXT)));
    TRY(mode, set_mode(asked.fixed.flags));
    const bool clear_set_gid = (asked.fixed.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) != 0;
    return volume.xattrs().set(inode, asked.name, asked.value, mode, clear_set_gid);
  });
}

}  // namespace worker::fuse::ops
