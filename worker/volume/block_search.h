// Where free blocks are: the search behind block allocation.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>

#include "worker/volume/group_bitmaps.h"
#include "worker/volume/held_bits.h"

namespace worker::volume {

/// A run of free blocks within one group.
struct FoundRun {
  std::uint32_t group = 0;
  BitRun run;
};

/// Looks for free blocks near a goal without marking anything. Descriptors are asked first, so that a full group costs
/// no I/O, and what a bitmap was seen to lack is remembered until something is freed in it. Under the mutator lock.
class BlockSearch {
 public:
  BlockSearch(Volume& volume, GroupBitmaps& bitmaps, const HeldBits& held)
      : volume_{volume}, bitmaps_{bitmaps}, held_{held} {}

  /// Up to `wanted` blocks in one run: at the goal if a good run starts there, else the nearest good run behind it,
  /// else the best of the neighbourhood, else whatever is free anywhere. Nothing when there is none.
  std::optional<FoundRun> find(BlockNumber goal, std::uint32_t wanted);

  /// Something in `group`, or anywhere, has become free.
  void freed(std::uint32_t group);
  void forget();

 private:
  std::optional<FoundRun> at_goal(std::uint32_t group, std::uint32_t bit, std::uint32_t least, std::uint32_t wanted);
  std::optional<FoundRun> fresh_window(std::uint32_t start, std::uint32_t behind, std::uint32_t wanted);
  std::optional<FoundRun> nearest(std::uint32_t start, std::uint32_t bit, std::uint32_t least, std::uint32_t wanted);
  std::optional<FoundRun> anywhere(std::uint32_t start, std::uint32_t wanted);
  BitRun search_group(std::uint32_t group, std::uint32_t bit, std::uint32_t least, std::uint32_t wanted);
  bool may_hold(std::uint32_t group, std::uint32_t count) const;
  std::uint32_t skip_full(std::uint32_t group);

  Volume& volume_;
  GroupBitmaps& bitmaps_;
  const HeldBits& held_;
  std::unordered_map<std::uint32_t, std::uint32_t> longest_;  ///< by group: no free run is longer than this
  std::uint32_t full_from_ = 0, full_to_ = 0;                 ///< groups [from, to) are known to be full
};

}  // namespace worker::volume
