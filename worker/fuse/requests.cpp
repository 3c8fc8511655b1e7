#include "worker/fuse/requests.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "worker/fuse/operations.h"
#include "worker/volume/volume.h"

namespace worker::fuse {

namespace {

constexpr std::size_t kMaximumName = 255;

template <typename Structure>
Structure take(const std::byte* from) noexcept {
  Structure structure;
  std::memcpy(&structure, from, sizeof(structure));
  return structure;
}

std::size_t write_length(const std::byte* fixed) noexcept { return take<fuse_write_in>(fixed).size; }
std::size_t forgets_length(const std::byte* fixed) noexcept {
  return std::size_t{take<fuse_batch_forget_in>(fixed).count} * sizeof(fuse_forget_one);
}
std::size_t ioctl_length(const std::byte* fixed) noexcept { return take<fuse_ioctl_in>(fixed).in_size; }

constexpr auto kOurs = Decoder::ours;
constexpr auto kLibrary = Decoder::library;
constexpr auto kRefused = Decoder::refused;
constexpr std::array kNoText = {Text::none, Text::none};
constexpr std::array kName = {Text::name, Text::none};

/// Sorted by theme, as the handlers are. SETXATTR checks its own length, which depends on FUSE_SETXATTR_EXT.
constexpr RequestKind kKinds[] = {
    {FUSE_INIT, "INIT", kOurs, offsetof(fuse_init_in, flags2)},
    {FUSE_DESTROY, "DESTROY", kLibrary},

    {FUSE_LOOKUP, "LOOKUP", kLibrary, 0, {Text::lookup, Text::none}},
    {FUSE_FORGET, "FORGET", kLibrary, sizeof(fuse_forget_in), kNoText, false},
    {FUSE_BATCH_FORGET, "BATCH_FORGET", kLibrary, sizeof(fuse_batch_forget_in), kNoText, false, forgets_length},
    {FUSE_MKNOD, "MKNOD", kLibrary, sizeof(fuse_mknod_in), kName},
    {FUSE_MKDIR, "MKDIR", kLibrary, sizeof(fuse_mkdir_in), kName},
    {FUSE_SYMLINK, "SYMLINK", kLibrary, 0, {Text::name, Text::target}},
    {FUSE_LINK, "LINK", kLibrary, sizeof(fuse_link_in), kName},
    {FUSE_UNLINK, "UNLINK", kLibrary, 0, kName},
    {FUSE_RMDIR, "RMDIR", kLibrary, 0, kName},
    {FUSE_RENAME, "RENAME", kLibrary, sizeof(fuse_rename_in), {Text::name, Text::name}},
    {FUSE_RENAME2, "RENAME2", kLibrary, sizeof(fuse_rename2_in), {Text::name, Text::name}},
    {FUSE_READLINK, "READLINK", kLibrary},
    {FUSE_CREATE, "CREATE", kOurs, sizeof(fuse_create_in), kName, true, nullptr, ops::create},
    {FUSE_TMPFILE, "TMPFILE", kRefused},

    {FUSE_OPENDIR, "OPENDIR", kLibrary, sizeof(fuse_open_in)},
    {FUSE_READDIR, "READDIR", kOurs, sizeof(fuse_read_in), kNoText, true, nullptr, ops::read_directory},
    {FUSE_READDIRPLUS, "READDIRPLUS", kOurs, sizeof(fuse_read_in), kNoText, true, nullptr, ops::read_directory_plus},
    {FUSE_RELEASEDIR, "RELEASEDIR", kLibrary, sizeof(fuse_release_in)},
    {FUSE_FSYNCDIR, "FSYNCDIR", kLibrary, sizeof(fuse_fsync_in)},

    {FUSE_OPEN, "OPEN", kOurs, sizeof(fuse_open_in), kNoText, true, nullptr, ops::open},
    {FUSE_READ, "READ", kOurs, sizeof(fuse_read_in), kNoText, true, nullptr, ops::read},
    {FUSE_WRITE, "WRITE", kOurs, sizeof(fuse_write_in), kNoText, true, write_length, ops::write},
    {FUSE_FLUSH, "FLUSH", kRefused},
    {FUSE_RELEASE, "RELEASE", kLibrary, sizeof(fuse_release_in)},
    {FUSE_FSYNC, "FSYNC", kLibrary, sizeof(fuse_fsync_in)},
    {FUSE_FALLOCATE, "FALLOCATE", kLibrary, sizeof(fuse_fallocate_in)},
    {FUSE_LSEEK, "LSEEK", kLibrary, sizeof(fuse_lseek_in)},
    {FUSE_COPY_FILE_RANGE, "COPY_FILE_RANGE", kRefused},
    {abi::kCopyFileRange64, "COPY_FILE_RANGE_64", kRefused},
    {FUSE_BMAP, "BMAP", kRefused},
    {FUSE_POLL, "POLL", kRefused},
    {FUSE_SETUPMAPPING, "SETUPMAPPING", kRefused},
    {FUSE_REMOVEMAPPING, "REMOVEMAPPING", kRefused},

    {FUSE_GETATTR, "GETATTR", kLibrary, sizeof(fuse_getattr_in)},
    {FUSE_SETATTR, "SETATTR", kOurs, sizeof(fuse_setattr_in), kNoText, true, nullptr, ops::set_attributes},
    {abi::kStatx, "STATX", kOurs, sizeof(abi::StatxIn), kNoText, true, nullptr, ops::statx},
    {FUSE_ACCESS, "ACCESS", kRefused},

    {FUSE_GETXATTR, "GETXATTR", kLibrary, sizeof(fuse_getxattr_in), {Text::xattr_name, Text::none}},
    {FUSE_LISTXATTR, "LISTXATTR", kLibrary, sizeof(fuse_getxattr_in)},
    {FUSE_SETXATTR, "SETXATTR", kOurs, FUSE_COMPAT_SETXATTR_IN_SIZE, kNoText, true, nullptr, ops::set_xattr},
    {FUSE_REMOVEXATTR, "REMOVEXATTR", kLibrary, 0, {Text::xattr_name, Text::none}},

    {FUSE_IOCTL, "IOCTL", kLibrary, sizeof(fuse_ioctl_in), kNoText, true, ioctl_length},

    {FUSE_STATFS, "STATFS", kLibrary},
    {FUSE_SYNCFS, "SYNCFS", kOurs, sizeof(fuse_syncfs_in), kNoText, true, nullptr, ops::sync_volume},

    {FUSE_GETLK, "GETLK", kRefused},
    {FUSE_SETLK, "SETLK", kRefused},
    {FUSE_SETLKW, "SETLKW", kRefused},
    // Nothing we do waits for anybody but the device, so nothing is worth interrupting; ENOSYS says so once and for
    // all.
    {FUSE_INTERRUPT, "INTERRUPT", kRefused},
    // Answers what we never ask.
    {FUSE_NOTIFY_REPLY, "NOTIFY_REPLY", kRefused, 0, kNoText, false},
};

int check_text(Text kind, std::string_view text) noexcept {
  if (kind == Text::target) return text.empty() ? EINVAL : 0;
  if (text.empty()) return EINVAL;
  if (kind == Text::xattr_name) return text.size() > kMaximumName ? ERANGE : 0;
  if (text.find('/') != text.npos) return EINVAL;
  if (kind == Text::name && (text == "." || text == "..")) return EINVAL;
  return text.size() > kMaximumName ? ENAMETOOLONG : 0;
}

}  // namespace

std::span<const RequestKind> request_kinds() noexcept { return kKinds; }

const RequestKind* find_kind(std::uint32_t opcode) noexcept {
  static const auto by_opcode = [] {
    std::array<const RequestKind*, 64> table{};
    for (const RequestKind& kind : kKinds) table.at(kind.opcode) = &kind;
    return table;
  }();
  return opcode < by_opcode.size() ? by_opcode[opcode] : nullptr;
}

int check_request(const RequestKind& kind, std::span<const std::byte> body) noexcept {
  if (body.size() < kind.fixed) return EINVAL;
  const auto fixed = body.first(kind.fixed);
  body = body.subspan(kind.fixed);
  for (const Text text : kind.texts) {
    if (text == Text::none) break;
    const auto end = std::find(body.begin(), body.end(), std::byte{0});
    if (end == body.end()) return EINVAL;
    const auto length = static_cast<std::size_t>(end - body.begin());
    if (const int wrong = check_text(text, {reinterpret_cast<const char*>(body.data()), length})) return wrong;
    body = body.subspan(length + 1);
  }
  if (kind.data_length && kind.data_length(fixed.data()) > body.size()) return EINVAL;
  return 0;
}

}  // namespace worker::fuse
