// Says of one crash state whether anything was lost: our recovery, e2fsck's opinion, the kernel's, and the files.
#pragma once

#include <cstddef>
#include <set>
#include <string>

#include "tests/crash/crash_states.h"
#include "tests/crash/model.h"
#include "tests/crash/scratch_image.h"

namespace crash {

/// What is wrong with one state; empty where nothing is.
struct Verdict {
  std::string recovery;  ///< we could not mount it, or not close it
  std::string fsck;      ///< e2fsck -fn of what our recovery left
  std::string contents;  ///< the files are not those of any version that they may be of
  std::string replay;    ///< e2fsck's or the kernel's replay made another image than ours
  bool good() const noexcept { return recovery.empty() && fsck.empty() && contents.empty() && replay.empty(); }
  std::string text() const;
};

/// Judges states of one recording.
class Oracle {
 public:
  /// `image` is the one that the states are laid over. About every `kernel_every`-th state, chosen by its bytes, is
  /// mounted by the kernel, where that is possible; 0: none.
  Oracle(ScratchImage& image, const Model& model, std::size_t kernel_every);

  Verdict judge(const CrashState& state);

 private:
  std::string recover();
  std::string compare_replays(bool by_kernel);
  /// With our replay in the image; `state` is the mark of the state itself.
  std::string compare_with_kernel(std::size_t state, bool comparable);
  /// The first block in which two images differ beside journal and superblock; empty if there is none.
  std::string first_difference();
  bool has_orphans() const;
  /// Leaves the state, as the crash left it, in the directory that EXT4BOX_CRASH_KEEP names, if it does.
  void keep(std::uint64_t identity) const;

  ScratchImage& image_;
  ScratchImage other_;  ///< where another implementation replays
  const Model& model_;
  std::size_t kernel_every_;
  std::uint32_t block_size_;
  std::set<std::uint64_t> journal_;  ///< its blocks
};

}  // namespace crash
