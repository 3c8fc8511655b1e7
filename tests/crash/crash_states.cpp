#include "tests/crash/crash_states.h"

#include <algorithm>
#include <numeric>

namespace crash {
namespace {

constexpr std::size_t kSector = 512;
/// A superblock is one write of two sectors and has one checksum: every ext4 relies on getting it whole.
constexpr ByteOffset kSuperOffset = 1024, kSuperEnd = 2048;

std::uint64_t hash_of(const Bounds& bounds) {
  std::uint64_t hash = bounds.durable * 0x9e3779b97f4a7c15 ^ bounds.started * 0xd6e8feb86659fd93;
  for (const auto& [inode, version] : bounds.data) hash = (hash ^ inode ^ version << 32) * 0xff51afd7ed558ccd;
  return hash;
}

void advance(Bounds& bounds, const Event& event) {
  switch (event.kind) {
    case Event::Kind::started:
      bounds.started = event.version;
      break;
    case Event::Kind::durable:
      bounds.durable = std::max(bounds.durable, event.version);
      std::erase_if(bounds.data, [&](const auto& entry) { return entry.second <= event.version; });
      break;
    case Event::Kind::data_durable:
      bounds.data[event.inode] = event.version;
      break;
    default:
      break;
  }
}

}  // namespace

CrashStates::CrashStates(const std::vector<Event>& events, ScratchImage& image, Thoroughness how,
                         std::function<bool(ByteOffset)> important)
    : events_{events}, image_{image}, how_{how}, important_{std::move(important)}, random_{how.seed} {}

std::size_t CrashStates::walk(const Visit& visit) {
  Bounds bounds;
  for (const Event& event : events_) {  // what was running when the recording began
    if (event.kind != Event::Kind::started && event.kind != Event::Kind::durable) continue;
    bounds.durable = bounds.started = event.version - (event.kind == Event::Kind::started ? 1 : 0);
    break;
  }
  Epoch epoch;
  std::size_t number = 0;
  const auto end_epoch = [&](const Event* durable_before) {
    epoch.before.push_back(bounds);
    const bool chosen = epoch.important || std::uniform_real_distribution{0.0, 1.0}(random_) < how_.epochs;
    const bool go_on = !chosen || walk_epoch(epoch, number, visit);
    // What was written while the flush was under way may still be lost.
    Epoch next;
    for (const Event* write : epoch.writes) {
      if (write < durable_before) {
        lay(*write);
        continue;
      }
      next.writes.push_back(write);
      next.before.push_back(bounds);
      next.important |= important_(write->offset);
    }
    image_.keep();
    epoch = std::move(next);
    ++number;
    return go_on;
  };
  for (const Event& event : events_) {
    if (event.kind == Event::Kind::write) {
      epoch.important |= important_(event.offset);
      epoch.writes.push_back(&event);
      epoch.before.push_back(bounds);
    } else if (event.kind == Event::Kind::flush) {
      if (!end_epoch(events_.data() + event.called_at)) return seen_.size();
    } else {
      advance(bounds, event);
    }
  }
  end_epoch(events_.data() + events_.size());
  return seen_.size();
}

bool CrashStates::walk_epoch(const Epoch& epoch, std::size_t number, const Visit& visit) {
  CrashState state{.epoch = number};
  return visit_prefixes(epoch, state, visit) && visit_subsets(epoch, state, visit) && visit_torn(epoch, state, visit);
}

bool CrashStates::offer(const CrashState& state, const Visit& visit) {
  if (!seen_.insert(image_.hash() ^ hash_of(state.bounds) ^ state.torn).second) return true;
  return visit(state);
}

bool CrashStates::visit_prefixes(const Epoch& epoch, CrashState& state, const Visit& visit) {
  const std::size_t start = image_.mark();
  bool go_on = true;
  for (std::size_t count = 0; go_on && count <= epoch.writes.size(); ++count) {
    if (count > 0) lay(*epoch.writes[count - 1]);
    state.what = "the first " + std::to_string(count) + " of " + std::to_string(epoch.writes.size()) + " writes";
    state.bounds = epoch.before[count];
    go_on = offer(state, visit);
  }
  image_.roll_back(start);
  return go_on;
}

std::vector<std::size_t> CrashStates::some_of(std::size_t count) {
  std::vector<std::size_t> all(count), some;
  std::iota(all.begin(), all.end(), std::size_t{0});
  std::ranges::sample(all, std::back_inserter(some), static_cast<std::ptrdiff_t>(how_.each), random_);
  return some;
}

bool CrashStates::visit_subsets(const Epoch& epoch, CrashState& state, const Visit& visit) {
  const std::size_t count = epoch.writes.size();
  state.bounds = epoch.before.back();
  const auto try_subset = [&](std::string what, auto contains) {
    const std::size_t start = image_.mark();
    for (std::size_t i = 0; i < count; ++i)
      if (contains(i)) lay(*epoch.writes[i]);
    state.what = std::move(what);
    const bool go_on = offer(state, visit);
    image_.roll_back(start);
    return go_on;
  };
  for (const std::size_t one : some_of(count)) {
    const std::string name = "write " + std::to_string(one) + " of " + std::to_string(count);
    if (!try_subset("all but " + name, [one](std::size_t i) { return i != one; })) return false;
    if (!try_subset("only " + name, [one](std::size_t i) { return i == one; })) return false;
  }
  for (std::size_t subset = 0; subset < how_.subsets && count > 2; ++subset) {
    std::vector<bool> chosen(count);
    std::string name = "writes";
    for (std::size_t i = 0; i < count; ++i) {
      chosen[i] = (random_() & 1) != 0;
      if (chosen[i]) name += ' ' + std::to_string(i);
    }
    if (!try_subset(name + " of " + std::to_string(count), [&](std::size_t i) { return chosen[i]; })) return false;
  }
  return true;
}

bool CrashStates::visit_torn(const Epoch& epoch, CrashState& state, const Visit& visit) {
  if (epoch.writes.empty()) return true;
  const Event& last = *epoch.writes.back();
  if (last.offset < kSuperEnd && last.offset + last.bytes.size() > kSuperOffset) return true;
  const std::size_t start = image_.mark();
  for (std::size_t i = 0; i + 1 < epoch.writes.size(); ++i) lay(*epoch.writes[i]);
  state.bounds = epoch.before.back();
  state.torn = true;
  bool go_on = true;
  const std::span<const std::byte> bytes{last.bytes};
  const std::size_t first_cut = kSector - last.offset % kSector;
  for (std::size_t cut = first_cut; go_on && cut < bytes.size(); cut += kSector) {
    for (const bool head : {true, false}) {
      const std::size_t whole = image_.mark();
      image_.write(head ? last.offset : last.offset + cut, head ? bytes.first(cut) : bytes.subspan(cut));
      state.what = "all, the last one torn at byte " + std::to_string(cut) + (head ? "" : ", only behind it");
      go_on = go_on && offer(state, visit);
      image_.roll_back(whole);
    }
  }
  image_.roll_back(start);
  state.torn = false;
  return go_on;
}

}  // namespace crash
