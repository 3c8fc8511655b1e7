// A volume whose bytes anybody may have chosen: opened, walked, read, written to and closed. Input: records of three
// bytes of offset (little-endian) and one byte that takes the place of what a sound image has there. The image has no
// checksums, which would keep damage away from the code behind them.
#include <sys/stat.h>

#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "tests/support/fake_device.h"
#include "tests/support/image.h"
#include "worker/volume/file_data.h"
#include "worker/volume/names.h"
#include "worker/volume/references.h"
#include "worker/volume/volume.h"
#include "worker/volume/xattrs.h"

namespace {

using namespace worker::volume;

constexpr std::size_t kRecord = 4;
/// A damaged directory may name inodes for ever.
constexpr std::size_t kMostVisits = 200;
constexpr std::size_t kPiece = 64 << 10;

/// Something of everything: extents, indirect blocks, an index, links short and long, attributes inside and outside.
const std::vector<std::byte>& sound_image() {
  static const std::vector<std::byte> kept = [] {
    const tests::Image image{"-t ext4 -b 1024 -I 256 -N 128 -O ^has_journal,^resize_inode,^metadata_csum", "1M"};
    tests::FakeDevice device{tests::FakeDevice::contents_of(image.path())};
    auto opened = Volume::open(device, {});
    if (!opened.ok() || !(*opened)->start_writing().ok()) std::abort();
    Volume& volume = **opened;
    const NewInode file{.mode = S_IFREG | 0644}, folder{.mode = S_IFDIR | 0755};
    const auto made = volume.names().create(kRootInode, "folder", folder);
    for (int number = 0; number < 60; ++number)
      (void)volume.names().create(made->inode, "name-" + std::to_string(number) + std::string(30, 'n'), file);
    const auto data = volume.names().create(kRootInode, "data", file);
    const std::vector<std::byte> block(1024, std::byte{7});
    for (std::uint64_t place = 0; place < 12; place += 2)
      (void)volume.files().write(data->inode, place * 1024, block, {});
    (void)volume.xattrs().set(data->inode, "user.small", std::span{block}.first(10), SetMode::any, false);
    (void)volume.xattrs().set(data->inode, "user.large", std::span{block}.first(600), SetMode::any, false);
    (void)volume.names().symlink(kRootInode, "short", "target", {.mode = S_IFLNK | 0777});
    (void)volume.names().symlink(kRootInode, "long", std::string(200, 't'), {.mode = S_IFLNK | 0777});
    if (!volume.close().ok()) std::abort();
    return device.bytes();
  }();
  return kept;
}

/// Does to every inode that can be reached what a curious user would.
class Visitor {
 public:
  explicit Visitor(Volume& volume) : volume_{volume} {}

  void visit(InodeNumber inode) {
    if (seen_.size() >= kMostVisits || !seen_.insert(inode).second) return;
    std::vector<std::pair<InodeNumber, std::string>> found;
    std::size_t left = kMostVisits;
    (void)volume_.names().read_directory(inode, 0, true, [&](const Names::Visited& entry) {
      if (entry.attributes != nullptr) lent_.push_back(entry.inode);
      found.emplace_back(entry.inode, entry.name);
      return --left > 0;
    });
    for (const auto& [child, name] : found) {
      if (const auto looked_up = volume_.names().lookup(inode, name); looked_up.ok()) lent_.push_back(looked_up->inode);
      if (name != "." && name != "..") visit(child);
    }
    look_at(inode);
  }

  void change(InodeNumber inode) {
    const std::vector<std::byte> bytes(3000, std::byte{9});
    (void)volume_.files().write(inode, 500, bytes, {});
    (void)volume_.files().truncate(inode, 100);
    (void)volume_.xattrs().set(inode, "user.small", std::span{bytes}.first(40), SetMode::any, false);
    if (const auto made = volume_.names().create(inode, "new", {.mode = S_IFREG | 0600}); made.ok())
      lent_.push_back(made->inode);
    (void)volume_.names().unlink(inode, "data");
    (void)volume_.names().rename(inode, "short", inode, "renamed", 0);
  }

  const std::set<InodeNumber>& seen() const { return seen_; }
  void give_back() {
    for (const InodeNumber inode : lent_) (void)volume_.references().give_back(inode, 1);
  }

 private:
  void look_at(InodeNumber inode) {
    std::vector<std::byte> piece(kPiece);
    (void)volume_.files().read(inode, 0, piece);
    (void)volume_.files().seek(inode, 0, SEEK_HOLE);
    (void)volume_.names().read_link(inode);
    (void)volume_.xattrs().list(inode);
    (void)volume_.xattrs().get(inode, "user.large");
  }

  Volume& volume_;
  std::set<InodeNumber> seen_;
  std::vector<InodeNumber> lent_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> bytes = sound_image();
  for (std::size_t at = 0; at + kRecord <= size; at += kRecord) {
    const std::size_t offset = data[at] | data[at + 1] << 8 | data[at + 2] << 16;
    bytes[offset % bytes.size()] = std::byte{data[at + 3]};
  }
  tests::FakeDevice device{std::move(bytes)};
  auto opened = Volume::open(device, {.errors = ErrorPolicy::go_on});
  if (!opened.ok()) return 0;
  Volume& volume = **opened;
  (void)volume.start_writing();
  Visitor visitor{volume};
  visitor.visit(kRootInode);
  for (const InodeNumber inode : visitor.seen()) visitor.change(inode);
  visitor.give_back();
  (void)volume.close();
  return 0;
}
