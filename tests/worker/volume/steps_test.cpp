// Changes without a bound are cut into steps: none touches more than it may, and a volume left between any two of them
// is put right by the next mount.
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include <atomic>
#include <functional>
#include <latch>
#include <thread>

#include "tests/support/fake_device.h"
#include "tests/worker/volume/file_fixture.h"
#include "worker/volume/file_mapping.h"
#include "worker/volume/names.h"
#include "worker/volume/orphans.h"
#include "worker/volume/references.h"

namespace worker::volume {
namespace {

using testing::failure;
using testing::FileImage;
using testing::Mounted;
using tests::FakeDevice;

/// As short as operations may get.
constexpr std::size_t kShort = 28;
constexpr std::uint64_t kBlock = 1024;

/// Every other block of the file is a hole, and no two of its blocks lie side by side.
void fragment(Volume& volume, InodeNumber inode, std::uint64_t blocks) {
  const std::vector<std::byte> data(kBlock, std::byte{7});
  for (std::uint64_t block = 0; block < blocks; ++block)
    ASSERT_TRUE(volume.files().write(inode, 2 * block * kBlock, data, {}).ok());
}

struct Layout {
  const char* name;
  const char* options;
};
void PrintTo(const Layout& layout, std::ostream* out) { *out << layout.name; }

constexpr Layout kLayouts[] = {
    {"extents", "-t ext4 -b 1024 -N 600"},
    {"orphan_file", "-t ext4 -b 1024 -N 600 -O orphan_file -E orphan_file_size=1"},
    {"indirect", "-t ext3 -b 1024 -N 600 -g 2048"},
};

class StepsOn : public ::testing::TestWithParam<Layout> {};
INSTANTIATE_TEST_SUITE_P(Layouts, StepsOn, ::testing::ValuesIn(kLayouts),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST_P(StepsOn, none_touches_more_blocks_than_it_may) {
  const FileImage image{GetParam().options, "32M", 1};
  Mounted volume{image};
  volume->bound_operations(kShort);
  const InodeNumber inode = volume.inode("f0");
  fragment(*volume, inode, 5000);
  int steps = 0;
  const auto removed = volume->mutate_in_steps([&](Operation& operation) -> Result<bool> {
    TRY(node, volume->inodes().read(inode));
    StepBudget budget{operation};
    TRY(done, FileMapping(*volume, node).remove(operation, 0, UINT64_MAX, budget));
    TRY(volume->inodes().write(operation, node));
    volume->files().forget(inode);
    EXPECT_LE(operation.touched_blocks(), kShort);
    ++steps;
    return done;
  });
  ASSERT_TRUE(removed.ok()) << removed.error().message();
  EXPECT_GE(steps, 5);
  EXPECT_EQ(volume.read_inode(inode).raw.i_blocks, 0U);
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

/// A change of a file "f0" in fragments, or of a directory "d" of many blocks, and of a file "f1" of one.
struct Deed {
  const char* name;
  std::function<Result<void>(Volume& volume, InodeNumber file)> run;
};
void PrintTo(const Deed& deed, std::ostream* out) { *out << deed.name; }

const Deed kDeeds[] = {
    {"truncate", [](Volume& volume, InodeNumber file) { return volume.files().truncate(file, 5000); }},
    {"punch",
     [](Volume& volume, InodeNumber file) {
       return volume.files().allocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 3000, 4'000'000);
     }},
    {"unlink",
     [](Volume& volume, InodeNumber file) -> Result<void> {
       TRY(volume.names().unlink(kRootInode, "f0"));
       return volume.orphans().contains(file) ? errno_error(EIO) : Result<void>{};
     }},
    {"forget",
     [](Volume& volume, InodeNumber file) -> Result<void> {
       volume.references().lend(file);
       TRY(volume.names().unlink(kRootInode, "f0"));
       volume.references().give_back(file, 1);
       return volume.orphans().release(file);
     }},
    {"rename_over",
     [](Volume& volume, InodeNumber file) -> Result<void> {
       TRY(volume.names().rename(kRootInode, "f1", kRootInode, "f0", 0));
       return volume.orphans().contains(file) ? errno_error(EIO) : Result<void>{};
     }},
    {"rmdir", [](Volume& volume, InodeNumber) { return volume.names().remove_directory(kRootInode, "d"); }},
};

class StepsOf : public ::testing::TestWithParam<std::tuple<Layout, Deed>> {
 protected:
  /// The image with the files, closed.
  static std::vector<std::byte> prepare(const FileImage& image) {
    Mounted volume{image};
    fragment(*volume, volume.inode("f0"), 3000);
    const auto directory = volume->names().create(kRootInode, "d", {.mode = S_IFDIR | 0755});
    for (int i = 0; i < 300; ++i) {
      const std::string name = std::string(200, 'n') + std::to_string(i);
      EXPECT_TRUE(volume->names().link(volume.inode("f1"), directory->inode, name).ok());
    }
    for (int i = 0; i < 300; ++i)
      EXPECT_TRUE(volume->names().unlink(directory->inode, std::string(200, 'n') + std::to_string(i)).ok());
    volume.close();
    return testing::contents(image);
  }
};
INSTANTIATE_TEST_SUITE_P(Deeds, StepsOf, ::testing::Combine(::testing::ValuesIn(kLayouts), ::testing::ValuesIn(kDeeds)),
                         [](const auto& test) {
                           return std::string{std::get<0>(test.param).name} + "_" + std::get<1>(test.param).name;
                         });

// The metadata of the file is not in the cache, so that every step reads, and a read that fails ends the deed between
// two steps.
TEST_P(StepsOf, may_be_cut_off_anywhere) {
  const auto& [layout, deed] = GetParam();
  const FileImage image{layout.options, "16M", 2};
  const auto before = prepare(image);
  struct State {
    std::uint64_t free_blocks, free_inodes;
    bool registered;
    bool operator==(const State&) const = default;
  } last{};
  int states = 0;
  for (std::size_t k = 0, reads = 1; k <= reads; ++k) {
    SCOPED_TRACE(k);
    FakeDevice device{before};
    State state{};
    {
      auto opened = Volume::open(device, {});
      ASSERT_TRUE(opened.ok());
      Volume& volume = **opened;
      volume.bound_operations(kShort);
      ASSERT_TRUE(volume.start_writing().ok());
      const auto file = volume.names().lookup(kRootInode, "f0");
      ASSERT_TRUE(file.ok());
      volume.references().give_back(file->inode, 1);
      const std::size_t already = device.count(FakeDevice::Kind::read);
      device.fail(FakeDevice::Kind::read, k, EIO, true);
      const int failed = failure(deed.run(volume, file->inode));
      reads = device.count(FakeDevice::Kind::read) - already;
      EXPECT_TRUE(failed == 0 || (failed == EIO && k < reads)) << failed;
      device.heal();
      ASSERT_TRUE(volume.sync().ok());
      state = {volume.space().free_blocks, volume.space().free_inodes, volume.orphans().contains(file->inode)};
      // Not closed: as if it had been killed here.
    }
    if (state == last) continue;
    last = state;
    ++states;
    device.save(image.path());
    Mounted volume{image};
    EXPECT_EQ(volume->fs()->super->s_last_orphan, 0U);
    EXPECT_TRUE(volume->orphans().file_is_empty());
    EXPECT_EQ(volume->fs()->super->s_error_count, 0U);
    volume.close();
    const auto checked = tests::run("PATH=$PATH:/usr/sbin e2fsck -fn -E no_optimize_extents " + image.path());
    ASSERT_EQ(checked.status, 0) << checked.output;
  }
  EXPECT_GE(states, std::string_view{deed.name} == "rmdir" ? 2 : 3) << "boundaries met";
}

/// fallocate(2) has looked at the whole mapping before its first step. What others commit meanwhile is what a crash
/// would leave.
TEST(Steps, of_an_allocation_may_be_cut_off_anywhere) {
  const FileImage image{"-t ext4 -b 1024 -O orphan_file -E orphan_file_size=1", "16M", 1};
  {
    Mounted volume{image};
    fragment(*volume, volume.inode("f0"), 3000);
    volume.close();
  }
  for (const int mode : {0, FALLOC_FL_KEEP_SIZE}) {
    const auto before = testing::contents(image);
    FakeDevice device{before};
    std::vector<std::vector<std::byte>> states;
    {
      Mounted volume{device};
      volume->bound_operations(kShort);
      const InodeNumber inode = volume.inode("f0");
      std::atomic<bool> done{false};
      std::thread committing{[&] {
        while (!done) {
          EXPECT_TRUE(volume->sync().ok());
          if (volume->orphans().contains(inode)) states.push_back(device.bytes());
        }
      }};
      EXPECT_EQ(failure(volume.files().allocate(inode, mode, 0, 8'000'000)), 0);
      done = true;
      committing.join();
      EXPECT_EQ(volume.read_inode(inode).size(), mode == 0 ? 8'000'000U : 5999U * kBlock);
      EXPECT_GE(volume.read_inode(inode).raw.i_blocks / 2, 7813U) << "and the nodes of the tree";
      EXPECT_FALSE(volume->orphans().contains(inode));
    }
    ASSERT_FALSE(states.empty()) << "nobody got in between";
    for (std::size_t i = 0; i < states.size(); i += 1 + states.size() / 4) {
      FakeDevice{states[i]}.save(image.path());
      Mounted volume{image};
      const Inode inode = volume.read_inode(volume.inode("f0"));
      EXPECT_EQ(inode.size(), 5999U * kBlock);
      EXPECT_LE(inode.raw.i_blocks / 2, 5999U + 96U) << "nothing is left behind the end";
      volume.close();
      const auto checked = tests::run("PATH=$PATH:/usr/sbin e2fsck -fn -E no_optimize_extents " + image.path());
      ASSERT_EQ(checked.status, 0) << checked.output;
    }
    FakeDevice{before}.save(image.path());
  }
}

TEST(Steps, of_a_file_of_100000_extents_let_others_in) {
  const FileImage image{"-t ext4 -b 1024", "256M", 1};
  Mounted volume{image};
  const InodeNumber inode = volume.inode("f0");
  fragment(*volume, inode, 100'000);
  const auto space = volume->space();
  volume->references().lend(inode);
  ASSERT_TRUE(volume->names().unlink(kRootInode, "f0").ok());
  std::latch started{2};
  std::atomic<bool> freed{false};
  std::thread freeing{[&] {
    started.arrive_and_wait();
    volume->references().give_back(inode, 1);
    EXPECT_TRUE(volume->orphans().release(inode).ok());
    freed = true;
  }};
  started.arrive_and_wait();
  int made = 0;
  for (; !freed; ++made)
    ASSERT_TRUE(volume->names().create(kRootInode, std::to_string(made), {.mode = S_IFREG | 0644}).ok());
  freeing.join();
  EXPECT_GE(made, 20) << "the freeing kept everybody out";
  EXPECT_GE(volume->space().free_blocks, space.free_blocks + 100'000);
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST(Steps, of_a_huge_sparse_file_are_few) {
  const FileImage image{"-t ext4 -b 4096", "16M", 1};
  Mounted volume{image};
  const InodeNumber inode = volume.inode("f0");
  const auto space = volume->space();
  const std::vector<std::byte> data(4096, std::byte{7});
  for (std::uint64_t tib = 0; tib < 15; ++tib) ASSERT_TRUE(volume->files().write(inode, tib << 40, data, {}).ok());
  ASSERT_TRUE(volume->files().truncate(inode, 0).ok());
  ASSERT_TRUE(volume->sync().ok());
  EXPECT_EQ(volume->space().free_blocks, space.free_blocks);
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST(Steps, of_an_allocation_that_does_not_fit_are_taken_back) {
  const FileImage image{"-t ext4 -b 1024 -m 20", "32M", 2};
  Mounted volume{image};
  volume->bound_operations(kShort);
  fragment(*volume, volume.inode("f0"), 4000);
  ASSERT_TRUE(volume->sync().ok());
  const auto space = volume->space();
  // Into the reserve, which shows only on the way.
  const std::uint64_t too_much = (space.free_blocks - 200) * kBlock;
  const InodeNumber inode = volume.inode("f1");
  for (const int mode : {0, FALLOC_FL_KEEP_SIZE}) {
    EXPECT_EQ(failure(volume->files().allocate(inode, mode, 0, too_much)), ENOSPC);
    EXPECT_FALSE(volume->orphans().contains(inode));
    EXPECT_EQ(volume.read_inode(inode).size(), 0U);
    ASSERT_TRUE(volume->sync().ok());
    EXPECT_EQ(volume->space().free_blocks, space.free_blocks);
  }
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

}  // namespace
}  // namespace worker::volume
