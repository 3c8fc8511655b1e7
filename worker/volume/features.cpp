#include "worker/volume/features.h"

#include <algorithm>
#include <string_view>

namespace worker::volume {
namespace {

enum class Word : std::uint8_t { compat, incompat, ro_compat };

struct Feature {
  Word word;
  std::uint32_t bit;
  std::string_view name;  ///< mke2fs's
  Access access;
};

using enum Word;
using enum Access;

/// Every feature that has a name. What is read_only here is read right, but a writer would have to keep something in
/// step that we do not keep yet.
constexpr Feature kFeatures[] = {
    {compat, EXT2_FEATURE_COMPAT_DIR_PREALLOC, "dir_prealloc", read_write},
    {compat, EXT2_FEATURE_COMPAT_IMAGIC_INODES, "imagic_inodes", read_write},
    {compat, EXT3_FEATURE_COMPAT_HAS_JOURNAL, "has_journal", read_write},
    {compat, EXT2_FEATURE_COMPAT_EXT_ATTR, "ext_attr", read_write},
    {compat, EXT2_FEATURE_COMPAT_RESIZE_INODE, "resize_inode", read_write},
    {compat, EXT2_FEATURE_COMPAT_DIR_INDEX, "dir_index", read_write},
    {compat, EXT2_FEATURE_COMPAT_LAZY_BG, "lazy_bg", read_only},
    {compat, EXT2_FEATURE_COMPAT_EXCLUDE_BITMAP, "snapshot_bitmap", read_only},
    {compat, EXT4_FEATURE_COMPAT_SPARSE_SUPER2, "sparse_super2", read_write},
    {compat, EXT4_FEATURE_COMPAT_FAST_COMMIT, "fast_commit", read_write},
    {compat, EXT4_FEATURE_COMPAT_STABLE_INODES, "stable_inodes", read_write},
    {compat, EXT4_FEATURE_COMPAT_ORPHAN_FILE, "orphan_file", read_write},

    {incompat, EXT2_FEATURE_INCOMPAT_COMPRESSION, "compression", none},
    {incompat, EXT2_FEATURE_INCOMPAT_FILETYPE, "filetype", read_write},
    {incompat, EXT3_FEATURE_INCOMPAT_RECOVER, "needs_recovery", read_write},
    {incompat, EXT3_FEATURE_INCOMPAT_JOURNAL_DEV, "journal_dev", none},
    {incompat, EXT2_FEATURE_INCOMPAT_META_BG, "meta_bg", read_write},
    {incompat, EXT3_FEATURE_INCOMPAT_EXTENTS, "extent", read_write},
    {incompat, EXT4_FEATURE_INCOMPAT_64BIT, "64bit", read_write},
    {incompat, EXT4_FEATURE_INCOMPAT_MMP, "mmp", read_write},
    {incompat, EXT4_FEATURE_INCOMPAT_FLEX_BG, "flex_bg", read_write},
    {incompat, EXT4_FEATURE_INCOMPAT_EA_INODE, "ea_inode", read_only},
    {incompat, EXT4_FEATURE_INCOMPAT_DIRDATA, "dirdata", none},
    {incompat, EXT4_FEATURE_INCOMPAT_CSUM_SEED, "metadata_csum_seed", read_write},
    {incompat, EXT4_FEATURE_INCOMPAT_LARGEDIR, "large_dir", read_write},
    {incompat, EXT4_FEATURE_INCOMPAT_INLINE_DATA, "inline_data", read_only},
    {incompat, EXT4_FEATURE_INCOMPAT_ENCRYPT, "encrypt", read_only},
    {incompat, EXT4_FEATURE_INCOMPAT_CASEFOLD, "casefold", read_only},

    {ro_compat, EXT2_FEATURE_RO_COMPAT_SPARSE_SUPER, "sparse_super", read_write},
    {ro_compat, EXT2_FEATURE_RO_COMPAT_LARGE_FILE, "large_file", read_write},
    {ro_compat, EXT4_FEATURE_RO_COMPAT_HUGE_FILE, "huge_file", read_write},
    {ro_compat, EXT4_FEATURE_RO_COMPAT_GDT_CSUM, "uninit_bg", read_write},
    {ro_compat, EXT4_FEATURE_RO_COMPAT_DIR_NLINK, "dir_nlink", read_write},
    {ro_compat, EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE, "extra_isize", read_write},
    {ro_compat, EXT4_FEATURE_RO_COMPAT_HAS_SNAPSHOT, "snapshot", read_only},
    {ro_compat, EXT4_FEATURE_RO_COMPAT_QUOTA, "quota", read_only},
    {ro_compat, EXT4_FEATURE_RO_COMPAT_BIGALLOC, "bigalloc", read_only},
    {ro_compat, EXT4_FEATURE_RO_COMPAT_METADATA_CSUM, "metadata_csum", read_write},
    {ro_compat, EXT4_FEATURE_RO_COMPAT_REPLICA, "replica", read_only},
    {ro_compat, EXT4_FEATURE_RO_COMPAT_READONLY, "read-only", read_only},
    {ro_compat, EXT4_FEATURE_RO_COMPAT_PROJECT, "project", read_only},
    {ro_compat, EXT4_FEATURE_RO_COMPAT_SHARED_BLOCKS, "shared_blocks", read_only},
    {ro_compat, EXT4_FEATURE_RO_COMPAT_VERITY, "verity", read_only},
    {ro_compat, EXT4_FEATURE_RO_COMPAT_ORPHAN_PRESENT, "orphan_present", read_write},
};

/// What a bit without a name allows is the meaning of its word: unknown compatible features do not matter to a mount.
constexpr Access unknown(Word word) noexcept {
  return word == compat ? read_write : word == ro_compat ? read_only : none;
}

struct Judge {
  FeatureVerdict verdict{Access::read_write, {}};
  std::string for_read_only, for_none;

