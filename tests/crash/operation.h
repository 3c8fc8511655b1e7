// The operations that workloads are made of: plain values that a model and a volume both carry out.
#pragma once

#include <cstdint>
#include <string>

namespace crash {

/// One call of a user. Paths are relative to the root, without a leading slash.
struct Operation {
  enum class Kind : std::uint8_t {
    create,         ///< an empty regular file
    make_dir,       ///< mkdir
    make_node,      ///< a FIFO (length 0) or a character device with that number
    symlink,        ///< with a target of `length` bytes
    link,           ///< `other` becomes one more name of `path`
    unlink,         ///< while open if open() was called before
    remove_dir,     ///< rmdir
    rename,         ///< to `other`, replacing what is there
    exchange,       ///< renameat2(RENAME_EXCHANGE)
    write,          ///< `length` bytes at `offset`; contents follow from `seed`
    truncate,       ///< to `offset` bytes; 0 is O_TRUNC
    punch,          ///< fallocate(PUNCH_HOLE | KEEP_SIZE)
    zero_range,     ///< fallocate(ZERO_RANGE)
    allocate,       ///< fallocate(0)
    allocate_keep,  ///< fallocate(KEEP_SIZE)
    change_mode,    ///< chmod to `length`
    change_owner,   ///< chown to user and group `length`
    set_xattr,      ///< `other` gets a value of `length` bytes
    remove_xattr,   ///< `other`
    set_acl,        ///< an access ACL that names a user
    open,           ///< holds the inode until close
    close,          ///< frees it if it has no name any more
    sync,           ///< everything
    fsync,
    fdatasync,
  };
  Kind kind;
  std::string path = {}, other = {};
  std::uint64_t offset = 0, length = 0;
  std::uint32_t seed = 0;
};

/// For people: "write dir/file 4096+100".
std::string words(const Operation& operation);

/// What a write of this length and seed writes.
std::string pattern(std::uint64_t length, std::uint32_t seed);

/// The mode bits of a file after set_acl.
inline constexpr std::uint32_t kAclMode = 0754;

/// The ACL of a file with these mode bits, as setxattr(2) takes it or as it lies on a volume. It names one user.
enum class AclForm : std::uint8_t { request, stored };
std::string acl_value(AclForm form, std::uint32_t mode = kAclMode);

}  // namespace crash
