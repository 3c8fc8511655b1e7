#include "worker/volume/directory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <random>

#include "tests/worker/volume/mounted.h"

namespace worker::volume {
namespace {

using tests::error_of;
using tests::Image;
using tests::listing;
using tests::Mounted;
using tests::new_directory;
using tests::new_file;

struct Layout {
  std::string name;
  std::string mke2fs;
  std::string size = "64M";
  std::string hash = {};         // a default hash version, for debugfs
  bool unsigned_characters = false;
};

std::string random_name(std::mt19937& random) {
  const std::size_t length = random() % 8 == 0 ? 1 + random() % 255 : 4 + random() % 24;
  std::string name(length, 'x');
  for (char& c : name) {
    do c = static_cast<char>(random() % 256);
    while (c == '/' || c == '\0');
  }
  return name;
}

struct LaidOut : Image {
  explicit LaidOut(const Layout& layout) : Image{layout.mke2fs, layout.size} {
    if (!layout.hash.empty()) debugfs("set_super_value def_hash_version " + layout.hash);
    if (layout.unsigned_characters) debugfs("set_super_value flags 2");
  }
};

class DirectoryModel : public testing::TestWithParam<Layout> {};

TEST_P(DirectoryModel, agrees_with_a_map_through_random_changes) {
  const LaidOut image{GetParam()};
  std::mt19937 random{42};
  std::map<std::string, InodeNumber> model;
  InodeNumber directory = 0;
  {
    Mounted volume{image};
    const auto made = volume.names().create(kRootInode, "d", new_directory());
    ASSERT_TRUE(made.ok()) << made.error().message();
    directory = made->inode;
    std::vector<InodeNumber> files;
    for (int i = 0; i < 3; ++i) {
      const auto file = volume.names().create(kRootInode, "file" + std::to_string(i), new_file());
      ASSERT_TRUE(file.ok()) << file.error().message();
      files.push_back(file->inode);
    }
    const int rounds = GetParam().mke2fs.find("^dir_index") == std::string::npos ? 20000 : 2500;
    for (int round = 0; round < rounds; ++round) {
      const bool remove = !model.empty() && random() % 10 < (round / 2000 % 3 == 2 ? 7U : 2U);
      if (remove) {
        auto victim = model.lower_bound(random_name(random));
        if (victim == model.end()) victim = model.begin();
        const auto gone = volume.names().unlink(directory, victim->first);
        ASSERT_TRUE(gone.ok()) << gone.error().message();
        model.erase(victim);
      } else {
        const std::string name = random_name(random);
        const InodeNumber file = files[random() % files.size()];
        const auto linked = volume.names().link(file, directory, name);
        ASSERT_EQ(error_of(linked), model.contains(name) ? EEXIST : 0);
        model.emplace(name, file);
      }
      if (random() % 16 == 0) {
        const std::string name = random_name(random);
        EXPECT_EQ(error_of(volume.names().lookup(directory, name)), model.contains(name) ? 0 : ENOENT);
      }
    }
    for (const auto& [name, inode] : model) {
      const auto found = volume.names().lookup(directory, name);
      ASSERT_TRUE(found.ok()) << found.error().message();
      ASSERT_EQ(found->inode, inode);
    }
    EXPECT_EQ(listing(*volume, directory), model);
    ASSERT_TRUE(volume.close());
  }
  EXPECT_EQ(image.complaints(), "");
  Mounted again{image};
  EXPECT_EQ(listing(*again, directory, 7), model);
  EXPECT_TRUE(again.close());
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, DirectoryModel,
    testing::Values(Layout{"plain_1k", "-t ext4 -b 1024"}, Layout{"plain_4k", "-t ext4 -b 4096"},
                    Layout{"no_checksums", "-t ext4 -b 4096 -O ^metadata_csum"},
                    Layout{"no_checksums_1k", "-t ext4 -b 1024 -O ^metadata_csum,^64bit"},
                    Layout{"large_1k", "-t ext4 -b 1024 -O large_dir"},
                    Layout{"blocks_of_64k", "-t ext4 -b 65536", "256M"},
                    Layout{"linear", "-t ext4 -b 1024 -O ^dir_index"},
                    Layout{"linear_no_checksums", "-t ext4 -b 4096 -O ^dir_index,^metadata_csum"},
                    Layout{"indirect", "-t ext3 -b 1024"}, Layout{"second", "-t ext2 -b 4096"},
                    Layout{"no_types", "-t ext2 -b 1024 -O ^filetype"},
                    Layout{"legacy", "-t ext4 -b 1024", "64M", "legacy"}, Layout{"tea", "-t ext4 -b 1024", "64M", "tea"},
                    Layout{"half_md4_unsigned", "-t ext4 -b 1024", "64M", "half_md4", true},
                    Layout{"legacy_unsigned", "-t ext4 -b 1024", "64M", "legacy", true},
                    Layout{"tea_unsigned", "-t ext4 -b 1024", "64M", "tea", true}),
    [](const auto& layout) { return layout.param.name; });

std::string numbered(int i) { return "name-" + std::to_string(1000000 + i) + ".txt"; }

TEST(Directory, a_name_costs_the_same_among_many_as_among_few) {
  constexpr int kNames = 100000;
  constexpr int kPart = 10000;
  const Image image{"-t ext4 -b 4096 -N 4096", "128M"};
  Mounted volume{image};
  const InodeNumber directory = volume.names().create(kRootInode, "d", new_directory())->inode;
  std::vector<InodeNumber> files;
  for (int i = 0; i < 2; ++i)
    files.push_back(volume.names().create(kRootInode, "file" + std::to_string(i), new_file())->inode);
  std::vector<double> seconds;
  for (int i = 0; i < kNames; i += kPart) {
    const auto start = std::chrono::steady_clock::now();
    for (int j = i; j < i + kPart; ++j) ASSERT_TRUE(volume.names().link(files[j % 2], directory, numbered(j)).ok());
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  const double whole = std::accumulate(seconds.begin(), seconds.end(), 0.0);
  RecordProperty("inserts_per_second", static_cast<int>(kNames / whole));
  std::printf("%d inserts/s; first part %.3f s, last %.3f s\n", static_cast<int>(kNames / whole), seconds.front(), seconds.back());
  // Other tests share the machine: what would grow with the directory would grow tenfold.
  EXPECT_LT(*std::min_element(seconds.end() - 3, seconds.end()), 5 * *std::min_element(seconds.begin(), seconds.begin() + 3));
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kNames; ++i) ASSERT_TRUE(volume.names().lookup(directory, numbered(i)).ok());
  const double looked = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%d lookups/s\n", static_cast<int>(kNames / looked));
  ASSERT_TRUE(volume.close());
  EXPECT_EQ(image.complaints(), "");
}

}  // namespace
}  // namespace worker::volume
