// How files share the space of a volume: long extents while they grow together, and the last block.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>

#include "tests/worker/volume/file_fixture.h"
#include "worker/volume/file_mapping.h"
#include "worker/volume/names.h"

namespace worker::volume {
namespace {

using testing::failure;
using testing::FileImage;
using testing::Mounted;

constexpr std::uint64_t kMiB = 1 << 20;

std::size_t count_extents(Mounted& volume, InodeNumber inode) {
  Inode node = volume.read_inode(inode);
  std::size_t extents = 0;
  std::array<Run, 64> runs;
  for (LogicalBlock at = 0, end = node.size() / volume->fs()->blocksize; at < end;) {
    const auto count = volume->inspect([&] { return FileMapping(*volume, node).runs(at, runs); });
    if (!count.ok() || *count == 0) return 0;
    for (const Run& run : std::span{runs}.first(*count)) extents += run.state != RunState::hole;
    at = runs[*count - 1].end();
  }
  return extents;
}

struct Sharing {
  const char* options;
  std::uint64_t average;  ///< bytes of an extent, at least
};
void PrintTo(const Sharing& sharing, std::ostream* out) { *out << sharing.options; }

class SpaceOn : public ::testing::TestWithParam<Sharing> {};
INSTANTIATE_TEST_SUITE_P(Layouts, SpaceOn,
                         ::testing::Values(Sharing{"-t ext4 -b 4096", 5 * kMiB},
                                           Sharing{"-t ext4 -b 1024", 3 * kMiB / 2},
                                           Sharing{"-t ext4 -b 4096 -O ^flex_bg", 5 * kMiB},
                                           // An indirect block lies between the data of every 4 MiB.
                                           Sharing{"-t ext3 -b 4096", 2 * kMiB}));

TEST_P(SpaceOn, four_files_that_grow_together_get_long_extents) {
  constexpr unsigned kFiles = 4;
  constexpr std::uint64_t kSize = 64 * kMiB;
  const FileImage image{GetParam().options, "512M", kFiles};
  Mounted volume{image};
  std::array<InodeNumber, kFiles> files{};
  for (unsigned i = 0; i < kFiles; ++i) files[i] = volume.inode("f" + std::to_string(i));
  const testing::Bytes piece(64 << 10, std::byte{3});
  for (std::uint64_t at = 0; at < kSize; at += piece.size())
    for (const InodeNumber file : files) volume.write(file, at, piece);
  std::size_t extents = 0;
  for (const InodeNumber file : files) extents += count_extents(volume, file);
  RecordProperty("extents", static_cast<int>(extents));
  EXPECT_GE(kFiles * kSize / extents, GetParam().average);
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

/// Writes until there is no room; returns how much went in.
std::uint64_t fill(Mounted& volume, InodeNumber file) {
  const testing::Bytes piece(64 << 10, std::byte{3});
  for (std::uint64_t done = 0;;) {
    const auto put = volume.files().write(file, done, piece, {});
    if (!put.ok()) {
      EXPECT_EQ(failure(put), ENOSPC);
      return done;
    }
    done += *put;
  }
}

struct Full {
  const char* name;
  const char* options;
  unsigned uid;
};
void PrintTo(const Full& full, std::ostream* out) { *out << full.name; }

class FullVolume : public ::testing::TestWithParam<Full> {};
INSTANTIATE_TEST_SUITE_P(Reserves, FullVolume,
                         ::testing::Values(Full{"root", "-t ext4", 0}, Full{"user", "-t ext4", 1000},
                                           Full{"large_reserve_user", "-t ext4 -m 30", 1000},
                                           Full{"no_reserve_root", "-t ext4 -m 0", 0},
                                           Full{"no_reserve_user", "-t ext4 -m 0 -b 1024", 1000},
                                           Full{"ext2_root", "-t ext2 -b 1024", 0},
                                           Full{"ext3_user", "-t ext3 -m 0", 1000}),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST_P(FullVolume, ends_where_the_kernel_ends_and_has_room_again_after_deleting) {
  const Full& full = GetParam();
  const FileImage image{full.options, "48M", 0};
  const std::string at = image.directory().string() + "/mnt";
  const std::string user = std::to_string(full.uid);
  const auto kernel = tests::run("unshare -m --propagation private sh -ec 'm=" + at + "; cp " + image.path() +
                                 " $m.img; mkdir $m; mount -o loop $m.img $m; mkdir -m 777 $m/d; cd $m/d; "
                                 "setpriv --reuid=" +
                                 user + " --regid=" + user +
                                 " --clear-groups dd if=/dev/zero of=f bs=64k 2>/dev/null || true; "
                                 "sync -f $m; stat -c %s f; cd /; umount $m'");
  ASSERT_EQ(kernel.status, 0) << kernel.output;
  const std::uint64_t theirs = std::stoull(kernel.output);

  Mounted volume{image};
  const auto directory = volume->names().create(kRootInode, "d", {.mode = S_IFDIR | 0777});
  const auto make = [&](const char* name) {
    return volume->names().create(directory->inode, name, {.mode = S_IFREG | 0644, .uid = full.uid})->inode;
  };
  const InodeNumber file = make("f");
  const std::uint64_t ours = fill(volume, file);
  EXPECT_LE(std::max(ours, theirs) - std::min(ours, theirs), kMiB) << ours << " of ours, " << theirs << " of theirs";
  EXPECT_EQ(failure(volume->files().write(make("g"), 0, testing::Bytes(1 << 20), {})), ENOSPC);

  ASSERT_TRUE(volume->files().truncate(file, ours / 2).ok());
  const std::uint64_t again = fill(volume, make("h"));
  EXPECT_LE(std::max(again, ours - ours / 2) - std::min(again, ours - ours / 2), kMiB) << "as much as was deleted";
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

}  // namespace
}  // namespace worker::volume
