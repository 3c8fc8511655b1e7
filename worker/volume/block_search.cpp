#include "worker/volume/block_search.h"

#include <algorithm>

#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

/// A run of this many blocks is good enough for any request: an extent more for every 256 KiB costs nothing that can be
/// measured.
constexpr std::uint32_t kGoodRun = 64;

/// How many bitmaps are looked at for a good run before fragments are accepted.
constexpr std::uint32_t kNeighbourhood = 32;

/// Large requests that cannot go on at their goal start at a free stretch of this many blocks, so that files written at
/// the same time do not cut each other into pieces; small files fill the gaps.
constexpr std::uint32_t kWindow = 2048;
constexpr std::uint32_t kWindowGroups = 8;

}  // namespace

std::optional<FoundRun> BlockSearch::find(BlockNumber goal, std::uint32_t wanted) {
  ext2_super_block* super = volume_.fs()->super;
  if (goal < super->s_first_data_block || goal >= ext2fs_blocks_count(super)) goal = super->s_first_data_block;
  const std::uint32_t group = bitmaps_.group_of(goal);
  const auto bit = static_cast<std::uint32_t>(goal - bitmaps_.first_block(group));
  const std::uint32_t least = std::min(wanted, kGoodRun);

  if (auto found = at_goal(group, bit, least, wanted)) return found;
  if (wanted >= kGoodRun) {
    if (auto found = fresh_window(group, bit, wanted)) return found;
  }
  if (auto found = nearest(group, bit, least, wanted)) return found;
  return anywhere(group, wanted);
}

std::optional<FoundRun> BlockSearch::at_goal(std::uint32_t group, std::uint32_t bit, std::uint32_t least,
                                             std::uint32_t wanted) {
  if (!may_hold(group, least)) return {};
  const auto bitmap = bitmaps_.blocks(group);
  if (!bitmap.ok()) return {};
  const BitmapView view{**bitmap, held_.mask(group), bitmaps_.block_count(group)};
  const std::uint32_t count = free_run_at(view, bit, wanted);
  if (count < least) return {};
  return FoundRun{group, {bit, count}};
}

std::optional<FoundRun> BlockSearch::fresh_window(std::uint32_t start, std::uint32_t behind, std::uint32_t wanted) {
  std::uint32_t looked = 0;
  for (std::uint32_t group = skip_full(start); group < bitmaps_.groups() && looked < kWindowGroups; ++group) {
    if (!may_hold(group, kWindow)) continue;
    ++looked;
    const auto bitmap = bitmaps_.blocks(group);
    if (!bitmap.ok()) continue;
    const BitmapView view{**bitmap, held_.mask(group), bitmaps_.block_count(group)};
    const std::uint32_t first = group == start ? (behind + kWindow - 1) / kWindow * kWindow : 0;
    for (std::uint32_t bit = first; bit + kWindow <= view.size; bit += kWindow) {
      const std::uint32_t count = free_run_at(view, bit, std::max(kWindow, wanted));
      if (count >= kWindow) return FoundRun{group, {bit, std::min(count, wanted)}};
    }
  }
  return {};
}

std::optional<FoundRun> BlockSearch::nearest(std::uint32_t start, std::uint32_t bit, std::uint32_t least,
                                             std::uint32_t wanted) {
  const std::uint32_t groups = bitmaps_.groups();
  const std::uint32_t first = skip_full(start);
  FoundRun longest;
  std::uint32_t looked = 0;
  for (std::uint32_t step = 0; step < groups && looked < kNeighbourhood; ++step) {
    const std::uint32_t group = (first + step) % groups;
    if (!may_hold(group, least)) continue;
    ++looked;
    const BitRun run = search_group(group, group == start ? bit : 0, least, wanted);
    if (run.count >= least) return FoundRun{group, run};
    if (run.count > longest.run.count) longest = {group, run};
  }
  if (longest.run.count == 0) return {};
  return longest;
}

std::optional<FoundRun> BlockSearch::anywhere(std::uint32_t start, std::uint32_t wanted) {
  const std::uint32_t groups = bitmaps_.groups();
  for (std::uint32_t step = 0; step < groups; ++step) {
    const std::uint32_t group = (start + step) % groups;
    if (!may_hold(group, 1)) continue;
    const BitRun run = search_group(group, 0, 1, wanted);
    if (run.count > 0) return FoundRun{group, run};
  }
  return {};
}

BitRun BlockSearch::search_group(std::uint32_t group, std::uint32_t bit, std::uint32_t least, std::uint32_t wanted) {
  const auto bitmap = bitmaps_.blocks(group);
  if (!bitmap.ok()) {
    longest_[group] = 0;
    return {};
  }
  const BitmapView view{**bitmap, held_.mask(group), bitmaps_.block_count(group)};
  const BitRun behind = find_free_run(view, bit, view.size, least, wanted);
  if (behind.count >= least || bit == 0) {
    if (behind.count < least) longest_[group] = behind.count;
    return behind;
  }
  const BitRun before = find_free_run(view, 0, bit, least, wanted);
  const BitRun best = before.count > behind.count ? before : behind;
  if (best.count < least) longest_[group] = best.count;
  return best;
}

bool BlockSearch::may_hold(std::uint32_t group, std::uint32_t count) const {
  if (ext2fs_bg_free_blocks_count(volume_.fs(), group) < count) return false;
  const auto known = longest_.find(group);
  return known == longest_.end() || known->second >= count;
}

std::uint32_t BlockSearch::skip_full(std::uint32_t group) {
  if (group < full_from_ || group >= full_to_) full_from_ = full_to_ = group;
  while (full_to_ < bitmaps_.groups() && ext2fs_bg_free_blocks_count(volume_.fs(), full_to_) == 0) ++full_to_;
  return full_to_ < bitmaps_.groups() ? full_to_ : group;
}

void BlockSearch::freed(std::uint32_t group) {
  longest_.erase(group);
  if (group >= full_from_ && group < full_to_) full_from_ = full_to_ = 0;
}

void BlockSearch::forget() {
  longest_.clear();
  full_from_ = full_to_ = 0;
}

}  // namespace worker::volume
