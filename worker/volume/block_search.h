// Where free blocks are: the search behind block allocation.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

#include "worker/volume/allocator.h"
#include "worker/volume/group_bitmaps.h"
#include "worker/volume/held_bits.h"

namespace worker::volume {

/// A run of free blocks within one group.
struct FoundRun {
  std::uint32_t group = 0;
  BitRun run;
};

/// Looks for free blocks near a goal without marking anything. The first blocks of a file that grows are followed by a
/// window that others leave alone while there is room elsewhere, so that files written at the same time do not cut each
/// other into pieces; only memory knows of windows, and the oldest are forgotten. Descriptors are asked first, so that
/// a full group costs no I/O, and what a bitmap was seen to lack is remembered until something is freed in it. Under
/// the mutator lock.
class BlockSearch {
 public:
  BlockSearch(Volume& volume, GroupBitmaps& bitmaps, const HeldBits& held);

  /// Up to `wanted` blocks in one run: at the goal if a good run starts there, else for a file that grows at the start
  /// of a window of its own, else the nearest good run behind the goal, else the best of the neighbourhood, else
  /// whatever is free anywhere. Nothing when there is none.
  std::optional<FoundRun> find(const Wish& wish);

  /// Something in `group`, or anywhere, has become free.
  void freed(std::uint32_t group);
  void forget();

 private:
  /// Whether others' windows count as in use.
  enum class Windows : std::uint8_t { spared, used };
  /// What is free in a group; the bytes of a mask that had to be put together stay valid until the next call.
  Result<BitmapView> view(std::uint32_t group, Windows windows);
  std::optional<FoundRun> at_goal(std::uint32_t group, std::uint32_t bit, std::uint32_t least, std::uint32_t wanted,
                                  Windows windows);
  std::optional<FoundRun> further_on(std::uint32_t group, std::uint32_t bit, std::uint32_t least, std::uint32_t wanted);
  std::optional<FoundRun> fresh_window(std::uint32_t group, std::uint32_t behind, std::uint32_t wanted,
                                       std::uint32_t length);
  std::optional<FoundRun> nearest(std::uint32_t group, std::uint32_t bit, std::uint32_t least, std::uint32_t wanted,
                                  Windows windows);
  std::optional<FoundRun> anywhere(std::uint32_t start, std::uint32_t wanted);
  BitRun search_group(std::uint32_t group, std::uint32_t bit, std::uint32_t least, std::uint32_t wanted,
                      Windows windows);
  void open_window(std::uint32_t group, BitRun run);
  bool may_hold(std::uint32_t group, std::uint32_t count) const;
  std::uint32_t skip_full(std::uint32_t group);

  Volume& volume_;
  GroupBitmaps& bitmaps_;
  const HeldBits& held_;
  HeldBits in_windows_;
  std::deque<FoundRun> windows_;  ///< the newest last
  std::vector<std::byte> mask_;
  disk::Contents seen_;                                       ///< the bitmap of the last view
  std::unordered_map<std::uint32_t, std::uint32_t> longest_;  ///< by group: no free run is longer than this
  std::uint32_t full_from_ = 0, full_to_ = 0;                 ///< groups [from, to) are known to be full
};

}  // namespace worker::volume
