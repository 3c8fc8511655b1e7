// Regular files: OPEN, READ, WRITE and what else concerns their bytes.
#include <fcntl.h>
#include <linux/fs.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "worker/fuse/answer.h"
#include "worker/fuse/dispatcher.h"
#include "worker/fuse/open_rules.h"
#include "worker/fuse/operations.h"
#include "worker/volume/file_data.h"
#include "worker/volume/inodes.h"

namespace worker::fuse {

Result<std::uint32_t> open_inode(Volume& volume, InodeNumber inode, std::uint32_t flags, std::uint32_t open_flags) {
  const bool truncates = (flags & O_TRUNC) != 0;
  const bool writes = (flags & O_ACCMODE) != O_RDONLY;
  if (!writes && !truncates) return kOpenFlags;
  TRY(volume.await_writable());

  TRY(attributes, volume.inodes().attributes(inode));
  // A write that started before the file became immutable goes on, as it does with the kernel's own file systems.
  if (attributes.flags & FS_IMMUTABLE_FL) return errno_error(EPERM);
  if ((attributes.flags & FS_APPEND_FL) && (!(flags & O_APPEND) || truncates)) return errno_error(EPERM);
  if (!truncates) return kOpenFlags;

  const volume::Timestamp now = volume::Timestamp::now();
  TRY(volume.inodes().change(inode, {.mode = {},
                                     .uid = {},
                                     .gid = {},
                                     .size = 0,
                                     .accessed = {},
                                     .modified = now,
                                     .changed = now,
                                     .kill_privileges = (open_flags & FUSE_OPEN_KILL_SUIDGID) != 0}));
  return kOpenFlags;
}

namespace ops {

void open(const Request& request, const Incoming& incoming) {
  fuse_open_in asked;
  std::memcpy(&asked, incoming.body.data(), sizeof(asked));
  answer(request, [&](Volume& volume) -> Result<Opened> {
    TRY(inode, inode_number(incoming.header.nodeid));
    TRY(open_flags, open_inode(volume, inode, asked.flags, asked.open_flags));
    return Opened{.inode = inode, .flags = asked.flags, .open_flags = open_flags};
  });
}

void release(fuse_req_t request, fuse_ino_t node, fuse_file_info* file) noexcept {
  const Request asked{request};
  if (const auto inode = inode_number(node); inode.ok()) {
    asked.dispatcher().writers().released(inode.value(), static_cast<std::uint32_t>(file->flags));
  }
  asked.reply_done();
}

void read(const Request& request, const Incoming& incoming) {
  fuse_read_in asked;
  std::memcpy(&asked, incoming.body.data(), sizeof(asked));
  answer(request, [&](Volume& volume) -> Result<Bytes> {
    TRY(inode, inode_number(incoming.header.nodeid));
    const auto into = incoming.scratch.first(std::min<std::size_t>(asked.size, incoming.scratch.size()));
    TRY(length, volume.files().read(inode, asked.offset, into));
    return Bytes{into.first(length)};
  });
}

void write(const Request& request, const Incoming& incoming) {
  fuse_write_in asked;
  std::memcpy(&asked, incoming.body.data(), sizeof(asked));
  answer(request, [&](Volume& volume) -> Result<fuse_write_out> {
    TRY(inode, inode_number(incoming.header.nodeid));
    const Bytes from = Bytes{incoming.body}.subspan(sizeof(asked), asked.size);
    TRY(length, volume.files().write(inode, asked.offset, from,
                                     {.from_page_cache = (asked.write_flags & FUSE_WRITE_CACHE) != 0,
                                      .kill_privileges = (asked.write_flags & FUSE_WRITE_KILL_SUIDGID) != 0}));
    return fuse_write_out{.size = static_cast<std::uint32_t>(length), .padding = 0};
  });
}

void sync_file(fuse_req_t request, fuse_ino_t node, int data_only, fuse_file_info*) noexcept {
  answer(Request{request}, [&](Volume& volume) -> Result<void> {
    TRY(inode, inode_number(node));
    return volume.files().sync(inode, data_only != 0);
  });
}

void allocate(fuse_req_t request, fuse_ino_t node, int mode, off_t offset, off_t length, fuse_file_info*) noexcept {
  answer(Request{request}, [&](Volume& volume) -> Result<void> {
    TRY(inode, inode_number(node));
    if (offset < 0 || length <= 0 || offset > INT64_MAX - length) return errno_error(EINVAL);
    return volume.files().allocate(inode, mode, static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(length));
  });
}

namespace {

/// How long a RELEASE may be under way on another thread.
constexpr std::chrono::milliseconds kReleaseDelay{20};

}  // namespace

void seek(fuse_req_t request, fuse_ino_t node, off_t offset, int whence, fuse_file_info*) noexcept {
  const Request asked{request};
  answer(asked, [&](Volume& volume) -> Result<fuse_lseek_out> {
    TRY(inode, inode_number(node));
    // The kernel does not write its pages back before it asks. What a writer left there looks like a hole to us, and
    // whoever copies around holes would lose it. From the first such case on the kernel answers by itself, for all
    // files of the mount: everything up to the end is data. Coarse, but true.
    if (asked.dispatcher().negotiated().has(FUSE_WRITEBACK_CACHE) &&
        !asked.dispatcher().writers().none(inode, kReleaseDelay)) {
      return errno_error(ENOSYS);
    }
    if (whence != SEEK_DATA && whence != SEEK_HOLE) return errno_error(EINVAL);
    if (offset < 0) return errno_error(ENXIO);
    TRY(found, volume.files().seek(inode, static_cast<std::uint64_t>(offset), whence));
    return fuse_lseek_out{.offset = found};
  });
}

}  // namespace ops
}  // namespace worker::fuse
