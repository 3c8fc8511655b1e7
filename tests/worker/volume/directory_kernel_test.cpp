// Directories that pass from the kernel's hands into ours and back.
#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>

#include "tests/worker/volume/directory_fixture.h"
#include "tests/worker/volume/mounted.h"
#include "worker/volume/directory_index.h"
#include "worker/volume/index_format.h"

namespace worker::volume {
namespace {

using tests::error_of;
using tests::in_kernel;
using tests::LaidOut;
using tests::Layout;
using tests::listing;
using tests::Mounted;
using tests::new_directory;
using tests::new_file;

class WithTheKernel : public testing::TestWithParam<Layout> {};

TEST_P(WithTheKernel, each_goes_on_where_the_other_stopped) {
  const LaidOut image{GetParam()};
  if (::geteuid() != 0 || !in_kernel(image, "").empty()) GTEST_SKIP() << "the kernel cannot mount this image here";
  const std::string tail(100, 't');
  InodeNumber directory = 0, file = 0;
  {
    Mounted volume{image};
    directory = volume.names().create(kRootInode, "d", new_directory())->inode;
    file = volume.names().create(kRootInode, "file", new_file())->inode;
    for (int i = 0; i < 1200; ++i)
      ASSERT_TRUE(volume.names().link(file, directory, "ours\xE4\xFF" + std::to_string(i) + tail).ok());
    ASSERT_TRUE(volume.close());
  }
  EXPECT_EQ(image.complaints(), "");
  EXPECT_EQ(in_kernel(image,
                      "chdir q(d) or die; my $o = qq(ours\\xE4\\xFF); my $t = q(t) x 100;"
                      "for (0..1199) { -e qq($o$_$t) or die qq(no $_) }"
                      "for (0..1199) { link(q(../file), qq(kernel$_$t)) or die qq($_ $!) }"
                      "for (0..399) { unlink(qq($o$_$t)) or die qq($_ $!) }"
                      "opendir(D, q(.)); my @names = readdir(D); @names == 2002 or die scalar @names"),
            "");
  EXPECT_EQ(image.complaints(), "");
  {
    Mounted volume{image};
    EXPECT_EQ(listing(*volume, directory).size(), 2000U);
    for (int i = 0; i < 1200; ++i) {
      ASSERT_TRUE(volume.names().lookup(directory, "kernel" + std::to_string(i) + tail).ok()) << i;
      const int expected = i < 400 ? ENOENT : 0;
      ASSERT_EQ(error_of(volume.names().lookup(directory, "ours\xE4\xFF" + std::to_string(i) + tail)), expected) << i;
      ASSERT_TRUE(volume.names().link(file, directory, "again" + std::to_string(i) + tail).ok());
      if (i % 2 != 0) continue;
      ASSERT_TRUE(volume.names().unlink(directory, "kernel" + std::to_string(i) + tail).ok());
    }
    ASSERT_TRUE(volume.close());
  }
  EXPECT_EQ(image.complaints(), "");
  EXPECT_EQ(in_kernel(image,
                      "chdir q(d) or die; my $t = q(t) x 100;"
                      "for (0..1199) { unlink(qq(again$_$t)) or die qq($_ $!) }"
                      "for (0..599) { my $k = 2 * $_ + 1; unlink(qq(kernel$k$t)) or die qq($k $!) }"
                      "opendir(D, q(.)); my @names = readdir(D); @names == 802 or die scalar @names"),
            "");
  EXPECT_EQ(image.complaints(), "");
}

INSTANTIATE_TEST_SUITE_P(Layouts, WithTheKernel,
                         testing::Values(Layout{"plain_1k", "-t ext4 -b 1024"}, Layout{"plain_4k", "-t ext4 -b 4096"},
                                         Layout{"no_checksums", "-t ext4 -b 1024 -O ^metadata_csum"},
                                         Layout{"linear", "-t ext4 -b 4096 -O ^dir_index"},
                                         Layout{"indirect", "-t ext3 -b 1024"},
                                         Layout{"legacy", "-t ext4 -b 1024", "64M", "legacy"},
                                         Layout{"tea", "-t ext4 -b 1024", "64M", "tea"},
                                         Layout{"half_md4_unsigned", "-t ext4 -b 1024", "64M", "half_md4", true},
                                         Layout{"legacy_unsigned", "-t ext4 -b 1024", "64M", "legacy", true}),
                         [](const auto& layout) { return layout.param.name; });

std::optional<unsigned> index_levels(Volume& volume, InodeNumber directory) {
  std::optional<unsigned> levels;
  const auto read = volume.inspect([&]() -> Result<void> {
    TRY(inode, volume.inodes().read(directory));
    DirectoryBlocks blocks{volume, inode};
    if (!blocks.indexed()) return {};
    TRY(root, blocks.any(0));
    levels = load_root_info(*root).levels;
    return {};
  });
  EXPECT_TRUE(read.ok()) << read.error().message();
  return levels;
}

TEST(DirectoryFromElsewhere, has_many_links_beyond_65000_subdirectories) {
  const tests::Image image{"-t ext4 -b 1024 -N 66000 -O dir_nlink,^has_journal", "128M"};
  if (::geteuid() != 0 || !in_kernel(image, "").empty()) GTEST_SKIP() << "the kernel cannot mount this image here";
  const auto links_of = [](Mounted& volume, InodeNumber inode) { return volume->inodes().attributes(inode)->links; };
  InodeNumber directory = 0;
  {
    Mounted volume{image};
    directory = volume.names().create(kRootInode, "d", new_directory())->inode;
    for (int i = 0; i < 65'010; ++i) {
      const auto made = volume.names().create(directory, std::to_string(i), new_directory());
      ASSERT_TRUE(made.ok()) << i << ": " << made.error().message();
      volume->references().give_back(made->inode, 1);
      if (i == 64'996) EXPECT_EQ(links_of(volume, directory), 64'999U);
    }
    EXPECT_EQ(links_of(volume, directory), 1U);
    ASSERT_TRUE(volume.close());
  }
  EXPECT_EQ(image.complaints(), "");
  EXPECT_EQ(in_kernel(image,
                      "chdir q(d) or die; (stat q(.))[3] == 1 or die q(counted);"
                      "for (65010..65020) { mkdir($_) or die qq($_ $!) } for (0..9) { rmdir($_) or die qq($_ $!) }"
                      "(stat q(.))[3] == 1 or die q(counts); -d q(65009) or die"),
            "");
  EXPECT_EQ(image.complaints(), "");
  {
    Mounted volume{image};
    for (int i = 10; i < 65'021; ++i) {
      if (i % 1000 == 7) continue;
      const auto gone = volume.names().remove_directory(directory, std::to_string(i));
      ASSERT_TRUE(gone.ok()) << i << ": " << gone.error().message();
    }
    // How many are left nobody has counted: 1 it stays.
    EXPECT_EQ(links_of(volume, directory), 1U);
    EXPECT_EQ(error_of(volume.names().remove_directory(kRootInode, "d")), ENOTEMPTY);
    ASSERT_TRUE(volume.close());
  }
  EXPECT_EQ(image.complaints(), "");
  EXPECT_EQ(in_kernel(image,
                      "chdir q(d) or die; for (0..65) { my $n = 1000 * $_ + 7; next if $n < 10;"
                      "  rmdir($n) or die qq($n $!) } chdir q(..); rmdir(q(d)) or die qq($!)"),
            "");
  EXPECT_EQ(image.complaints(), "");
}

TEST(DirectoryFromElsewhere, is_continued_when_e2fsck_has_packed_it) {
  for (const char* const options : {"-t ext4 -b 1024", "-t ext4 -b 4096", "-t ext4 -b 1024 -O ^metadata_csum"}) {
    SCOPED_TRACE(options);
    const tests::Image image{options, "32M"};
    InodeNumber directory = 0, file = 0;
    const std::string tail(60, 't');
    for (const int names : {20, 1500}) {
      {
        Mounted volume{image};
        directory = volume.names().create(kRootInode, "d" + std::to_string(names), new_directory())->inode;
        file = volume.names().create(kRootInode, "file" + std::to_string(names), new_file())->inode;
        for (int i = 0; i < 2 * names; ++i)
          ASSERT_TRUE(volume.names().link(file, directory, std::to_string(i) + tail).ok());
        for (int i = 0; i < names; ++i) ASSERT_TRUE(volume.names().unlink(directory, std::to_string(i) + tail).ok());
        ASSERT_TRUE(volume.close());
      }
      EXPECT_LE(tests::run("e2fsck -fyD " + image.path()).status, 1);
      Mounted volume{image};
      EXPECT_EQ(listing(*volume, directory).size(), static_cast<std::size_t>(names));
      for (int i = 0; i < names; ++i)
        ASSERT_TRUE(volume.names().link(file, directory, std::to_string(i) + tail).ok()) << i;
      for (int i = 0; i < 2 * names; ++i)
        ASSERT_TRUE(volume.names().lookup(directory, std::to_string(i) + tail).ok()) << i;
      ASSERT_TRUE(volume.close());
      EXPECT_EQ(image.complaints(), "");
    }
  }
}

TEST(DirectoryFromElsewhere, stays_linear_when_it_was_made_so_beside_indexes) {
  const tests::TemporaryDirectory source;
  std::filesystem::create_directory(source.path() / "d");
  for (int i = 0; i < 600; ++i)
    std::ofstream{source.path() / "d" / ("file with a name of some length " + std::to_string(i))};
  const tests::Image image{"-t ext4 -b 1024 -d " + source.path().string(), "16M"};
  const auto name = [](int i) { return "file with a name of some length " + std::to_string(i); };
  {
    Mounted volume{image};
    const InodeNumber directory = volume.names().lookup(kRootInode, "d")->inode;
    ASSERT_EQ(index_levels(*volume, directory), std::nullopt);
    EXPECT_EQ(listing(*volume, directory, 7).size(), 600U);
    for (int i = 0; i < 600; ++i) {
      ASSERT_TRUE(volume.names().create(directory, name(600 + i), new_file()).ok());
      if (i % 2 == 0) ASSERT_TRUE(volume.names().unlink(directory, name(i)).ok());
    }
    EXPECT_EQ(listing(*volume, directory, 7).size(), 900U);
    for (int i = 0; i < 1200; ++i)
      EXPECT_EQ(error_of(volume.names().lookup(directory, name(i))), i < 600 && i % 2 == 0 ? ENOENT : 0) << i;
    ASSERT_TRUE(volume.close());
  }
  EXPECT_EQ(image.complaints(), "");
}

/// A directory of `names` names that each end in `tail` bytes: as made by the kernel it has `levels` between the root
/// and a leaf, none if it has no index.
struct KernelMade {
  Layout layout;
  int names;
  int tail;
  std::optional<unsigned> levels;

