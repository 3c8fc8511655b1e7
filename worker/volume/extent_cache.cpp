#include "worker/volume/extent_cache.h"

#include <algorithm>

namespace worker::volume {

std::optional<ExtentCache::View> ExtentCache::find(InodeNumber inode, LogicalBlock first, LogicalBlock last,
                                                   std::span<Run> into) const {
  Shard& part = shard(inode);
  const std::lock_guard lock{part.mutex};
  const auto found = part.files.find(inode);
  if (found == part.files.end()) return std::nullopt;
  const File& file = found->second;
  View view{.facts = file.facts};
  auto run = std::partition_point(file.runs.begin(), file.runs.end(),
                                  [&](const Run& candidate) { return candidate.end() <= first; });
  while (run != file.runs.end() && first < last && run->logical <= first && view.runs < into.size()) {
    const LogicalBlock end = std::min(run->end(), last);
    into[view.runs++] = run->part(first, end);
    first = end;
    ++run;
  }
  return view;
}

void ExtentCache::remember(InodeNumber inode, const Facts& facts, std::span<const Run> runs) {
  Shard& part = shard(inode);
  const std::lock_guard lock{part.mutex};
  put(part, inode, facts, runs);
}

void ExtentCache::update(InodeNumber inode, const Facts& facts, std::span<const Run> runs) {
  Shard& part = shard(inode);
  const std::lock_guard lock{part.mutex};
  if (part.files.contains(inode)) put(part, inode, facts, runs);
}

void ExtentCache::drop(InodeNumber inode) {
  Shard& part = shard(inode);
  const std::lock_guard lock{part.mutex};
  const auto found = part.files.find(inode);
  if (found == part.files.end()) return;
  part.runs -= found->second.runs.size();
  part.files.erase(found);
}

void ExtentCache::put(Shard& shard, InodeNumber inode, const Facts& facts, std::span<const Run> runs) {
  // Files are forgotten whole, in the table's own order: cheaper than keeping an order of use, and a miss costs one
  // tree walk.
  while (!shard.files.empty() && (shard.runs + runs.size() > kRunsPerShard || shard.files.size() >= kFilesPerShard)) {
    auto victim = shard.files.begin();
    if (victim->first == inode && shard.files.size() > 1) ++victim;
    shard.runs -= victim->second.runs.size();
    shard.files.erase(victim);
  }
  File& file = shard.files[inode];
  shard.runs -= file.runs.size();
  file.facts = facts;
  for (const Run& run : runs) overlay(file, run);
  shard.runs += file.runs.size();
}

void ExtentCache::overlay(File& file, const Run& run) {
  auto& runs = file.runs;
  auto at = std::partition_point(runs.begin(), runs.end(), [&](const Run& old) { return old.end() <= run.logical; });
  std::optional<Run> behind;
  if (at != runs.end() && at->logical < run.logical) {
    if (at->end() > run.end()) behind = at->part(run.end(), at->end());
    *at = at->part(at->logical, run.logical);
    ++at;
  }
  auto last = at;
  while (last != runs.end() && last->end() <= run.end()) ++last;
  at = runs.erase(at, last);
  if (at != runs.end() && at->logical < run.end()) *at = at->part(run.end(), at->end());
  if (behind) at = runs.insert(at, *behind);
  if (at != runs.begin() && std::prev(at)->joins(run)) {
    --at;
    at->length += run.length;
  } else {
    at = runs.insert(at, run);
  }
  const auto following = std::next(at);
  if (following != runs.end() && at->joins(*following)) {
    at->length += following->length;
    runs.erase(following);
  }
}

}  // namespace worker::volume
