#include "worker/volume/block_search.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "worker/volume/volume.h"

namespace worker::volume {
namespace {

/// A run of this many blocks is good enough for any request: an extent more for every 256 KiB costs nothing that can be
/// measured.
constexpr std::uint32_t kGoodRun = 64;

/// How many bitmaps are looked at for a good run before fragments are accepted.
constexpr std::uint32_t kNeighbourhood = 32;

/// The longest window, and how many there are at a time.
constexpr std::uint32_t kLongestWindow = 2048;
constexpr std::size_t kMostWindows = 64;
/// A file's own indirect blocks lie in its window too: so far behind its last block it may go on.
constexpr std::uint32_t kDetour = 16;
/// How many groups are looked at for room for a window.
constexpr std::uint32_t kWindowGroups = 8;

}  // namespace

BlockSearch::BlockSearch(Volume& volume, GroupBitmaps& bitmaps, const HeldBits& held)
    : volume_{volume}, bitmaps_{bitmaps}, held_{held}, in_windows_{volume.fs()->blocksize} {}

std::optional<FoundRun> BlockSearch::find(const Wish& wish) {
  ext2_super_block* super = volume_.fs()->super;
  const bool outside = wish.goal < super->s_first_data_block || wish.goal >= ext2fs_blocks_count(super);
  const BlockNumber goal = outside ? super->s_first_data_block : wish.goal;
  const std::uint32_t group = bitmaps_.group_of(goal);
  const auto bit = static_cast<std::uint32_t>(goal - bitmaps_.first_block(group));
  const auto wanted = static_cast<std::uint32_t>(wish.wanted);
  const std::uint32_t least = std::min(wanted, kGoodRun);
  // Who asks for much will do so again.
  const std::uint64_t hope = wanted >= kGoodRun ? kLongestWindow : std::bit_ceil(wish.expected);
  const auto expected =
      static_cast<std::uint32_t>(std::clamp<std::uint64_t>(hope, wanted, std::max(wanted, kLongestWindow)));

  const bool own = wish.continues && in_windows_.holds(group, {bit, 1});
  if (auto found = at_goal(group, bit, least, wanted, wish.continues ? Windows::used : Windows::spared)) {
    // At the end of its window, or with none yet, a file goes on only where it can have another one.
    if (own || expected < kGoodRun) return found;
    if (const auto rest = at_goal(group, bit, expected, expected, Windows::spared)) {
      open_window(group, rest->run);
      return found;
    }
    if (wanted >= kGoodRun) return found;
  }
  if (own) {
    if (auto found = further_on(group, bit, least, wanted)) return found;
  }
  if (expected >= kGoodRun) {
    if (auto found = fresh_window(group, bit, wanted, std::min(expected, kLongestWindow))) return found;
  }
  if (auto found = nearest(group, bit, least, wanted, Windows::spared)) return found;
  if (auto found = nearest(group, bit, least, wanted, Windows::used)) return found;
  return anywhere(group, wanted);
}

void BlockSearch::open_window(std::uint32_t group, BitRun run) {
  if (windows_.size() == kMostWindows) {
    in_windows_.let_go(windows_.front().group, windows_.front().run);
    longest_.erase(windows_.front().group);
    windows_.pop_front();
  }
  in_windows_.hold(group, run);
  windows_.push_back({group, run});
}

Result<BitmapView> BlockSearch::view(std::uint32_t group, Windows windows) {
  TRY(bitmap, bitmaps_.blocks(group));
  seen_ = bitmap;
  BitmapView view{*seen_, held_.mask(group), bitmaps_.block_count(group)};
  const auto in_windows = in_windows_.mask(group);
  if (windows == Windows::used || in_windows.empty()) return view;
  if (view.held.empty()) {
    view.held = in_windows;
    return view;
  }
  mask_.resize(in_windows.size());
  std::transform(in_windows.begin(), in_windows.end(), view.held.begin(), mask_.begin(), std::bit_or<>{});
  view.held = mask_;
  return view;
}

std::optional<FoundRun> BlockSearch::at_goal(std::uint32_t group, std::uint32_t bit, std::uint32_t least,
                                             std::uint32_t wanted, Windows windows) {
  if (!may_hold(group, least)) return {};
  const auto free = view(group, windows);
  if (!free.ok()) return {};
  const std::uint32_t count = free_run_at(*free, bit, wanted);
  if (count < least) return {};
  return FoundRun{group, {bit, count}};
}

std::optional<FoundRun> BlockSearch::further_on(std::uint32_t group, std::uint32_t bit, std::uint32_t least,
                                                std::uint32_t wanted) {
  const auto free = view(group, Windows::used);
  if (!free.ok()) return {};
  const BitRun run = find_free_run(*free, bit, std::min(bit + kDetour, free->size), least, wanted);
  if (run.count < least) return {};
  return FoundRun{group, run};
}

std::optional<FoundRun> BlockSearch::fresh_window(std::uint32_t start, std::uint32_t behind, std::uint32_t wanted,
                                                  std::uint32_t length) {
  std::uint32_t looked = 0;
  for (std::uint32_t group = skip_full(start); group < bitmaps_.groups() && looked < kWindowGroups; ++group) {
    if (!may_hold(group, length)) continue;
    ++looked;
    const auto free = view(group, Windows::spared);
    if (!free.ok()) continue;
    const std::uint32_t first = group == start ? (behind + length - 1) / length * length : 0;
    for (std::uint32_t bit = first; bit + length <= free->size; bit += length) {
      const std::uint32_t count = free_run_at(*free, bit, std::max(length, wanted));
      if (count < length) continue;
      open_window(group, {bit, length});
      return FoundRun{group, {bit, std::min(count, wanted)}};
    }
  }
  return {};
}

std::optional<FoundRun> BlockSearch::nearest(std::uint32_t start, std::uint32_t bit, std::uint32_t least,
                                             std::uint32_t wanted, Windows windows) {
  const std::uint32_t groups = bitmaps_.groups();
  const std::uint32_t first = skip_full(start);
  FoundRun longest;
  std::uint32_t looked = 0;
  for (std::uint32_t step = 0; step < groups && looked < kNeighbourhood; ++step) {
    const std::uint32_t group = (first + step) % groups;
    if (!may_hold(group, least)) continue;
    ++looked;
    const BitRun run = search_group(group, group == start ? bit : 0, least, wanted, windows);
    if (run.count >= least) return FoundRun{group, run};
    if (run.count > longest.run.count) longest = {group, run};
  }
  // Fragments are taken only when there is nothing better in windows either.
  if (longest.run.count == 0 || windows == Windows::spared) return {};
  return longest;
}

std::optional<FoundRun> BlockSearch::anywhere(std::uint32_t start, std::uint32_t wanted) {
  const std::uint32_t groups = bitmaps_.groups();
  for (std::uint32_t step = 0; step < groups; ++step) {
    const std::uint32_t group = (start + step) % groups;
    if (!may_hold(group, 1)) continue;
    const BitRun run = search_group(group, 0, 1, wanted, Windows::used);
    if (run.count > 0) return FoundRun{group, run};
  }
  return {};
}

BitRun BlockSearch::search_group(std::uint32_t group, std::uint32_t bit, std::uint32_t least, std::uint32_t wanted,
                                 Windows windows) {
  const auto free = view(group, windows);
  if (!free.ok()) {
    longest_[group] = 0;
    return {};
  }
  // What is not there besides the windows may be there within them.
  const bool conclusive = windows == Windows::used || in_windows_.mask(group).empty();
  const BitRun behind = find_free_run(*free, bit, free->size, least, wanted);
  if (behind.count >= least || bit == 0) {
    if (behind.count < least && conclusive) longest_[group] = behind.count;
    return behind;
  }
  const BitRun before = find_free_run(*free, 0, bit, least, wanted);
  const BitRun best = before.count > behind.count ? before : behind;
  if (best.count < least && conclusive) longest_[group] = best.count;
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
