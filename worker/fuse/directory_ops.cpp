// Directories: OPENDIR, READDIR, READDIRPLUS, FSYNCDIR.
#include <algorithm>
#include <cstring>

#include "worker/fuse/answer.h"
#include "worker/fuse/dispatcher.h"
#include "worker/fuse/operations.h"
#include "worker/volume/names.h"

namespace worker::fuse::ops {

void open_directory(fuse_req_t request, fuse_ino_t, fuse_file_info*) noexcept {
  const Request asked{request};
  // Said once, the kernel opens all directories by itself and caches what it read of them.
  if (asked.dispatcher().negotiated().has(FUSE_NO_OPENDIR_SUPPORT)) {
    asked.reply_error(ENOSYS);
  } else {
    asked.reply_structure(fuse_open_out{.fh = 0, .open_flags = FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR, .padding = 0});
  }
}

void sync_directory(fuse_req_t request, fuse_ino_t node, int, fuse_file_info*) noexcept {
  answer(Request{request}, [&](Volume& volume) -> Result<void> {
    TRY(inode_number(node));
    return volume.sync();
  });
}

namespace {

using Visited = volume::Names::Visited;

/// Fills memory with directory entries in the kernel's form, as many as fit.
class Listing {
 public:
  Listing(std::span<std::byte> memory, bool with_attributes) noexcept
      : memory_{memory}, with_attributes_{with_attributes} {}

  /// False, and nothing added, when there is no room.
  bool add(const Visited& visited) noexcept {
    const std::size_t start = with_attributes_ ? sizeof(fuse_entry_out) : 0;
    const std::size_t length = FUSE_DIRENT_ALIGN(start + FUSE_NAME_OFFSET + visited.name.size());
    if (length > memory_.size() - used_) return false;
    std::byte* at = memory_.data() + used_;
    std::memset(at + length - sizeof(std::uint64_t), 0, sizeof(std::uint64_t));  // what pads the name
    if (with_attributes_) {
      // Node 0 says that the entry carries a name but no attributes, and lends nothing.
      const fuse_entry_out entry = visited.attributes ? encode_entry(*visited.attributes) : fuse_entry_out{};
      std::memcpy(at, &entry, sizeof(entry));
    }
    const struct {
      std::uint64_t ino, off;
      std::uint32_t namelen, type;
    } head{visited.inode, visited.next_cookie, static_cast<std::uint32_t>(visited.name.size()), visited.type >> 12};
    static_assert(sizeof(head) == FUSE_NAME_OFFSET);
    std::memcpy(at + start, &head, sizeof(head));
    std::memcpy(at + start + sizeof(head), visited.name.data(), visited.name.size());
    used_ += length;
    return true;
  }

  Bytes bytes() const noexcept { return memory_.first(used_); }

  /// The kernel did not take the listing: what each entry lent comes back.
  void take_back(Volume& volume) const noexcept {
    for (std::size_t at = 0; with_attributes_ && at < used_;) {
      fuse_direntplus head;
      std::memcpy(static_cast<void*>(&head), memory_.data() + at, FUSE_NAME_OFFSET_DIRENTPLUS);
      if (const auto inode = inode_number(head.entry_out.nodeid); inode.ok()) give_back(volume, inode.value(), 1);
      at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + head.dirent.namelen);
    }
  }

 private:
  std::span<std::byte> memory_;
  std::size_t used_ = 0;
  bool with_attributes_;
};

void list(const Request& request, const Incoming& incoming, bool with_attributes) {
  fuse_read_in asked;
  std::memcpy(&asked, incoming.body.data(), sizeof(asked));
  Listing listing{incoming.scratch.first(std::min<std::size_t>(asked.size, incoming.scratch.size())), with_attributes};

  const auto filled = attempt([&]() -> Result<void> {
    TRY(inode, inode_number(incoming.header.nodeid));
    return request.volume().names().read_directory(inode, asked.offset, with_attributes,
                                                   [&](const Visited& visited) { return listing.add(visited); });
  });
  // What was read before an error is worth having; the error comes back with the next request.
  if (!filled.ok() && listing.bytes().empty()) return fail(request, filled.error());
  if (request.reply(listing.bytes()) != 0) listing.take_back(request.volume());
}

}  // namespace

void read_directory(const Request& request, const Incoming& incoming) { list(request, incoming, false); }

void read_directory_plus(const Request& request, const Incoming& incoming) { list(request, incoming, true); }

}  // namespace worker::fuse::ops
