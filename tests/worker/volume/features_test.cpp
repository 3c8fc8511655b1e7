#include "worker/volume/features.h"

#include <gtest/gtest.h>

namespace worker::volume {
namespace {

ext2_super_block with(std::uint32_t compat, std::uint32_t incompat, std::uint32_t ro_compat) {
  ext2_super_block super{};
  super.s_rev_level = EXT2_DYNAMIC_REV;
  super.s_journal_inum = 8;
  super.s_feature_compat = compat;
  super.s_feature_incompat = incompat;
  super.s_feature_ro_compat = ro_compat;
  return super;
}

TEST(Features, a_volume_as_mke2fs_makes_it_today_is_read_and_written) {
  const auto verdict = judge_features(
      with(EXT3_FEATURE_COMPAT_HAS_JOURNAL | EXT2_FEATURE_COMPAT_EXT_ATTR | EXT2_FEATURE_COMPAT_RESIZE_INODE |
               EXT2_FEATURE_COMPAT_DIR_INDEX | EXT4_FEATURE_COMPAT_ORPHAN_FILE | EXT4_FEATURE_COMPAT_FAST_COMMIT,
           EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_EXTENTS | EXT4_FEATURE_INCOMPAT_64BIT |
               EXT4_FEATURE_INCOMPAT_FLEX_BG | EXT4_FEATURE_INCOMPAT_CSUM_SEED | EXT4_FEATURE_INCOMPAT_LARGEDIR,
           EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER | EXT2_FEATURE_RO_COMPAT_LARGE_FILE | EXT4_FEATURE_RO_COMPAT_HUGE_FILE |
               EXT4_FEATURE_RO_COMPAT_DIR_NLINK | EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE |
               EXT4_FEATURE_RO_COMPAT_METADATA_CSUM));
  EXPECT_EQ(verdict.access, Access::read_write);
  EXPECT_EQ(verdict.reason, "");
}

TEST(Features, what_we_do_not_keep_in_step_is_read_only_and_named_as_mke2fs_names_it) {
  const auto verdict = judge_features(with(0, EXT4_FEATURE_INCOMPAT_INLINE_DATA | EXT4_FEATURE_INCOMPAT_EA_INODE,
                                           EXT4_FEATURE_RO_COMPAT_BIGALLOC | EXT4_FEATURE_RO_COMPAT_VERITY));
  EXPECT_EQ(verdict.access, Access::read_only);
  EXPECT_EQ(verdict.reason, "can only be read with ea_inode, inline_data, bigalloc, verity");
}

TEST(Features, unknown_bits_mean_what_their_word_says) {
  EXPECT_EQ(judge_features(with(1U << 30, 0, 0)).access, Access::read_write);
  EXPECT_EQ(judge_features(with(0, 0, 1U << 30)).access, Access::read_only);
  EXPECT_EQ(judge_features(with(0, 0, 1U << 30)).reason, "can only be read with FEATURE_R30");
  EXPECT_EQ(judge_features(with(0, 1U << 31, 0)).access, Access::none);
  EXPECT_EQ(judge_features(with(0, 1U << 31, 1U << 30)).reason, "cannot be mounted with FEATURE_I31");
}

TEST(Features, journals_elsewhere) {
  EXPECT_EQ(judge_features(with(0, EXT3_FEATURE_INCOMPAT_JOURNAL_DEV, 0)).access, Access::none);
  auto super = with(EXT3_FEATURE_COMPAT_HAS_JOURNAL, 0, 0);
  super.s_journal_inum = 0;
  EXPECT_EQ(judge_features(super).access, Access::read_only);
  EXPECT_EQ(judge_features(super).reason, "can only be read with an external journal");
}

TEST(Features, a_revision_0_superblock_has_none) {
  auto super = with(~0U, ~0U, ~0U);
  super.s_rev_level = EXT2_GOOD_OLD_REV;
  EXPECT_EQ(judge_features(super).access, Access::read_write);
}

}  // namespace
}  // namespace worker::volume
