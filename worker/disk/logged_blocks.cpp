#include "worker/disk/logged_blocks.h"

#include <algorithm>

namespace worker::disk {

Contents LoggedBlocks::find(BlockNumber number) const {
  const std::lock_guard lock{mutex_};
  const auto found = newest_.find(number);
  return found == newest_.end() ? nullptr : found->second;
}

std::size_t LoggedBlocks::size() const {
  const std::lock_guard lock{mutex_};
  return newest_.size();
}

std::vector<BlockNumber> LoggedBlocks::within(std::span<const BlockRun> freed) const {
  const std::lock_guard lock{mutex_};
  std::vector<BlockNumber> numbers;
  for (const BlockRun& run : freed) {
    for (auto at = newest_.lower_bound(run.first); at != newest_.end() && at->first - run.first < run.count; ++at)
      numbers.push_back(at->first);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

std::vector<FrozenBlock> LoggedBlocks::all() const {
  const std::lock_guard lock{mutex_};
  std::vector<FrozenBlock> blocks;
  blocks.reserve(newest_.size());
  for (const auto& [number, contents] : newest_) blocks.push_back({number, BlockKind::allocation, contents});
  return blocks;
}

void LoggedBlocks::committed(const Batch& batch) {
  const std::lock_guard lock{mutex_};
  for (const BlockRun& run : batch.freed) {
    const auto first = newest_.lower_bound(run.first);
    auto end = first;
    while (end != newest_.end() && end->first - run.first < run.count) ++end;
    newest_.erase(first, end);
  }
  for (const FrozenBlock& block : batch.blocks) newest_[block.number] = block.contents;
}

void LoggedBlocks::clear() {
  const std::lock_guard lock{mutex_};
  newest_.clear();
}

}  // namespace worker::disk