  void note(Access access, std::string_view name) {
    verdict.access = std::max(verdict.access, access);
    if (access == read_write) return;
    std::string& list = access == none ? for_none : for_read_only;
    if (!list.empty()) list += ", ";
    list += name;
  }

  void take(Word word, std::uint32_t bits, std::string_view prefix) {
    for (std::uint32_t bit = 1; bit != 0; bit <<= 1) {
      if ((bits & bit) == 0) continue;
      const auto* feature = std::find_if(std::begin(kFeatures), std::end(kFeatures),
                                         [&](const Feature& one) { return one.word == word && one.bit == bit; });
      if (feature != std::end(kFeatures))
        note(feature->access, feature->name);
      else
        note(unknown(word), std::string{prefix} + std::to_string(__builtin_ctz(bit)));
    }
  }
};

}  // namespace

FeatureVerdict judge_features(const ext2_super_block& super) {
  static_assert(Access::read_write < Access::read_only && Access::read_only < Access::none);
  Judge judge;
  // A revision-0 superblock has no feature words: whatever lies there means nothing.
  if (super.s_rev_level == EXT2_GOOD_OLD_REV) return judge.verdict;
  judge.take(compat, super.s_feature_compat, "FEATURE_C");
  judge.take(incompat, super.s_feature_incompat, "FEATURE_I");
  judge.take(ro_compat, super.s_feature_ro_compat, "FEATURE_R");
  if ((super.s_feature_compat & EXT3_FEATURE_COMPAT_HAS_JOURNAL) != 0 && super.s_journal_inum == 0)
    judge.note(read_only, "an external journal");
  if (judge.verdict.access == none) judge.verdict.reason = "cannot be mounted with " + judge.for_none;
  if (judge.verdict.access == read_only) judge.verdict.reason = "can only be read with " + judge.for_read_only;
  return std::move(judge.verdict);
}

}  // namespace worker::volume
