// An orphan file that anybody may have filled: read when writing starts, used, emptied at the end. Input: what lies in
// its one block, from the start on. The image has no checksums, which would keep damage away from the code behind them.
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "tests/support/fake_device.h"
#include "tests/support/image.h"
#include "worker/volume/file_data.h"
#include "worker/volume/names.h"
#include "worker/volume/references.h"
#include "worker/volume/volume.h"

namespace {

using namespace worker::volume;

struct Sound {
  std::vector<std::byte> bytes;
  std::size_t file = 0;  ///< where the orphan file's block starts
};

/// Files that have names are inodes 13 and 14; the orphan file is inode 12.
const Sound& sound() {
  static const Sound kept = [] {
    const tests::Image image{"-t ext4 -b 1024 -N 64 -O ^metadata_csum,orphan_file -E orphan_file_size=1", "4M"};
    tests::FakeDevice device{tests::FakeDevice::contents_of(image.path())};
    auto opened = Volume::open(device, {});
    if (!opened.ok() || !(*opened)->start_writing().ok()) std::abort();
    Volume& volume = **opened;
    Sound made;
    const std::vector<std::byte> data(5000, std::byte{7});
    for (const char* name : {"a", "b"}) {
      const auto file = volume.names().create(kRootInode, name, {.mode = S_IFREG | 0644});
      if (!file.ok() || !volume.files().write(file->inode, 0, data, {}).ok()) std::abort();
    }
    const ext2_ino_t number = volume.fs()->super->s_orphan_file_inum;
    blk64_t home = 0;
    if (ext2fs_bmap2(volume.fs(), number, nullptr, nullptr, 0, 0, nullptr, &home) != 0) std::abort();
    made.file = home * 1024;
    if (!volume.close().ok()) std::abort();
    made.bytes = device.bytes();
    return made;
  }();
  return kept;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> bytes = sound().bytes;
  size = std::min<std::size_t>(size, 1024);
  std::copy_n(reinterpret_cast<const std::byte*>(data), size,
              bytes.begin() + static_cast<std::ptrdiff_t>(sound().file));
  tests::FakeDevice device{std::move(bytes)};
  auto opened = Volume::open(device, {.errors = ErrorPolicy::go_on});
  if (!opened.ok()) return 0;
  Volume& volume = **opened;
  (void)volume.start_writing();
  for (int i = 0; i < 3; ++i) {
    const auto file = volume.names().create(kRootInode, "gone", {.mode = S_IFREG | 0644});
    (void)volume.names().unlink(kRootInode, "gone");
    if (file.ok() && i == 1) (void)volume.references().give_back(file->inode, 1);
  }
  (void)volume.names().unlink(kRootInode, "a");
  (void)volume.close();
  return 0;
}
