// A directory with an index of two levels whose bytes anybody may have chosen: searched, listed, changed, moved,
// removed. Input: a byte that says which directory (bit 0: with checksums, which are then made right again, so that
// damage gets past them; bit 1: the inode has lost its index flag), then records of three bytes of offset in the
// directory (little-endian) and one byte that takes the place of what a sound one has there.
#include <sys/stat.h>

#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "tests/support/fake_device.h"
#include "tests/support/image.h"
#include "worker/volume/directory_blocks.h"
#include "worker/volume/index_format.h"
#include "worker/volume/inodes.h"
#include "worker/volume/names.h"
#include "worker/volume/volume.h"

namespace {

using namespace worker::volume;

constexpr std::size_t kBlockSize = 1024;
constexpr std::size_t kRecord = 4;
constexpr int kNames = 500;
constexpr std::uint64_t kMostVisits = 100'000;  // far more than entries fit: beyond, a listing does not end

/// The directory's own blocks and how they are sealed.
struct Sound {
  std::vector<std::byte> image;
  std::vector<BlockNumber> blocks;
  DirectoryFormat format;
  InodeNumber directory = 0, file = 0;
};

std::string name_of(int number) { return std::to_string(number) + std::string(200, 'n'); }

void must(bool condition) {
  if (!condition) std::abort();
}

Sound make(bool checksums, bool flag) {
  const tests::Image empty{std::string{"-t ext4 -b 1024 -N 64 -O ^has_journal,^resize_inode,"} +
                               (checksums ? "metadata_csum" : "^metadata_csum"),
                           "1M"};
  tests::FakeDevice device{tests::FakeDevice::contents_of(empty.path())};
  auto opened = Volume::open(device, {});
  must(opened.ok() && (*opened)->start_writing().ok());
  Volume& volume = **opened;
  Sound sound;
  sound.directory = volume.names().create(kRootInode, "d", {.mode = S_IFDIR | 0755})->inode;
  sound.file = volume.names().create(kRootInode, "file", {.mode = S_IFREG | 0644})->inode;
  must(volume.names().create(kRootInode, "other", {.mode = S_IFDIR | 0755}).ok());
  for (int i = 0; i < kNames; ++i) must(volume.names().link(sound.file, sound.directory, name_of(i)).ok());
  const auto prepared = volume.mutate([&](Operation& operation) -> Result<void> {
    TRY(inode, volume.inodes().read(sound.directory));
    MappedBlocks mapped{volume, inode};
    for (LogicalBlock block = 0; block < mapped.count(); ++block) {
      TRY(place, mapped.locate(block));
      sound.blocks.push_back(place);
    }
    sound.format = DirectoryBlocks{volume, inode}.format();
    if (!flag) inode.raw.i_flags &= ~std::uint32_t{EXT2_INDEX_FL};
    return volume.inodes().write(operation, inode);
  });
  must(prepared.ok() && volume.close().ok());
  sound.image = device.bytes();
  must(load_root_info(std::span{sound.image}.subspan(sound.blocks[0] * kBlockSize, kBlockSize)).levels == 1);
  return sound;
}

const Sound& sound(std::uint8_t which) {
  static const Sound kept[] = {make(false, true), make(true, true), make(false, false), make(true, false)};
  return kept[which & 3];
}

void seal(const DirectoryFormat& format, LogicalBlock block, std::span<std::byte> bytes) {
  if (block == 0 && root_has_right_shape(format, bytes))
    seal_index(format, bytes, kRootPairs);
  else if (node_has_right_shape(format, bytes))
    seal_index(format, bytes, kNodePairs);
  else
    seal_leaf(format, bytes);
}

void list(Names& names, InodeNumber directory, std::uint64_t cookie, bool with_attributes) {
  std::uint64_t visits = 0;
  (void)names.read_directory(directory, cookie, with_attributes, [&](const auto&) { return ++visits < kMostVisits; });
  must(visits < kMostVisits);
}

void use(Volume& volume, const Sound& which) {
  Names& names = volume.names();
  list(names, which.directory, 0, true);
  for (int i = 0; i < kNames; i += 37) {
    (void)names.lookup(which.directory, name_of(i));
    (void)names.link(which.file, which.directory, "added" + name_of(i));
    (void)names.unlink(which.directory, name_of(i + 1));
    (void)names.rename(which.directory, name_of(i + 2), which.directory, name_of(i + 3), 0);
  }
  list(names, which.directory, std::uint64_t{1} << 61, false);
  const auto other = names.lookup(kRootInode, "other");
  if (other.ok()) (void)names.rename(kRootInode, "d", other->inode, "d", 0);
  (void)names.lookup(which.directory, "..");
  (void)names.remove_directory(other.ok() ? other->inode : kRootInode, "d");
  list(names, which.directory, 0, false);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Sound& which = sound(data[0]);
  std::vector<std::byte> image = which.image;
  std::set<LogicalBlock> touched;
  for (std::size_t at = 1; at + kRecord <= size; at += kRecord) {
    const std::size_t offset = (data[at] | data[at + 1] << 8 | data[at + 2] << 16) % (which.blocks.size() * kBlockSize);
    touched.insert(offset / kBlockSize);
    image[which.blocks[offset / kBlockSize] * kBlockSize + offset % kBlockSize] = std::byte{data[at + 3]};
  }
  for (const LogicalBlock block : touched)
    seal(which.format, block, std::span{image}.subspan(which.blocks[block] * kBlockSize, kBlockSize));
  tests::FakeDevice device{std::move(image)};
  auto opened = Volume::open(device, {.errors = ErrorPolicy::go_on});
  must(opened.ok() && (*opened)->start_writing().ok());
  use(**opened, which);
  (void)(*opened)->close();
  return 0;
}
