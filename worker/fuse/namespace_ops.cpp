// Names: LOOKUP, FORGET, everything that makes, moves or removes one.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>

#include "worker/fuse/answer.h"
#include "worker/fuse/open_rules.h"
#include "worker/fuse/operations.h"
#include "worker/volume/inodes.h"
#include "worker/volume/names.h"
#include "worker/volume/references.h"

namespace worker::fuse::ops {

namespace {

Result<Entry> as_entry(Result<volume::Attributes> found) {
  TRY(attributes, std::move(found));
  return Entry{attributes};
}

volume::NewInode new_inode(const Request& request, std::uint32_t mode) noexcept {
  return {.mode = mode, .umask = request.umask(), .uid = request.uid(), .gid = request.gid(), .device = 0};
}

/// LOOKUP of "." asks for the node itself, which then need not be a directory: a file handle is being opened.
Result<Entry> lookup_itself(Volume& volume, InodeNumber inode) {
  return volume.inspect([&]() -> Result<Entry> {
    TRY(found, volume.inodes().read(inode));
    // Without a name and without anybody who holds it, the inode is on its way out.
    if (found.links() == 0 && !volume.references().lent(inode)) return errno_error(ESTALE);
    if (inode != volume::kRootInode) volume.references().lend(inode);
    return Entry{volume.inodes().attributes(found)};
  });
}

}  // namespace

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept {
  answer(Request{request}, [&](Volume& volume) -> Result<std::optional<Entry>> {
    TRY(directory, inode_number(parent));
    auto found = std::strcmp(name, ".") == 0 ? lookup_itself(volume, directory)
                                             : as_entry(volume.names().lookup(directory, name));
    if (found.ok()) return std::optional{found.value()};
    if (errno_of(found.error()) == ENOENT) return std::optional<Entry>{};
    return std::move(found).error();
  });
}

void forget(fuse_req_t request, fuse_ino_t node, std::uint64_t count) noexcept {
  if (const auto inode = inode_number(node); inode.ok()) give_back(Request{request}.volume(), inode.value(), count);
  fuse_reply_none(request);
}

void forget_many(fuse_req_t request, std::size_t count, fuse_forget_data* nodes) noexcept {
  Volume& volume = Request{request}.volume();
  for (const fuse_forget_data& node : std::span{nodes, count}) {
    if (const auto inode = inode_number(node.ino); inode.ok()) give_back(volume, inode.value(), node.nlookup);
  }
  fuse_reply_none(request);
}

void make_node(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t device) noexcept {
  const Request asked{request};
  answer(asked, [&](Volume& volume) -> Result<Entry> {
    TRY(directory, inode_number(parent));
    if (S_ISDIR(mode) || S_ISLNK(mode)) return errno_error(EINVAL);
    auto wanted = new_inode(asked, mode);
    wanted.device = static_cast<std::uint32_t>(device);
    return as_entry(volume.names().create(directory, name, wanted));
  });
}

void make_directory(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) noexcept {
  const Request asked{request};
  answer(asked, [&](Volume& volume) -> Result<Entry> {
    TRY(directory, inode_number(parent));
    return as_entry(volume.names().create(directory, name, new_inode(asked, (mode & 07777) | S_IFDIR)));
  });
}

void make_symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) noexcept {
  const Request asked{request};
  answer(asked, [&](Volume& volume) -> Result<Entry> {
    TRY(directory, inode_number(parent));
    return as_entry(volume.names().symlink(directory, name, target, new_inode(asked, S_IFLNK | 0777)));
  });
}

void link(fuse_req_t request, fuse_ino_t node, fuse_ino_t parent, const char* name) noexcept {
  answer(Request{request}, [&](Volume& volume) -> Result<Entry> {
    TRY(inode, inode_number(node));
    TRY(directory, inode_number(parent));
    return as_entry(volume.names().link(inode, directory, name));
  });
}

void unlink(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept {
  answer(Request{request}, [&](Volume& volume) -> Result<void> {
    TRY(directory, inode_number(parent));
    return volume.names().unlink(directory, name);
  });
}

void remove_directory(fuse_req_t request, fuse_ino_t parent, const char* name) noexcept {
  answer(Request{request}, [&](Volume& volume) -> Result<void> {
    TRY(directory, inode_number(parent));
    return volume.names().remove_directory(directory, name);
  });
}

void rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent, const char* new_name,
            unsigned flags) noexcept {
  answer(Request{request}, [&](Volume& volume) -> Result<void> {
    TRY(from, inode_number(parent));
    TRY(to, inode_number(new_parent));
    return volume.names().rename(from, name, to, new_name, flags);
  });
}

void read_link(fuse_req_t request, fuse_ino_t node) noexcept {
  answer(Request{request}, [&](Volume& volume) -> Result<std::string> {
    TRY(inode, inode_number(node));
    return volume.names().read_link(inode);
  });
}

namespace {

/// The name was there already. Opens what it stands for, or gives the reference back.
Result<OpenedEntry> open_existing(Volume& volume, InodeNumber directory, const char* name,
                                  const fuse_create_in& asked) {
  TRY(attributes, volume.names().lookup(directory, name));
  auto opened = open_inode(volume, attributes.inode, asked.flags, asked.open_flags);
  if (opened.ok() && S_ISREG(attributes.mode)) {
    return OpenedEntry{attributes, {.inode = attributes.inode, .flags = asked.flags, .open_flags = opened.value()}};
  }
  give_back(volume, attributes.inode, 1);
  if (!opened.ok()) return std::move(opened).error();
  return errno_error(EEXIST);
}

}  // namespace

void create(const Request& request, const Incoming& incoming) {
  fuse_create_in asked;
  std::memcpy(&asked, incoming.body.data(), sizeof(asked));
  const auto* name = reinterpret_cast<const char*>(incoming.body.data() + sizeof(asked));

  answer(request, [&](Volume& volume) -> Result<OpenedEntry> {
    TRY(directory, inode_number(incoming.header.nodeid));
    const volume::NewInode wanted{.mode = (asked.mode & 07777) | S_IFREG,
                                  .umask = asked.umask,
                                  .uid = request.uid(),
                                  .gid = request.gid(),
                                  .device = 0};
    auto made = volume.names().create(directory, name, wanted);
    if (made.ok()) {
      return OpenedEntry{made.value(), {.inode = made->inode, .flags = asked.flags, .open_flags = kOpenFlags}};
    }
    if (errno_of(made.error()) != EEXIST || (asked.flags & O_EXCL)) return std::move(made).error();
    return open_existing(volume, directory, name, asked);
  });
}

}  // namespace worker::fuse::ops
