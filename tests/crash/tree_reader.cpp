#include "tests/crash/tree_reader.h"

#include <sys/stat.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <vector>

#include "worker/disk/ext2_errors.h"
#include "worker/disk/ext2fs.h"

namespace crash {
namespace {

using protocol::errno_error;
using protocol::Result;

// libext2fs's I/O from memory. Its manager gets nothing but a name, which carries the address of the bytes.

using Bytes = std::span<const std::byte>;

io_manager memory_manager();

errcode_t open_memory(const char* name, int, io_channel* channel) {
  std::uintptr_t address = 0;
  std::from_chars(name, name + std::strlen(name), address, 16);
  auto* made = static_cast<io_channel>(std::calloc(1, sizeof **channel));
  if (made == nullptr) return EXT2_ET_NO_MEMORY;
  made->magic = EXT2_ET_MAGIC_IO_CHANNEL;
  made->manager = memory_manager();
  made->name = ::strdup(name);
  made->block_size = 1024;
  made->refcount = 1;
  made->private_data = reinterpret_cast<void*>(address);
  *channel = made;
  return 0;
}

errcode_t close_memory(io_channel channel) {
  if (--channel->refcount > 0) return 0;
  std::free(channel->name);
  std::free(channel);
  return 0;
}

errcode_t set_block_size(io_channel channel, int size) {
  channel->block_size = size;
  return 0;
}

errcode_t read_memory(io_channel channel, unsigned long long block, int count, void* into) {
  const Bytes bytes = *static_cast<const Bytes*>(channel->private_data);
  const std::uint64_t size = static_cast<std::uint64_t>(channel->block_size);
  const std::uint64_t length =
      count < 0 ? static_cast<std::uint64_t>(-count) : static_cast<std::uint64_t>(count) * size;
  if (block > bytes.size() / size || length > bytes.size() - block * size) return EXT2_ET_SHORT_READ;
  std::memcpy(into, bytes.data() + block * size, length);
  return 0;
}

errcode_t read_memory_32(io_channel channel, unsigned long block, int count, void* into) {
  return read_memory(channel, block, count, into);
}

errcode_t refuse_write(io_channel, unsigned long long, int, const void*) { return EXT2_ET_RO_FILSYS; }
errcode_t refuse_write_32(io_channel, unsigned long, int, const void*) { return EXT2_ET_RO_FILSYS; }
errcode_t do_nothing(io_channel) { return 0; }

io_manager memory_manager() {
  static struct_io_manager manager = [] {
    struct_io_manager made{};
    made.magic = EXT2_ET_MAGIC_IO_MANAGER;
    made.name = "memory";
    made.open = open_memory;
    made.close = close_memory;
    made.set_blksize = set_block_size;
    made.read_blk = read_memory_32;
    made.write_blk = refuse_write_32;
    made.flush = do_nothing;
    made.read_blk64 = read_memory;
    made.write_blk64 = refuse_write;
    return made;
  }();
  return &manager;
}

struct Library {
  ext2_filsys fs = nullptr;
  explicit Library(const Bytes& bytes) {
    char name[2 + 2 * sizeof(void*)] = {};
    std::to_chars(name, name + sizeof name - 1, reinterpret_cast<std::uintptr_t>(&bytes), 16);
    failed = ext2fs_open2(name, nullptr, EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP | EXT2_FLAG_SOFTSUPP_FEATURES, 0, 0,
                          memory_manager(), &fs);
    if (failed != 0) fs = nullptr;
  }
  ~Library() {
    if (fs != nullptr) ext2fs_free(fs);
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  errcode_t failed = 0;
};

struct Entry {
  std::string name;
  InodeNumber inode;
};

Result<std::vector<Entry>> entries_of(ext2_filsys fs, InodeNumber directory) {
  std::vector<Entry> entries;
  const auto visit = [](ext2_ino_t, int, ext2_dir_entry* entry, int, int, char*, void* into) {
    std::string name{entry->name, static_cast<std::size_t>(ext2fs_dirent_name_len(entry))};
    if (name != "." && name != "..") static_cast<std::vector<Entry>*>(into)->push_back({std::move(name), entry->inode});
    return 0;
  };
  TRY_EXT2(ext2fs_dir_iterate2(fs, directory, 0, nullptr, visit, &entries));
  return entries;
}

Result<std::string> contents_of(ext2_filsys fs, InodeNumber inode, std::uint64_t size) {
  std::string data(size, '\0');
  ext2_file_t file = nullptr;
  TRY_EXT2(ext2fs_file_open(fs, inode, 0, &file));
  std::size_t done = 0;
  errcode_t failed = 0;
  for (unsigned got = 1; failed == 0 && got > 0 && done < size; done += got)
    failed = ext2fs_file_read(file, data.data() + done, static_cast<unsigned>(size - done), &got);
  ext2fs_file_close(file);
  TRY_EXT2(failed);
  if (done != size) return errno_error(EIO, "file ends early");
  return data;
}

Result<std::map<std::string, std::string>> xattrs_of(ext2_filsys fs, InodeNumber inode) {
  std::map<std::string, std::string> found;
  ext2_xattr_handle* handle = nullptr;
  TRY_EXT2(ext2fs_xattrs_open(fs, inode, &handle));
  errcode_t failed = ext2fs_xattrs_read(handle);
  const auto visit = [](char* name, char* value, size_t size, void* into) {
    static_cast<std::map<std::string, std::string>*>(into)->emplace(name, std::string{value, size});
    return 0;
  };
  if (failed == 0) failed = ext2fs_xattrs_iterate(handle, visit, &found);
  ext2fs_xattrs_close(&handle);
  TRY_EXT2(failed);
  return found;
}

Result<Node> node_of(ext2_filsys fs, InodeNumber number) {
  ext2_inode_large raw{};
  auto* inode = reinterpret_cast<ext2_inode*>(&raw);
  TRY_EXT2(ext2fs_read_inode_full(fs, number, inode, sizeof raw));
  Node node{.mode = raw.i_mode, .uid = inode_uid(raw), .gid = inode_gid(raw), .links = raw.i_links_count};
  const bool device = S_ISCHR(node.mode) || S_ISBLK(node.mode);
  if (device) node.device = raw.i_block[0] != 0 ? raw.i_block[0] : raw.i_block[1];
  if (S_ISREG(node.mode) || S_ISLNK(node.mode)) node.size = EXT2_I_SIZE(&raw);
  const bool in_inode = S_ISLNK(node.mode) && ext2fs_is_fast_symlink(inode);
  if (in_inode)
    node.data.assign(reinterpret_cast<const char*>(raw.i_block), node.size);
  else if (S_ISREG(node.mode) || S_ISLNK(node.mode)) {
    TRY(data, contents_of(fs, number, node.size));
    node.data = std::move(data);
  }
  TRY(xattrs, xattrs_of(fs, number));
  node.xattrs = std::move(xattrs);
  return node;
}

}  // namespace

Result<Tree> read_tree(Bytes volume) {
  const Library library{volume};
  TRY_EXT2(library.failed);
  Tree tree;
  std::deque<InodeNumber> waiting{worker::volume::kRootInode};
  while (!waiting.empty()) {
    const InodeNumber number = waiting.front();
    waiting.pop_front();
    if (tree.nodes.contains(number)) continue;
    auto read = node_of(library.fs, number);
    if (!read.ok()) return errno_error(EIO, "inode " + std::to_string(number) + ": " + read.error().message());
    auto node = std::make_shared<Node>(std::move(read).value());
    if (S_ISDIR(node->mode)) {
      TRY(entries, entries_of(library.fs, number));
      for (const Entry& entry : entries) {
        if (!node->entries.emplace(entry.name, entry.inode).second) return errno_error(EIO, "twice: " + entry.name);
        waiting.push_back(entry.inode);
      }
    }
    tree.nodes.emplace(number, std::move(node));
  }
  return tree;
}

std::vector<std::uint64_t> journal_blocks(Bytes volume) {
  std::vector<std::uint64_t> blocks;
  const Library library{volume};
  if (library.fs == nullptr || !ext2fs_has_feature_journal(library.fs->super)) return blocks;
  const auto visit = [](ext2_filsys, blk64_t* block, e2_blkcnt_t, blk64_t, int, void* into) {
    static_cast<std::vector<std::uint64_t>*>(into)->push_back(*block);
    return 0;
  };
  (void)ext2fs_block_iterate3(library.fs, library.fs->super->s_journal_inum,
                              BLOCK_FLAG_READ_ONLY | BLOCK_FLAG_DATA_ONLY, nullptr, visit, &blocks);
  return blocks;
}

}  // namespace crash