  friend std::ostream& operator<<(std::ostream& out, const KernelMade& made) { return out << made.layout; }
};

class WhatTheKernelMade : public testing::TestWithParam<KernelMade> {};

TEST_P(WhatTheKernelMade, is_read_continued_moved_and_given_back) {
  const auto& [layout, names, length, levels] = GetParam();
  const LaidOut image{layout};
  if (::geteuid() != 0 || !in_kernel(image, "").empty()) GTEST_SKIP() << "the kernel cannot mount this image here";
  const std::string n = std::to_string(names), last = std::to_string(names - 1);
  const std::string tail(static_cast<std::size_t>(length), 't');
  const std::string words = "my $k = qq(k\\xE4\\xFF); my $t = q(t) x " + std::to_string(length) + ";";
  EXPECT_EQ(in_kernel(image, words +
                                 "mkdir(q(home)); mkdir(q(other)); open(F, q(>file)); close(F);"
                                 "for my $d (q(home/d), q(home/few), q(home/shrunk)) { mkdir($d) or die }"
                                 "for (0..9) { link(q(file), qq(home/few/$k$_$t)) or die qq($_ $!) if $_ < 2 }"
                                 "for (0.." +
                                 last +
                                 ") { link(q(file), qq(home/d/$k$_$t)) or die qq($_ $!) }"
                                 "for (0.." +
                                 last +
                                 ") { link(q(file), qq(home/shrunk/$k$_$t)) or die if $_ < 2000 }"
                                 "for (10.." +
                                 last + ") { unlink(qq(home/shrunk/$k$_$t)) or die if $_ < 2000 }"),
            "");
  EXPECT_EQ(image.complaints(), "");
  const auto theirs = [&](int i) { return "k\xE4\xFF" + std::to_string(i) + tail; };
  const auto ours = [&](int i) { return "o\xE4\xFF" + std::to_string(i) + tail; };
  {
    Mounted volume{image};
    const InodeNumber home = volume.names().lookup(kRootInode, "home")->inode;
    const InodeNumber other = volume.names().lookup(kRootInode, "other")->inode;
    const InodeNumber file = volume.names().lookup(kRootInode, "file")->inode;
    const InodeNumber directory = volume.names().lookup(home, "d")->inode;
    ASSERT_EQ(index_levels(*volume, directory), levels);
    EXPECT_EQ(listing(*volume, directory).size(), static_cast<std::size_t>(names));
    for (int i = 0; i < names; ++i) ASSERT_TRUE(volume.names().lookup(directory, theirs(i)).ok()) << i;
    EXPECT_EQ(error_of(volume.names().lookup(directory, ours(0))), ENOENT);
    for (const auto& [name, left] : {std::pair{"few", 2U}, std::pair{"shrunk", 10U}}) {
      const InodeNumber small = volume.names().lookup(home, name)->inode;
      EXPECT_EQ(listing(*volume, small).size(), left) << name;
      for (int i = 0; i < 300; ++i) ASSERT_TRUE(volume.names().link(file, small, ours(i)).ok()) << name << i;
      EXPECT_EQ(listing(*volume, small).size(), left + 300) << name;
      // Another parent: ".." is changed, in the root where there is an index.
      ASSERT_TRUE(volume.names().rename(home, name, other, name, 0).ok()) << name;
      EXPECT_EQ(volume.names().lookup(small, "..")->inode, other);
    }
    for (int i = 0; i < names; ++i) {
      const auto added = volume.names().link(file, directory, ours(i));
      ASSERT_TRUE(added.ok()) << added.error().message();
      if (i % 3 == 0) ASSERT_TRUE(volume.names().unlink(directory, theirs(i)).ok()) << i;
    }
    ASSERT_TRUE(volume.names().rename(home, "d", other, "d", 0).ok());
    ASSERT_TRUE(volume.close());
  }
  EXPECT_EQ(image.complaints(), "");
  EXPECT_EQ(
      in_kernel(image, words +
                           "my $o = qq(o\\xE4\\xFF); chdir q(other/d) or die;"
                           "for (0.." +
                           last +
                           ") { -e qq($o$_$t) or die qq(no $_); -e qq($k$_$t) xor $_ % 3 == 0 or die qq(k $_) }"
                           "for (0.." +
                           last +
                           ") { if ($_ % 3 == 0) { link(q(../../file), qq($k$_$t)) or die qq($_ $!) }"
                           "                        else { unlink(qq($o$_$t)) or die qq($_ $!) } }"
                           "opendir(D, q(../shrunk)); my @names = readdir(D); @names == 312 or die scalar @names"),
      "");
  EXPECT_EQ(image.complaints(), "");
  {
    Mounted volume{image};
    const InodeNumber other = volume.names().lookup(kRootInode, "other")->inode;
    for (const char* const name : {"d", "few", "shrunk"}) {
      const InodeNumber directory = volume.names().lookup(other, name)->inode;
      EXPECT_EQ(error_of(volume.names().remove_directory(other, name)), ENOTEMPTY);
      for (const auto& [entry, inode] : listing(*volume, directory))
        ASSERT_TRUE(volume.names().unlink(directory, entry).ok());
      EXPECT_TRUE(volume.names().remove_directory(other, name).ok()) << name;
    }
    ASSERT_TRUE(volume.close());
  }
  EXPECT_EQ(image.complaints(), "");
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, WhatTheKernelMade,
    testing::Values(KernelMade{{"one_level_1k", "-t ext4 -b 1024"}, 200, 30, 0},
                    KernelMade{{"one_level_4k", "-t ext4 -b 4096"}, 400, 30, 0},
                    KernelMade{{"two_levels_1k", "-t ext4 -b 1024"}, 2000, 100, 1},
                    KernelMade{{"two_levels_4k", "-t ext4 -b 4096", "128M"}, 9000, 240, 1},
                    KernelMade{{"three_levels", "-t ext4 -b 1024 -O large_dir", "128M"}, 28000, 240, 2},
                    KernelMade{{"no_checksums_1k", "-t ext4 -b 1024 -O ^metadata_csum"}, 2000, 100, 1},
                    KernelMade{{"no_checksums_4k", "-t ext4 -b 4096 -O ^metadata_csum"}, 400, 30, 0},
                    KernelMade{{"linear_1k", "-t ext4 -b 1024 -O ^dir_index"}, 400, 30, std::nullopt},
                    KernelMade{{"linear_4k", "-t ext4 -b 4096 -O ^dir_index,^metadata_csum"}, 400, 30, std::nullopt},
                    KernelMade{{"indirect", "-t ext3 -b 1024"}, 2000, 100, 1},
                    KernelMade{{"no_types", "-t ext2 -b 1024 -O dir_index,^filetype"}, 400, 30, 0},
                    KernelMade{{"legacy", "-t ext4 -b 1024", "64M", "legacy"}, 400, 30, 0},
                    KernelMade{{"tea", "-t ext4 -b 1024", "64M", "tea"}, 400, 30, 0},
                    KernelMade{{"legacy_unsigned", "-t ext4 -b 1024", "64M", "legacy", true}, 400, 30, 0},
                    KernelMade{{"half_md4_unsigned", "-t ext4 -b 1024", "64M", "half_md4", true}, 400, 30, 0},
                    KernelMade{{"tea_unsigned", "-t ext4 -b 1024", "64M", "tea", true}, 400, 30, 0}),
    [](const auto& made) { return made.param.layout.name; });

}  // namespace
}  // namespace worker::volume
