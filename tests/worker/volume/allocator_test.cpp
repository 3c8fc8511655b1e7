#include "worker/volume/allocator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "tests/support/image.h"
#include "tests/worker/volume/writable_volume.h"
#include "worker/disk/ext2fs.h"
#include "worker/volume/inodes.h"

namespace worker::volume {
namespace {

using tests::Image;
using tests::WritableVolume;

constexpr BlockNumber kNowhere = 0;

Error undo() { return errno_error(ECANCELED); }

std::uint64_t free_blocks(Volume& volume) {
  return volume.inspect([&] { return volume.allocator().free_blocks(); });
}

Result<BlockRange> allocate(Volume& volume, BlockNumber goal, std::uint64_t wanted, Claim claim = Claim::ordinary) {
  return volume.mutate(
      [&](Operation& operation) { return volume.allocator().allocate(operation, goal, wanted, claim); });
}

Result<void> free(Volume& volume, BlockRange range) {
  return volume.mutate([&](Operation& operation) { return volume.allocator().free(operation, range); });
}

/// The bitmaps of an image that is mounted and synced, as libext2fs reads and checks them on its own.
class StoredBitmaps {
 public:
  explicit StoredBitmaps(const Image& image) {
    const int flags = EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP;
    EXPECT_EQ(ext2fs_open(image.path().c_str(), flags, 0, 0, unix_io_manager, &fs_), 0);
    EXPECT_EQ(ext2fs_read_bitmaps(fs_), 0) << "a checksum is wrong";
    for (dgrp_t group = 0; group < fs_->group_desc_count; ++group) {
      EXPECT_TRUE(ext2fs_group_desc_csum_verify(fs_, group)) << group;
      check_counts(group);
    }
  }
  ~StoredBitmaps() { ext2fs_free(fs_); }
  StoredBitmaps(const StoredBitmaps&) = delete;
  StoredBitmaps& operator=(const StoredBitmaps&) = delete;

  bool has_block(BlockNumber block) { return ext2fs_test_block_bitmap2(fs_->block_map, block) != 0; }
  bool has_inode(InodeNumber inode) { return ext2fs_test_inode_bitmap2(fs_->inode_map, inode) != 0; }

 private:
  void check_counts(dgrp_t group) {
    std::uint32_t blocks = 0, inodes = 0;
    for (blk64_t b = ext2fs_group_first_block2(fs_, group); b <= ext2fs_group_last_block2(fs_, group); ++b) {
      blocks += !ext2fs_test_block_bitmap2(fs_->block_map, b);
    }
    const ext2_ino_t first = group * fs_->super->s_inodes_per_group + 1;
    for (ext2_ino_t i = first; i < first + fs_->super->s_inodes_per_group; ++i) {
      inodes += !ext2fs_test_inode_bitmap2(fs_->inode_map, i);
    }
    EXPECT_EQ(blocks, ext2fs_bg_free_blocks_count(fs_, group)) << group;
    EXPECT_EQ(inodes, ext2fs_bg_free_inodes_count(fs_, group)) << group;
  }

  ext2_filsys fs_ = nullptr;
};

/// What should be allocated, kept apart from the allocator.
class Model {
 public:
  explicit Model(Volume& volume) : volume_{volume}, owner_(ext2fs_blocks_count(volume.fs()->super)) {}

  void took(BlockRange range) {
    for (BlockNumber b = range.first; b < range.first + range.count; ++b) {
      ASSERT_LT(b, owner_.size());
      ASSERT_EQ(owner_[b], Owner::nobody) << "block " << b << " given out twice or before its freeing was durable";
      owner_[b] = Owner::test;
    }
    ranges_.push_back(range);
  }
  void gave(BlockRange range) {
    for (BlockNumber b = range.first; b < range.first + range.count; ++b) owner_[b] = Owner::pending;
  }
  void synced() { std::ranges::replace(owner_, Owner::pending, Owner::nobody); }

  std::vector<BlockRange>& ranges() { return ranges_; }
  /// Removes and returns a piece of what is held.
  BlockRange pick(std::mt19937& random) {
    const std::size_t at = random() % ranges_.size();
    const BlockRange whole = ranges_[at];
    std::swap(ranges_[at], ranges_.back());
    ranges_.pop_back();
    const BlockRange piece{whole.first, 1 + random() % whole.count};
    if (piece.count < whole.count) ranges_.push_back({whole.first + piece.count, whole.count - piece.count});
    return piece;
  }
  void compare(const Image& image) {
    StoredBitmaps stored{image};
    for (BlockNumber b = volume_.fs()->super->s_first_data_block; b < owner_.size(); ++b) {
      if (owner_[b] == Owner::nobody) continue;
      ASSERT_EQ(stored.has_block(b), owner_[b] == Owner::test) << b;
    }
  }

