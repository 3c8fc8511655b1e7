// Which feature sets we read and write, read only, or refuse.
#pragma once

#include <string>

#include "worker/disk/ext2fs.h"
#include "worker/volume/types.h"

namespace worker::volume {

enum class Access : std::uint8_t { read_write, read_only, none };

/// What a superblock's features allow. When not read_write, `reason` names the features, in mke2fs's words, in one
/// line.
struct FeatureVerdict {
  Access access = Access::none;
  std::string reason;
};

/// Judges the feature words alone; the state of the journal is Volume::open's business. Pure.
FeatureVerdict judge_features(const ext2_super_block& super);

}  // namespace worker::volume
