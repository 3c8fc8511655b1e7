#include "worker/fuse/init.h"

#include <unistd.h>

#include <algorithm>

namespace worker::fuse {

namespace {

using Opcodes = std::uint32_t[];

constexpr Opcodes kTruncatingOpens = {FUSE_OPEN, FUSE_CREATE};
constexpr Opcodes kCreations = {FUSE_MKNOD, FUSE_MKDIR};
constexpr Opcodes kCreate = {FUSE_CREATE};
constexpr Opcodes kPrivilegeKillers = {FUSE_OPEN, FUSE_CREATE, FUSE_WRITE, FUSE_SETATTR};
constexpr Opcodes kSetxattr = {FUSE_SETXATTR};
constexpr Opcodes kTransfers = {FUSE_READ, FUSE_WRITE};
constexpr Opcodes kWriteBack = {FUSE_READ, FUSE_WRITE, FUSE_SETATTR};
constexpr Opcodes kReaddirplus = {FUSE_READDIRPLUS};
constexpr Opcodes kLookup = {FUSE_LOOKUP};
constexpr Opcodes kOpendir = {FUSE_OPENDIR};
constexpr Opcodes kIoctl = {FUSE_IOCTL};

// What is missing here is missing on purpose. AUTO_INVAL_DATA would drop cached pages whenever a time stamp changes,
// though nobody but this kernel changes anything. Both kinds of locks are the kernel's own business as long as there is
// one kernel. ALLOW_IDMAP takes the asker's uid out of most requests, and one ioctl of ours needs it.
constexpr Feature kFeatures[] = {
    {FUSE_INIT_EXT, "bits above 31"},
    {FUSE_ASYNC_READ, "several reads of one file at a time"},
    {FUSE_BIG_WRITES, "writes of more than a page"},
    {FUSE_MAX_PAGES, "requests of 1 MiB", kTransfers},
    {FUSE_ASYNC_DIO, "several direct transfers of one file at a time"},
    {FUSE_ATOMIC_O_TRUNC, "open and truncate are one request", kTruncatingOpens},
    {FUSE_EXPORT_SUPPORT, "file handles find inodes the kernel has forgotten", {}, kLookup},
    {FUSE_DONT_MASK, "a default ACL takes the place of the umask", kCreate, kCreations},
    {FUSE_HAS_IOCTL_DIR, "inode flags of directories, and going read-only", {}, kIoctl},
    {FUSE_EXPLICIT_INVAL_DATA, "the page cache stays valid until the kernel itself changes it"},
    {FUSE_DO_READDIRPLUS, "attributes come with the names", kReaddirplus},
    {FUSE_READDIRPLUS_AUTO, "but only to those who look at them", kReaddirplus},
    {FUSE_WRITEBACK_CACHE, "small writes gather in the page cache", kWriteBack},
    {FUSE_PARALLEL_DIROPS, "lookups in one directory at the same time"},
    {FUSE_POSIX_ACL, "the kernel asks for ACLs and enforces them", kSetxattr},
    {FUSE_CACHE_SYMLINKS, "a symbolic link is read once"},
    {FUSE_NO_OPENDIR_SUPPORT, "directories are opened without a request", {}, kOpendir},
    {FUSE_HANDLE_KILLPRIV_V2, "no question for security.capability before every write", kPrivilegeKillers},
    {FUSE_SETXATTR_EXT, "an ACL clears set-group-ID where it has to", kSetxattr},
};

/// Requests that the kernel sends without waiting for each: read-ahead and write-back. Twelve, its default, keep a fast
/// device idle.
constexpr std::uint16_t kMaximumBackground = 64;

}  // namespace

std::span<const Feature> features() noexcept { return kFeatures; }

Negotiated negotiate(const fuse_init_in& offer, const InitOptions& options) noexcept {
  std::uint64_t offered = offer.flags;
  if (offered & FUSE_INIT_EXT) offered |= std::uint64_t{offer.flags2} << 32;

  Negotiated agreed;
  for (const Feature& feature : kFeatures) agreed.flags |= offered & feature.bit;
  if (!options.acl) agreed.flags &= ~std::uint64_t{FUSE_POSIX_ACL};
  agreed.minor = std::min(offer.minor, abi::kMinorVersion);
  agreed.max_readahead = offer.max_readahead;
  agreed.time_granularity = options.time_granularity;
  return agreed;
}

fuse_init_out encode_init(const Negotiated& agreed) noexcept {
  fuse_init_out out{};
  out.major = FUSE_KERNEL_VERSION;
  out.minor = agreed.minor;
  out.max_readahead = agreed.max_readahead;
  out.flags = static_cast<std::uint32_t>(agreed.flags);
  out.flags2 = static_cast<std::uint32_t>(agreed.flags >> 32);
  out.max_background = kMaximumBackground;
  out.congestion_threshold = kMaximumBackground * 3 / 4;
  out.max_write = kMaximumTransfer;
  out.time_gran = agreed.time_granularity;
  if (agreed.has(FUSE_MAX_PAGES)) {
    out.max_pages = static_cast<std::uint16_t>(kMaximumTransfer / static_cast<std::uint32_t>(::getpagesize()));
  }
  return out;
}

}  // namespace worker::fuse