 private:
  enum class Owner : std::uint8_t { nobody, test, pending };
  Volume& volume_;
  std::vector<Owner> owner_;
  std::vector<BlockRange> ranges_;
};

struct Geometry {
  const char* name;
  const char* options;
  const char* size;
};

void PrintTo(const Geometry& geometry, std::ostream* out) { *out << geometry.name; }

constexpr Geometry kGeometries[] = {
    {"ext4", "-t ext4", "160M"},
    {"blocks_1k", "-t ext4 -b 1024", "50M"},
    {"blocks_2k", "-t ext4 -b 2048", "70M"},
    {"ext2", "-t ext2 -b 1024 -I 128", "30M"},
    {"ext3", "-t ext3 -b 1024", "30M"},
    {"no_flex_bg", "-t ext4 -b 1024 -O ^flex_bg,^resize_inode", "50M"},
    {"flex_of_two", "-t ext4 -b 1024 -G 2", "60M"},
    {"meta_bg", "-t ext4 -b 1024 -O meta_bg,^resize_inode", "160M"},
    {"meta_bg_alone", "-t ext4 -b 1024 -O meta_bg,^resize_inode,^flex_bg,^64bit", "150M"},
    {"no_64bit", "-t ext4 -b 1024 -O ^64bit", "50M"},
    {"no_checksums", "-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg", "50M"},
    {"uninit_bg", "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg", "50M"},
    {"lazy_tables", "-t ext4 -b 1024 -E lazy_itable_init=1", "80M"},
    {"sparse_super2", "-t ext4 -b 1024 -O sparse_super2,^resize_inode", "50M"},
    {"no_sparse_super", "-t ext4 -b 1024 -O ^sparse_super,^resize_inode,^metadata_csum", "50M"},
    {"tiny_last_group", "-t ext4 -b 1024 -O ^flex_bg,^resize_inode", "25000"},
    {"no_reserve", "-t ext4 -b 1024 -m 0", "20M"},
    {"large_reserve", "-t ext4 -b 1024 -m 40", "20M"},
    {"small_groups", "-t ext4 -b 1024 -g 1024 -N 400", "20M"},
};

class AllocatorOn : public testing::TestWithParam<Geometry> {
 protected:
  AllocatorOn() { image.remove_journal(); }
  Image image{GetParam().options, GetParam().size};
};

INSTANTIATE_TEST_SUITE_P(Geometries, AllocatorOn, testing::ValuesIn(kGeometries),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST_P(AllocatorOn, agrees_with_a_model_through_random_work) {
  WritableVolume volume{image};
  const std::uint64_t at_start = free_blocks(*volume);
  const BlockNumber blocks = ext2fs_blocks_count(volume->fs()->super);
  Model model{*volume};
  std::mt19937 random{42};
  Allocator& allocator = volume->allocator();

  for (int round = 0; round < 1200; ++round) {
    const bool roll_back = random() % 8 == 0;
    std::vector<BlockRange> taken, given;
    const auto held_before = model.ranges();
    int tries = 0;
    const auto outcome = volume->mutate([&](Operation& operation) -> Result<void> {
      if (++tries == 2) model.synced();  // mutate() commits before it tries again
      taken.clear();
      given.clear();
      model.ranges() = held_before;
      for (std::uint32_t step = static_cast<std::uint32_t>(random() % 4); step < 4; ++step) {
        if (model.ranges().empty() || random() % 5 < 3) {
          const std::uint64_t wanted = random() % 3 ? 1 + random() % 20 : 1 + random() % 3000;
          TRY(range, allocator.allocate(operation, random() % blocks, wanted,
                                        random() % 2 ? Claim::metadata : Claim::ordinary));
          EXPECT_GE(range.count, 1u);
          EXPECT_LE(range.count, wanted);
          taken.push_back(range);
        } else {
          given.push_back(model.pick(random));
          TRY(allocator.free(operation, given.back()));
        }
      }
      if (roll_back) return undo();
      return {};
    });
    if (!outcome.ok()) {
      model.ranges() = held_before;
      const int number = outcome.error().code.value();
      ASSERT_EQ(number, roll_back && number != ENOSPC ? ECANCELED : ENOSPC) << outcome.error().message();
    } else {
      for (const BlockRange& range : taken) ASSERT_NO_FATAL_FAILURE(model.took(range));
      for (const BlockRange& range : given) model.gave(range);
    }
    if (random() % 200 == 0) {
      ASSERT_TRUE(volume->sync().ok());
      ASSERT_NO_FATAL_FAILURE(model.compare(image));
      model.synced();
    }
  }
  for (const BlockRange& range : model.ranges()) ASSERT_TRUE(free(*volume, range).ok());
  EXPECT_EQ(free_blocks(*volume), at_start);
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST_P(AllocatorOn, gives_out_exactly_what_is_free) {
  WritableVolume volume{image};
  const std::uint64_t reserve = ext2fs_r_blocks_count(volume->fs()->super);
  const std::uint64_t at_start = free_blocks(*volume);
  std::vector<BlockRange> held;
  std::uint64_t sum = 0;
  const auto fill = [&](Claim claim) {
    for (;;) {
      const auto range = allocate(*volume, kNowhere, 100'000, claim);
      if (!range.ok()) {
        EXPECT_EQ(range.error().code.value(), ENOSPC);
        return;
      }
      held.push_back(*range);
      sum += range->count;
    }
  };
  // As kernel ext4, for trees of extents only.
  const bool extents = ext2fs_has_feature_extents(volume->fs()->super);
  const std::uint64_t kept = extents ? std::min<std::uint64_t>(ext2fs_blocks_count(volume->fs()->super) / 50, 4096) : 0;
  fill(Claim::ordinary);
  EXPECT_EQ(free_blocks(*volume), std::min(reserve + kept, at_start));
  EXPECT_EQ(volume->space().available_blocks, 0U);
  fill(Claim::root);
  EXPECT_EQ(free_blocks(*volume), std::min(kept, at_start));
  fill(Claim::metadata);
  EXPECT_EQ(free_blocks(*volume), 0u);
  EXPECT_EQ(sum, at_start);
  EXPECT_EQ(
      volume->inspect([&] { return volume->allocator().reserve({.claim = Claim::metadata}); }).error().code.value(),
      ENOSPC);

  for (const BlockRange& range : held) ASSERT_TRUE(free(*volume, range).ok());
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST_P(AllocatorOn, takes_every_inode_once_and_gives_them_back) {
  WritableVolume volume{image};
  const std::uint32_t at_start = volume->fs()->super->s_free_inodes_count;
  std::vector<InodeNumber> taken;
  std::vector<bool> seen(volume->fs()->super->s_inodes_count + 1);
  std::mt19937 random{3};
  const auto root = volume->inodes().read(kRootInode);
  ASSERT_TRUE(root.ok());
  for (;;) {
    const bool directory = random() % 10 == 0;
    const InodeNumber parent = taken.empty() || random() % 4 == 0 ? kRootInode : taken[random() % taken.size()];
    const auto made = volume->mutate([&](Operation& operation) -> Result<InodeNumber> {
      Inode near = *root;
      near.number = parent;
      TRY(inode, volume->inodes().create(operation, near, {.mode = directory ? 040755u : 0100644u}));
      return inode.number;
    });
    if (!made.ok()) {
      ASSERT_EQ(made.error().code.value(), ENOSPC) << made.error().message();
      break;
    }
    ASSERT_GE(*made, EXT2_FIRST_INO(volume->fs()->super));
    ASSERT_FALSE(seen[*made]);
    seen[*made] = true;
    taken.push_back(*made);
    if (taken.size() > 3000) break;
  }
  if (taken.size() <= 3000) {
    EXPECT_EQ(taken.size(), at_start);
  }
  ASSERT_TRUE(volume->sync().ok());
  {
    StoredBitmaps stored{image};
    for (const InodeNumber inode : taken) ASSERT_TRUE(stored.has_inode(inode));
  }
  for (const InodeNumber number : taken) {
    const auto freed = volume->mutate([&](Operation& operation) -> Result<void> {
      TRY(inode, volume->inodes().read(number));
      return volume->inodes().destroy(operation, inode);
    });
    ASSERT_TRUE(freed.ok()) << freed.error().message();
    EXPECT_EQ(volume->inodes().read(number).error().code.value(), ESTALE);
  }
  EXPECT_EQ(volume->fs()->super->s_free_inodes_count, at_start);
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST(Allocator, prefers_the_goal_and_then_what_lies_behind_it) {
  const Image image{"-t ext4 -b 4096", "200M"};
  WritableVolume volume{image};
  const auto first = allocate(*volume, 20000, 100);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->first, 20000u);
  EXPECT_EQ(first->count, 100u);
  const auto next = allocate(*volume, 20100, 8);
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(next->first, 20100u);
  const auto behind = allocate(*volume, 20050, 8);
  ASSERT_TRUE(behind.ok());
  EXPECT_EQ(behind->first, 22048u) << "what follows belongs to whoever asked for so much";
}

TEST(Allocator, prefers_a_good_run_nearby_to_fragments_at_the_goal) {
  const Image image{"-t ext4 -b 4096", "200M"};
  WritableVolume volume{image};
  for (BlockNumber block = 20000; block < 20200; block += 2) ASSERT_EQ(allocate(*volume, block, 1)->first, block);
  const auto large = allocate(*volume, 20001, 256);
  ASSERT_TRUE(large.ok());
  EXPECT_EQ(large->count, 256u);
  const auto small = allocate(*volume, 20001, 1);
  ASSERT_TRUE(small.ok());
  EXPECT_EQ(small->first, 20001u);
}

TEST(Allocator, keeps_files_that_grow_together_in_pieces_of_their_own) {
  const Image image{"-t ext4 -b 4096", "500M"};
  WritableVolume volume{image};
  std::vector<std::vector<BlockRange>> files(4);
  for (int round = 0; round < 32; ++round) {
    for (auto& file : files) {
      const BlockNumber goal = file.empty() ? 0 : file.back().first + file.back().count;
      const auto range = allocate(*volume, goal, 256);
      ASSERT_TRUE(range.ok());
      if (!file.empty() && range->first == goal) {
        file.back().count += range->count;
      } else {
        file.push_back(*range);
      }
    }
  }
  for (const auto& file : files) EXPECT_LE(file.size(), 6u);  // 8192 blocks each
}

TEST(Allocator, does_not_reuse_freed_blocks_before_they_are_durably_free) {
  const Image image{"-t ext4 -b 1024 -m 0", "8M"};
  WritableVolume volume{image};
  Allocator& allocator = volume->allocator();
  const auto first = allocate(*volume, 5000, 10);
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(free(*volume, *first).ok());
  EXPECT_TRUE(volume->inspect([&] { return allocator.has_pending_frees(); }));
  const auto other = allocate(*volume, first->first, 10);
  ASSERT_TRUE(other.ok());
  EXPECT_TRUE(other->first >= first->first + 10 || other->first + other->count <= first->first);
  ASSERT_TRUE(volume->sync().ok());
  EXPECT_FALSE(volume->inspect([&] { return allocator.has_pending_frees(); }));
  EXPECT_EQ(allocate(*volume, first->first, 10)->first, first->first);
}

TEST(Allocator, finds_pending_blocks_by_committing_when_nothing_else_is_left) {
  const Image image{"-t ext4 -b 1024 -m 0", "8M"};
  WritableVolume volume{image};
  std::vector<BlockRange> held;
  for (;;) {
    const auto range = allocate(*volume, 0, 1000, Claim::metadata);
    if (!range.ok()) break;
    held.push_back(*range);
  }
  ASSERT_TRUE(free(*volume, held.back()).ok());
  const auto again = allocate(*volume, 0, held.back().count, Claim::metadata);
  ASSERT_TRUE(again.ok()) << again.error().message();
  EXPECT_EQ(again->first, held.back().first);
}

TEST(Allocator, keeps_promises_until_they_are_used_or_given_back) {
  const Image image{"-t ext4 -b 1024 -m 0", "8M"};
  WritableVolume volume{image};
  Allocator& allocator = volume->allocator();
  const std::uint64_t at_start = free_blocks(*volume);
  const auto promised = volume->inspect([&] { return allocator.reserve({.goal = 5000, .wanted = 50}); });
  ASSERT_TRUE(promised.ok());
  EXPECT_EQ(free_blocks(*volume), at_start - 50);
  EXPECT_GE(allocate(*volume, 5000, 50)->first, 5050u);

  const BlockRange used{promised->first, 20};
  const auto undone = volume->mutate([&](Operation& operation) -> Result<void> {
    TRY(allocator.use_reserved(operation, used));
    return undo();
  });
  EXPECT_EQ(undone.error().code.value(), ECANCELED);
  EXPECT_GE(allocate(*volume, 5000, 10)->first, 5050u) << "a promise did not survive the roll-back";
  ASSERT_TRUE(volume->mutate([&](Operation& o) { return allocator.use_reserved(o, used); }).ok());
  EXPECT_FALSE(volume->mutate([&](Operation& o) { return allocator.use_reserved(o, used); }).ok());
  volume->inspect([&] { allocator.give_back({promised->first + 20, 30}); });
  EXPECT_EQ(allocate(*volume, 5020, 30)->first, 5020u);
}

TEST(Allocator, refuses_to_free_what_is_free_or_metadata) {
  const Image image{"-t ext4 -b 1024", "20M"};
  WritableVolume volume{image};
  const auto expect_damage = [&](BlockRange range) { EXPECT_EQ(free(*volume, range).error().code.value(), EUCLEAN); };
  expect_damage({15000, 1});
  expect_damage({1, 1});
  expect_damage({ext2fs_inode_table_loc(volume->fs(), 1), 4});
  expect_damage({20480, 1});
  expect_damage({20470, 100});
  expect_damage({~0ull - 3, 8});
}

TEST(Allocator, leaves_a_group_with_a_damaged_bitmap_alone_and_records_it) {
  const Image image{"-t ext4 -b 1024 -O ^flex_bg,^resize_inode -e continue", "40M"};
  {
    // Group 1's block bitmap: a bit flips behind the checksum's back.
    ext2_filsys fs = nullptr;
    ASSERT_EQ(ext2fs_open(image.path().c_str(), EXT2_FLAG_RW | EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs), 0);
    std::vector<char> block(fs->blocksize);
    ASSERT_EQ(
        ext2_filsys { fs } -> group_desc_count, 5u);
    ASSERT_EQ(io_channel_read_blk64(fs->io, ext2fs_block_bitmap_loc(fs, 2), 1, block.data()), 0);
    block[900] = static_cast<char>(block[900] ^ 4);
    ASSERT_EQ(io_channel_write_blk64(fs->io, ext2fs_block_bitmap_loc(fs, 2), 1, block.data()), 0);
    ext2fs_close_free(&fs);
  }
  WritableVolume volume{image};
  const BlockNumber start = ext2fs_group_first_block2(volume->fs(), 2);
  if (ext2fs_bg_flags_test(volume->fs(), 2, EXT2_BG_BLOCK_UNINIT)) GTEST_SKIP() << "nothing stored to be damaged";
  const auto range = allocate(*volume, start + 1000, 10);
  ASSERT_TRUE(range.ok()) << range.error().message();
  EXPECT_TRUE(range->first < start || range->first >= start + 8192);
  EXPECT_NE(volume->fs()->super->s_error_count, 0u);
  EXPECT_EQ(free(*volume, {start + 2000, 1}).error().code.value(), EUCLEAN);
}

TEST(Allocator, survives_random_damage_to_descriptors_and_bitmaps) {
  for (unsigned seed = 1; seed <= 25; ++seed) {
    const Image image{"-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg -e continue", "20M"};
    std::mt19937 random{seed};
    {
      ext2_filsys fs = nullptr;
      ASSERT_EQ(ext2fs_open(image.path().c_str(), EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs), 0);
      const BlockNumber targets[] = {2, ext2fs_block_bitmap_loc(fs, 0), ext2fs_inode_bitmap_loc(fs, 1),
                                     ext2fs_block_bitmap_loc(fs, 1)};
      std::fstream file{image.path(), std::ios::in | std::ios::out | std::ios::binary};
      for (int i = 0; i < 6; ++i) {
        file.seekp(static_cast<std::streamoff>(targets[random() % 4] * 1024 + random() % 200));
        file.put(static_cast<char>(random()));
      }
      ext2fs_free(fs);
    }
    tests::UnflushedDevice device{image.open()};
    const auto opened = Volume::open(device, {});
    if (!opened.ok() || !(*opened)->start_writing().ok()) continue;
    Volume& volume = **opened;
    for (int round = 0; round < 200; ++round) {
      const auto range = allocate(volume, random() % 21000, 1 + random() % 600);
      if (range.ok()) {
        ASSERT_GT(range->first, 0u);
        ASSERT_LE(range->first + range->count, ext2fs_blocks_count(volume.fs()->super));
      }
      (void)free(volume, {random() % 21000, 1 + random() % 50});
      (void)volume.mutate([&](Operation& operation) -> Result<void> {
        TRY(inode,
            volume.allocator().allocate_inode(operation, static_cast<InodeNumber>(1 + random() % 5000), random() % 2));
        return volume.allocator().free_inode(operation, static_cast<InodeNumber>(11 + random() % inode), false);
      });
    }
    (void)volume.close();
  }
}

TEST(Allocator, serves_the_library_through_its_hooks) {
  const Image image{"-t ext4 -b 1024 -O ^has_journal", "20M"};
  WritableVolume volume{image};
  const std::uint64_t at_start = free_blocks(*volume);
  blk64_t block = 0;
  ASSERT_TRUE(volume
                  ->mutate([&](Operation&) -> Result<void> {
                    TRY_EXT2(ext2fs_alloc_block2(volume->fs(), 12000, nullptr, &block));
                    return {};
                  })
                  .ok());
  EXPECT_EQ(block, 12000u);
  EXPECT_EQ(free_blocks(*volume), at_start - 1);
  ASSERT_TRUE(volume->sync().ok());
  EXPECT_TRUE(StoredBitmaps{image}.has_block(block));

  const auto undone = volume->mutate([&](Operation&) -> Result<void> {
    ext2fs_block_alloc_stats2(volume->fs(), block, -1);
    return undo();
  });
  EXPECT_EQ(undone.error().code.value(), ECANCELED);
  EXPECT_EQ(free_blocks(*volume), at_start - 1);
  EXPECT_FALSE(volume->inspect([&] { return volume->allocator().has_pending_frees(); }));

  const auto freed = volume->mutate([&](Operation&) -> Result<void> {
    ext2fs_block_alloc_stats2(volume->fs(), block, -1);
    return {};
  });
  EXPECT_TRUE(freed.ok());
  const auto twice = volume->mutate([&](Operation&) -> Result<void> {
    ext2fs_block_alloc_stats2(volume->fs(), block, -1);
    return {};
  });
  EXPECT_EQ(twice.error().code.value(), EUCLEAN);

  blk64_t first = 0;
  const auto ranged = volume->mutate([&](Operation&) -> Result<void> {
    TRY_EXT2(ext2fs_alloc_range(volume->fs(), EXT2_ALLOCRANGE_FIXED_GOAL, 14000, 30, &first));
    return {};
  });
  ASSERT_TRUE(ranged.ok()) << ranged.error().message();
  EXPECT_EQ(first, 14000u);
  EXPECT_EQ(free_blocks(*volume), at_start - 30);
  const auto occupied = volume->mutate([&](Operation&) -> Result<void> {
    TRY_EXT2(ext2fs_alloc_range(volume->fs(), EXT2_ALLOCRANGE_FIXED_GOAL, 14000, 30, &first));
    return {};
  });
  EXPECT_FALSE(occupied.ok());
  ASSERT_TRUE(free(*volume, {14000, 30}).ok());
  volume.close();
  EXPECT_EQ(image.complaints(), "");
}

TEST(Allocator, spreads_the_directories_of_the_root_and_keeps_others_near) {
  const Image image{"-t ext4 -b 1024 -G 4", "200M"};
  WritableVolume volume{image};
  const auto make = [&](InodeNumber parent, bool directory) {
    return *volume->mutate([&](Operation& o) { return volume->allocator().allocate_inode(o, parent, directory); });
  };
  const std::uint32_t per_flex = volume->fs()->super->s_inodes_per_group * 4;
  std::vector<std::uint32_t> flexes;
  for (int i = 0; i < 5; ++i) flexes.push_back((make(kRootInode, true) - 1) / per_flex);
  std::ranges::sort(flexes);
  EXPECT_GE(std::unique(flexes.begin(), flexes.end()) - flexes.begin(), 4);

  const InodeNumber parent = per_flex * 2 + 5;
  EXPECT_EQ((make(parent, true) - 1) / per_flex, 2u);
  EXPECT_EQ((make(parent, false) - 1) / volume->fs()->super->s_inodes_per_group, 8u);
}

TEST(Allocator, writes_and_reads_nothing_for_groups_it_does_not_use) {
  const Image image{"-t ext4 -b 4096", "40G"};
  WritableVolume volume{image};
  const auto before = volume->cache().clean_blocks();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(allocate(*volume, 0, 10).ok());
  EXPECT_LT(volume->cache().clean_blocks() + volume->cache().dirty_blocks(), before + 10);
}

}  // namespace
}  // namespace worker::volume
